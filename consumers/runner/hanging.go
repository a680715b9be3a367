package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// hanging is a transaction of a shard that the brokers take for ended, while some partitions wait for its
// end (KIP-664 calls them hanging). Kafka leaves one behind when a broker that is alone is killed just
// then: while it starts it does not know yet who leads those partitions, takes them for deleted, and does
// not tell them (4.3.1). Nobody reads on there, and the shard's next transaction ends it, whichever way that
// one goes. So the owner looks for them when it takes the shard, before it writes anything, and ends them as they
// were decided; and whenever a broker has gone in the middle of a request.
type hanging struct {
	epoch      int16 // of the producer; each transaction has its own, where the brokers do as KIP-890 says
	partitions map[string][]int32
	last       time.Time // when the last of its records was made
}

// hangingError is why a shard is let go of: its next owner ends what hangs.
type hangingError struct{ partitions int }

// Error implements error.
func (e *hangingError) Error() string {
	return fmt.Sprintf("a broker has left a transaction of this shard open in %d partitions", e.partitions)
}

// verdict is what the coordinator says of the last transaction of a shard; the zero verdict says nothing.
type verdict struct {
	producer int64
	epoch    int16
	state    string
}

// The states of a transaction, as brokers name them.
const (
	stateEmpty          = "Empty"
	statePrepareCommit  = "PrepareCommit"
	statePrepareAbort   = "PrepareAbort"
	stateCompleteCommit = "CompleteCommit"
	stateCompleteAbort  = "CompleteAbort"
)

// on says how a transaction was decided, if that is known.
func (v verdict) on(h hanging) (commit, known bool) {
	// To end it takes an epoch, where the brokers do as KIP-890 says.
	if h.epoch != v.epoch-1 && h.epoch != v.epoch {
		return false, false
	}
	return v.state == stateCompleteCommit, v.state == stateCompleteCommit || v.state == stateCompleteAbort
}

// verdicts keeps what coordinators have said until it has been followed: they know it no more when a
// taking has fenced the owner before, and may have failed after that.
type verdicts struct {
	mu sync.Mutex
	of map[int32]verdict // by shard
}

// latest is the verdict on a shard's last transaction, of which the coordinator has just said something.
func (l *verdicts) latest(shard int32, said verdict) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kept, ok := l.of[shard]; ok && said.state == stateEmpty && kept.producer == said.producer {
		return kept
	}
	if l.of == nil {
		l.of = make(map[int32]verdict)
	}
	l.of[shard] = said
	return said
}

// followed forgets it.
func (l *verdicts) followed(shard int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, shard)
}

// judged asks the coordinator about the last transaction of earlier owners, before it is asked to fence them: then it
// knows no more. It has to answer that as well, so this waits for nothing that the other would not.
func (sh *shard) judged(ctx context.Context) (verdict, error) {
	if sh.cfg.Kafka.Embedded {
		return verdict{}, nil // it has no coordinator that could have been away
	}
	v, err := sh.verdict(ctx)
	if err != nil && !sh.unseen(err) {
		return verdict{}, err
	}
	return sh.cfg.verdicts.latest(sh.id, v), nil
}

// verdict asks the coordinator, until it has ended what it has begun to end.
func (sh *shard) verdict(ctx context.Context) (verdict, error) {
	adm, err := sh.cfg.archive.admin()
	if err != nil {
		return verdict{}, err
	}
	id := sh.topics.TransactionalID(sh.id)
	for {
		all, err := adm.DescribeTransactions(ctx, id)
		if err == nil {
			err = all[id].Err
		}
		if errors.Is(err, kerr.TransactionalIDNotFound) {
			return verdict{}, nil // nobody has ever had the shard
		}
		if err != nil {
			return verdict{}, fmt.Errorf("ask for the state of transaction %s: %w", id, err)
		}
		if t := all[id]; t.State != statePrepareCommit && t.State != statePrepareAbort {
			return verdict{t.ProducerID, t.ProducerEpoch, t.State}, nil
		}
		if err := rest(ctx, archiveRest); err != nil {
			return verdict{}, err
		}
	}
}

// rest waits, unless ctx ends before.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// unseen says of an error that what was asked for will not be had by asking again: a right is missing, or the brokers do
// not know the question. The shard goes on without, as it would have to if nobody looked; it is told.
func (sh *shard) unseen(err error) bool {
	if err == nil || !lasting(err) && !strings.Contains(err.Error(), tooOld) {
		return false
	}
	if !sh.cfg.told.Again(err) {
		sh.cfg.Logger.Warn("cannot see whether a broker has left transactions open", "shard", sh.id, "err", err,
			"do", "docs/outages.md; the rights are in `waybill topics acls --role machines`")
	}
	return true
}

