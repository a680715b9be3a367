package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
// were decided; and whenever it has lost a broker in the middle of a request.
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
	prepareCommit = "PrepareCommit"
	prepareAbort  = "PrepareAbort"
	completed     = "CompleteCommit"
)

// committed says that a transaction was decided, that way.
func (v verdict) committed(h hanging) bool {
	// To end it takes an epoch, where the brokers do as KIP-890 says.
	return v.state == completed && h.epoch >= v.epoch-1
}

// last asks the coordinator about the last transaction of earlier owners, before it is asked to fence them: then it
// knows no more. Where it does not answer, what can be read decides.
func (sh *shard) last(ctx context.Context) verdict {
	if sh.cfg.Kafka.Embedded {
		return verdict{} // it has no coordinator that could have been away
	}
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	v, err := sh.verdict(ctx)
	sh.unseen(err)
	return v
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
		if t := all[id]; t.State != prepareCommit && t.State != prepareAbort {
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
// not know the question. The shard goes on without; it is told.
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

// writes lists the partitions that this shard's transactions may write to.
func (sh *shard) writes(ctx context.Context, adm *kadm.Client) (map[string][]int32, error) {
	all, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the topics: %w", err)
	}
	own := map[string]bool{sh.topics.Definitions(): false, sh.topics.Blobs(): true, sh.topics.DeadLetters(): false}
	for name := range sh.byName {
		own[sh.topics.Commands(name)] = false
		own[sh.topics.Events(name)], own[sh.topics.Completions(name)], own[sh.topics.Snapshots(name)] = true, true, true
	}
	l := make(map[string][]int32)
	for name, t := range all {
		alone, ours := own[name]
		switch {
		case t.Err != nil:
		case ours && alone:
			l[name] = []int32{sh.id}
		case ours || sh.topics.IsWork(name):
			l[name] = t.Partitions.Numbers()
		}
	}
	return l, nil
}

// leftOpen looks for transactions of a producer that are open in the partitions and have an epoch before the given
// one; the newest comes first. With an error they are those of the partitions that could be looked at.
func (sh *shard) leftOpen(ctx context.Context, producer int64, before int16) ([]hanging, error) {
	adm, err := sh.cfg.archive.admin()
	if err != nil {
		return nil, err
	}
	partitions, err := sh.writes(ctx, adm)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrDescribeProducersRequest()
	for topic, l := range partitions {
		t := kmsg.NewDescribeProducersRequestTopic()
		t.Topic, t.Partitions = topic, l
		req.Topics = append(req.Topics, t)
	}
	cl, err := sh.cfg.archive.shared()
	if err != nil {
		return nil, err
	}
	found := make(map[int16]*hanging)
	denied := make(map[string]struct{})
	var errs []error
	for _, shard := range cl.RequestSharded(ctx, req) {
		answer, ok := shard.Resp.(*kmsg.DescribeProducersResponse)
		if err := shard.Err; err != nil || !ok {
			errs = append(errs, fmt.Errorf("ask brokers for the transactions that are open: %w", err))
			continue
		}
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				switch err := kerr.ErrorForCode(p.ErrorCode); {
				case errors.Is(err, kerr.TopicAuthorizationFailed):
					denied[t.Topic] = struct{}{}
				case err != nil:
					errs = append(errs, fmt.Errorf("ask for the transactions that are open on %s/%d: %w", t.Topic, p.Partition, err))
				}
				for _, a := range p.ActiveProducers {
					if epoch := int16(a.ProducerEpoch); a.ProducerID == producer && a.CurrentTxnStartOffset >= 0 && epoch < before {
						h := found[epoch]
						if h == nil {
							h = &hanging{epoch: epoch, partitions: make(map[string][]int32)}
							found[epoch] = h
						}
						h.partitions[t.Topic] = append(h.partitions[t.Topic], p.Partition)
						h.last = later(h.last, time.UnixMilli(a.LastTimestamp))
					}
				}
			}
		}
	}
	if len(denied) > 0 {
		sh.unseen(fmt.Errorf("no right to read %s: %w", strings.Join(slices.Sorted(maps.Keys(denied)), ", "), kerr.TopicAuthorizationFailed))
	}
	l := make([]hanging, 0, len(found))
	for _, h := range found {
		l = append(l, *h)
	}
	slices.SortFunc(l, func(a, b hanging) int { return cmp.Compare(b.epoch, a.epoch) })
	return l, errors.Join(errs...)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// endHanging ends what transactions of earlier owners have left open. Every one of those is fenced by now, so whatever is