// tooOld is what the client says of a request that a broker does not know (franz-go 1.22.2, errors.go).
const tooOld = "broker is too old"

// look is one look at the partitions that a shard's transactions may write to.
type look struct {
	sh     *shard
	byEach map[int32]map[string][]int32 // the partitions of each broker
	found  map[int16]*hanging
	denied map[string]struct{}
	own    error // why one of the shard's own partitions could not be looked at
	others error // the same of those that others have as well
}

// lookFor looks for transactions of a producer that are open and have an epoch before the given one. What could not be
// looked at now is in look.own and look.others.
func (sh *shard) lookFor(ctx context.Context, producer int64, before int16) *look {
	l := &look{sh: sh, byEach: make(map[int32]map[string][]int32), found: make(map[int16]*hanging), denied: make(map[string]struct{})}
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	cl, err := sh.cfg.archive.shared()
	if err == nil {
		err = l.place(ctx, kadm.NewClient(cl))
	}
	if err != nil {
		l.own = err
		return l
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for broker, partitions := range l.byEach {
		asking.Go(func() {
			req := kmsg.NewPtrDescribeProducersRequest()
			for topic, numbers := range partitions {
				t := kmsg.NewDescribeProducersRequestTopic()
				t.Topic, t.Partitions = topic, numbers
				req.Topics = append(req.Topics, t)
			}
			// Not asked again by the client: a broker that has gone would be asked for as long as it can.
			answer, err := cl.Broker(int(broker)).Request(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			if resp, ok := answer.(*kmsg.DescribeProducersResponse); ok && err == nil {
				l.read(resp, producer, before)
				return
			}
			for topic, numbers := range partitions {
				for _, n := range numbers {
					l.blind(topic, n, fmt.Errorf("ask broker %d for the transactions that are open: %w", broker, err))
				}
			}
		})
	}
	asking.Wait()
	if len(l.denied) > 0 {
		sh.unseen(fmt.Errorf("no right to read %s: %w", strings.Join(slices.Sorted(maps.Keys(l.denied)), ", "), kerr.TopicAuthorizationFailed))
	}
	return l
}

// place finds who leads what a shard may write to: all partitions of what several shards write to, else its own.
func (l *look) place(ctx context.Context, adm *kadm.Client) error {
	work, err := l.sh.cfg.workTopics.all(ctx, adm, l.sh.topics)
	if err != nil {
		return err
	}
	t := l.sh.topics
	alone := map[string]bool{t.Blobs(): true, t.Definitions(): false, t.DeadLetters(): false}
	for name := range l.sh.byName {
		alone[t.Events(name)], alone[t.Completions(name)], alone[t.Snapshots(name)] = true, true, true
		alone[t.Commands(name)] = false
	}
	for _, name := range work {
		alone[name] = false
	}
	all, err := adm.ListTopics(ctx, slices.Sorted(maps.Keys(alone))...)
	if err != nil {
		return fmt.Errorf("find who leads the topics: %w", err)
	}
	for name, single := range alone {
		topic, ok := all[name]
		switch {
		case !ok || topic.Err != nil:
			l.blind(name, l.sh.id, fmt.Errorf("find who leads %s: %w", name, cmp.Or(topic.Err, error(kerr.UnknownTopicOrPartition))))
		case single:
			l.at(name, l.sh.id, topic.Partitions[l.sh.id])
		default:
			for n, p := range topic.Partitions {
				l.at(name, n, p)
			}
		}
	}
	return nil
}

// at notes who leads a partition.
func (l *look) at(topic string, n int32, p kadm.PartitionDetail) {
	if p.Err != nil || p.Leader < 0 || p.Topic == "" {
		l.blind(topic, n, fmt.Errorf("find who leads %s/%d: %w", topic, n, cmp.Or(p.Err, error(kerr.LeaderNotAvailable))))
		return
	}
	if l.byEach[p.Leader] == nil {
		l.byEach[p.Leader] = make(map[string][]int32)
	}
	l.byEach[p.Leader][topic] = append(l.byEach[p.Leader][topic], n)
}

// blind notes that a partition could not be looked at.
func (l *look) blind(topic string, n int32, err error) {
	t := l.sh.topics
	switch {
	case l.sh.unseen(err):
	case n == l.sh.id && topic != t.Definitions() && topic != t.DeadLetters() && !t.IsWork(topic):
		l.own = err
	default:
		l.others = err
	}
}

// read takes in what a broker says.
func (l *look) read(resp *kmsg.DescribeProducersResponse, producer int64, before int16) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			switch err := kerr.ErrorForCode(p.ErrorCode); {
			case errors.Is(err, kerr.TopicAuthorizationFailed):
				l.denied[t.Topic] = struct{}{}
			case err != nil:
				l.blind(t.Topic, p.Partition, fmt.Errorf("ask for the transactions that are open on %s/%d: %w", t.Topic, p.Partition, err))
			}
			for _, a := range p.ActiveProducers {
				epoch := int16(a.ProducerEpoch)
				if a.ProducerID != producer || a.CurrentTxnStartOffset < 0 || epoch >= before {
					continue
				}
				h := l.found[epoch]
				if h == nil {
					h = &hanging{epoch: epoch, partitions: make(map[string][]int32)}
					l.found[epoch] = h
				}
				h.partitions[t.Topic] = append(h.partitions[t.Topic], p.Partition)
				if at := time.UnixMilli(a.LastTimestamp); at.After(h.last) {
					h.last = at
				}
			}
		}
	}
}

// newestFirst lists what was found: a transaction before the last may be decided by what the last has ended.
func (l *look) newestFirst() []hanging {
	all := make([]hanging, 0, len(l.found))
	for _, h := range l.found {
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b hanging) int { return cmp.Compare(b.epoch, a.epoch) })
	return all
}

// mostRounds is how often what hangs is ended: that too may not reach a partition.
const mostRounds = 5

// endHanging ends what transactions of earlier owners have left open. Every one of those is fenced by now, so whatever is
// open under our producer hangs. It is decided as the coordinator says, which knows of the last one alone; else one of which
// something can be read in the shard's own partitions was committed. Of what is left nobody knows how it was decided, and
// nothing of it was read there: it is aborted, as though its owner had died before it.
func (sh *shard) endHanging(ctx context.Context, v verdict) error {
	if sh.cfg.Kafka.Embedded {
		return nil
	}
	producer, epoch, err := sh.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	if v.producer != producer {
		sh.tellStranded(ctx, v)
		v = verdict{}
	}
	for round := 1; ; round++ {
		l := sh.lookFor(ctx, producer, epoch)
		if l.own != nil {
			// What is written there next would decide what hangs.
			return fmt.Errorf("look for transactions that a broker has left open: %w", l.own)
		}
		if l.others != nil {
			sh.severed.note() // a broker is away that the shard may do without: it is looked at later
		}
		if len(l.found) == 0 {
			sh.cfg.verdicts.followed(sh.id)
			return nil
		}
		if round > mostRounds {
			return errors.New("a transaction that a broker has left open stays open though it was ended again")
		}
		for _, h := range l.newestFirst() {
			if err := sh.endOne(ctx, producer, epoch, v, h); err != nil {
				return fmt.Errorf("end a transaction that a broker has left open: %w", err)
			}
		}
	}
}

func (sh *shard) endOne(ctx context.Context, producer int64, epoch int16, v verdict, h hanging) error {
	commit, known := v.on(h)
	if !known {
		var err error
		if commit, err = sh.visible(ctx, producer, h); err != nil {
			return err
		}
	}
	if err := sh.end(ctx, producer, epoch, h.partitions, commit); err != nil {
		return err
	}
	sh.cfg.Logger.Warn("ended a transaction that a broker had left open", "shard", sh.id, "epoch", h.epoch, "committed", commit,
		"topics", slices.Sorted(maps.Keys(h.partitions)))
	return nil
}

// tellStranded says what hangs under the producer id before this one: an id has some 30,000 transactions, and nobody
// but an operator can end what is open under an old one.
func (sh *shard) tellStranded(ctx context.Context, v verdict) {
	if v.state == "" {
		return
	}
	for _, h := range sh.lookFor(ctx, v.producer, math.MaxInt16).newestFirst() {
		sh.cfg.Logger.Error("a broker has left a transaction open that its producer cannot end any more", "shard", sh.id,
			"producer", v.producer, "epoch", h.epoch, "partitions", h.partitions, "do", "kafka-transactions.sh abort (docs/outages.md)")
	}
}