// open under our producer hangs. One was committed where the coordinator says so, which
// knows of the last alone, or where some of its events can be read; else it is aborted: then
// nothing of it has been read by anybody.
func (sh *shard) endHanging(ctx context.Context, last verdict) error {
	if sh.cfg.Kafka.Embedded {
		return nil
	}
	producer, epoch, err := sh.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	looking, stop := context.WithTimeout(ctx, archivePatience)
	left, err := sh.leftOpen(looking, producer, epoch)
	if stop(); err != nil && !sh.unseen(err) {
		// Some broker is away that the shard may do without: it is looked at when it is back.
		sh.severed.note()
	}
	for _, h := range left {
		commit := last.committed(h)
		if !commit {
			if commit, err = sh.visible(ctx, producer, h); err != nil {
				return err
			}
		}
		if err := sh.end(ctx, producer, epoch, h.partitions, commit); err != nil {
			return fmt.Errorf("end a transaction that a broker has left open: %w", err)
		}
		sh.cfg.Logger.Warn("ended a transaction that a broker had left open", "shard", sh.id, "epoch", h.epoch, "committed", commit,
			"topics", slices.Sorted(maps.Keys(h.partitions)))
	}
	return nil
}

// visible says whether an event of a transaction can be read.
func (sh *shard) visible(ctx context.Context, producer int64, h hanging) (bool, error) {
	adm, err := sh.cfg.archive.admin()
	if err != nil {
		return false, err
	}
	var topics []string
	for name := range sh.byName {
		topics = append(topics, sh.topics.Events(name))
	}
	starts, err := adm.ListOffsetsAfterMilli(ctx, h.last.Add(-TransactionTimeout).UnixMilli(), topics...)
	if err != nil {
		return false, fmt.Errorf("find the events of a transaction: %w", err)
	}
	ends, err := adm.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return false, fmt.Errorf("find the events of a transaction: %w", err)
	}
	for _, topic := range topics {
		start, _ := starts.Lookup(topic, sh.id)
		end, ok := ends.Lookup(topic, sh.id)
		if err := cmp.Or(start.Err, end.Err); err != nil || !ok {
			return false, fmt.Errorf("find the events of a transaction on %s/%d: %w", topic, sh.id, cmp.Or(err, error(kerr.UnknownTopicOrPartition)))
		}
		for from, until := start.Offset, h.last.Add(TransactionTimeout); from < end.Offset; {
			records, next, err := sh.cfg.archive.read(ctx, topic, sh.id, from, archiveBytes)
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
// that every reader passes over.
func (sh *shard) end(ctx context.Context, producer int64, epoch int16, partitions map[string][]int32, commit bool) error {
	// From version 5 on the epoch would be another one afterwards, and the shard's client would not know.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
	cl, err := sh.cfg.Kafka.NewClient(kgo.MaxVersions(versions))
	if err != nil {
		return err
	}
	defer cl.Close()
	add := kmsg.NewPtrAddPartitionsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch = sh.topics.TransactionalID(sh.id), producer, epoch
	for topic, l := range partitions {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = topic, l
		add.Topics = append(add.Topics, t)
	}
	if err := again(ctx, func() error {
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
	if err := again(ctx, func() error {
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

// again asks until the coordinator has no other transaction in hand.
func again(ctx context.Context, ask func() error) error {
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

// severed is told when a broker was lost in the middle of a request: it may have been killed.
type severed chan struct{}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (s severed) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) {
	if e2e.Err() != nil {
		s.note()
	}
}

func (s severed) note() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// vigil looks, whenever a broker was lost, whether that has left a transaction of ours open; then the shard is let go of. The
// shard goes on meanwhile: what is open under an epoch before that of the last transaction is not going to be ended. Brokers
// that do not do as KIP-890 says give all transactions of an owner the same: there the next owner ends it.
func (sh *shard) vigil(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sh.severed:
		}
		left, err := sh.lookOver(ctx)
		for err != nil && len(left) == 0 && !sh.unseen(err) && rest(ctx, impatience) == nil {
			left, err = sh.lookOver(ctx)
		}
		n := 0
		for _, h := range left {
			for _, l := range h.partitions {
				n += len(l)
			}
		}
		if n > 0 {
			sh.hangs.Store(&hangingError{n})
			sh.wakeUp()
			return
		}
	}
}

func (sh *shard) lookOver(ctx context.Context) ([]hanging, error) {
	last, err := sh.verdict(ctx)
	if err != nil {
		return nil, err
	}
	return sh.leftOpen(ctx, last.producer, last.epoch)
}