// visible says whether anything of a transaction can be read in the shard's own partitions.
func (sh *shard) visible(ctx context.Context, producer int64, h hanging) (bool, error) {
	adm, err := sh.cfg.archive.admin()
	if err != nil {
		return false, err
	}
	var topics []string
	for name := range sh.byName {
		topics = append(topics, sh.topics.Events(name), sh.topics.Completions(name), sh.topics.Snapshots(name))
	}
	starts, err := adm.ListOffsetsAfterMilli(ctx, h.last.Add(-TransactionTimeout).UnixMilli(), topics...)
	if err != nil {
		return false, fmt.Errorf("find what can be read of a transaction: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return false, fmt.Errorf("find what can be read of a transaction: %w", err)
	}
	for _, topic := range topics {
		start, _ := starts.Lookup(topic, sh.id)
		end, ok := ends.Lookup(topic, sh.id)
		if err := cmp.Or(start.Err, end.Err); err != nil || !ok {
			return false, fmt.Errorf("find what can be read of a transaction on %s/%d: %w", topic, sh.id, cmp.Or(err, error(kerr.UnknownTopicOrPartition)))
		}
		for from, until := start.Offset, h.last.Add(TransactionTimeout); from < end.Offset; {
			records, next, err := sh.cfg.archive.read(ctx, topic, sh.id, from, archiveBytes)
			if sh.unseen(err) {
				break
			}
			if err != nil {
				return false, err
			}
			for _, r := range records {
				if r.ProducerID == producer && r.ProducerEpoch == h.epoch {
					return true, nil
				}
				if r.Timestamp.After(until) {
					next = end.Offset
				}
			}
			from = next
		}
	}
	return false, nil
}

// end ends what is open in partitions by a transaction of its own that holds nothing: a record would have to be one
// that every reader passes over. It is finished once it has begun, also where the process is to stop: half of it, this
// transaction would be aborted, and what hangs with it. A broker that is killed just then can still do that.
func (sh *shard) end(ctx context.Context, producer int64, epoch int16, partitions map[string][]int32, commit bool) error {
	// From version 5 on the epoch would be another one afterwards, and the shard's client would not know.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	cl, err := sh.cfg.Kafka.NewClient(kgo.MaxVersions(versions))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := outlast(ctx)
	defer cancel()
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch = sh.topics.TransactionalID(sh.id), producer, epoch
	for topic, l := range partitions {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = topic, l
		add.Topics = append(add.Topics, t)
	}
	if err := whenFree(ctx, func() error {
		answer, err := add.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err)
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = add.TransactionalID, producer, epoch, commit
	if err := whenFree(ctx, func() error {
		answer, err := end.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.ErrorCode)
	}); err != nil {
		return err
	}
	_, err = sh.verdict(ctx) // the partitions have been told
	return err
}

// whenFree asks until the coordinator has no other transaction in hand.
func whenFree(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return err
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// severed is told when a broker has gone in the middle of a request: it may have been killed.
type severed chan struct{}

// OnBrokerE2E implements kgo.HookBrokerE2E. What the client itself gives up is no word of the broker's.
func (s severed) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) {
	err := e2e.Err()
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return
	}
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.note()
	}
}

func (s severed) note() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// longestLook is how long the vigil rests at most before it looks for partitions again that nobody leads.
const longestLook = 30 * time.Second

// vigil looks, whenever a broker has gone, whether that has left a transaction of ours open; then the shard is let go of. It
// goes on meanwhile: what is open under an epoch before that of the last transaction is waited for by nobody but its
// readers. Brokers that do not do as KIP-890 says give all transactions of an owner the same epoch: there
// nothing is found, and the next owner ends it.
func (sh *shard) vigil(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sh.severed:
		}
		for began := time.Now(); ; {
			n, err := sh.lookOver(ctx)
			if n > 0 {
				sh.hangs.Store(&hangingError{n})
				sh.wakeUp()
				return
			}
			// The longer a broker is away the less it matters when it is seen to be back.
			if err == nil || rest(ctx, min(max(time.Since(began)/10, impatience), longestLook)) != nil {
				break
			}
		}
	}
}

// lookOver counts the partitions in which a transaction hangs, of those that can be looked at.
func (sh *shard) lookOver(ctx context.Context) (int, error) {
	last, err := sh.verdict(ctx)
	if err != nil {
		if sh.unseen(err) {
			err = nil
		}
		return 0, err
	}
	l := sh.lookFor(ctx, last.producer, last.epoch)
	n := 0
	for _, h := range l.found {
		for _, numbers := range h.partitions {
			n += len(numbers)
		}
	}
	return n, errors.Join(l.own, l.others)
}
