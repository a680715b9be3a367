package runner_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
)

// leftOpen is a broker that says a transaction of a shard is open which it takes for ended, until that is ended once
// more. A broker in memory leaves none open: this one has nothing behind it but the answers.
type leftOpen struct {
	mu        sync.Mutex
	partition int32 // of the commands
	producer  int64
	epoch     int16
	last      time.Time     // when its last record was made
	state     string        // what the coordinator says; "": the truth
	later     int16         // of a transaction so many after that
	loading   time.Duration // for so long the coordinator does not say it yet
	moving    time.Duration // for so long nobody leads the partitions
	added     bool          // the partition is in the transaction that ends it
	ended     string        // how: "committed" or "aborted"
}

func (l *leftOpen) end() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// leavesOpen lets the broker say so.
func (f *fleet) leavesOpen(l *leftOpen) {
	commands := f.cfg.Topics().Commands(aggregate)
	keep := func(key int16, say func(kmsg.Request) kmsg.Response) {
		f.memory().ControlKey(key, func(req kmsg.Request) (kmsg.Response, error, bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			f.memory().KeepControl()
			resp := say(req)
			return resp, nil, resp != nil
		})
	}
	keep(kmsg.DescribeTransactions.Int16(), func(req kmsg.Request) kmsg.Response {
		if l.state == "" || l.ended != "" {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse) //nolint:forcetypeassert // its own kind
		state := kmsg.NewDescribeTransactionsResponseTransactionState()
		state.TransactionalID, state.State, state.ProducerID, state.ProducerEpoch = f.cfg.Topics().TransactionalID(0), l.state, l.producer, l.epoch+1+l.later
		if time.Since(l.last) < l.loading {
			state.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		}
		resp.TransactionStates = append(resp.TransactionStates, state)
		return resp
	})
	keep(kmsg.DescribeProducers.Int16(), func(req kmsg.Request) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)    //nolint:forcetypeassert // its own kind
		for _, t := range req.(*kmsg.DescribeProducersRequest).Topics { //nolint:forcetypeassert // that is its key
			topic := kmsg.NewDescribeProducersResponseTopic()
			topic.Topic = t.Topic
			for _, n := range t.Partitions {
				p := kmsg.NewDescribeProducersResponseTopicPartition()
				p.Partition = n
				if time.Since(l.last) < l.moving {
					p.ErrorCode = kerr.NotLeaderForPartition.Code
				}
				if t.Topic == commands && n == l.partition && l.ended == "" {
					open := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
					open.ProducerID, open.ProducerEpoch, open.CurrentTxnStartOffset = l.producer, int32(l.epoch), 7
					open.LastTimestamp = l.last.UnixMilli()
					p.ActiveProducers = append(p.ActiveProducers, open)
				}
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp
	})
	keep(kmsg.AddPartitionsToTxn.Int16(), func(req kmsg.Request) kmsg.Response {
		for _, t := range req.(*kmsg.AddPartitionsToTxnRequest).Topics { //nolint:forcetypeassert // that is its key
			l.added = l.added || t.Topic == commands && slices.Contains(t.Partitions, l.partition)
		}
		return nil
	})
	keep(kmsg.EndTxn.Int16(), func(req kmsg.Request) kmsg.Response {
		if l.added && l.ended == "" {
			l.ended = "aborted"
			if req.(*kmsg.EndTxnRequest).Commit { //nolint:forcetypeassert // that is its key
				l.ended = "committed"
			}
		}
		return nil
	})
}

// transaction is the last one of shard 0.
func (f *fleet) transaction() kadm.DescribedTransaction {
	f.t.Helper()
	all, err := kadm.NewClient(f.cl).DescribeTransactions(f.t.Context(), f.cfg.Topics().TransactionalID(0))
	if err != nil {
		f.t.Fatal(err)
	}
	return all.Sorted()[0]
}

// eventEpoch is under which epoch of its producer the last event was written.
func (f *fleet) eventEpoch() int16 {
	f.t.Helper()
	all := f.read(f.cfg.Topics().Events(aggregate))
	return all[len(all)-1].ProducerEpoch
}

func TestWhoeverTakesAShardEndsWhatABrokerHasLeftOpenAsItWasDecided(t *testing.T) {
	const slow = 4 * time.Second // longer than a look may take
	last := func(f *fleet) int16 { return f.transaction().ProducerEpoch }
	for _, x := range []struct {
		name  string
		open  *leftOpen
		epoch func(*fleet) int16
		want  string
	}{
		{"the coordinator says that it was committed", &leftOpen{state: "CompleteCommit"}, last, "committed"},
		{"the coordinator says that it was aborted", &leftOpen{state: "CompleteAbort"}, last, "aborted"},
		{"the coordinator knows no more, and events of it can be read", &leftOpen{state: "Empty"}, (*fleet).eventEpoch, "committed"},
		{"the coordinator knows no more, and nothing of it can be read", &leftOpen{state: "Empty"}, last, "aborted"},
		{"the coordinator speaks of a later one, and events of it can be read", &leftOpen{state: "CompleteAbort", later: 7}, (*fleet).eventEpoch, "committed"},
		{"the coordinator speaks of a later one, and nothing of it can be read", &leftOpen{state: "CompleteCommit", later: 7}, last, "aborted"},
		{"the coordinator has only just started", &leftOpen{state: "CompleteCommit", loading: slow}, last, "committed"},
		{"nobody leads its partitions yet", &leftOpen{state: "CompleteCommit", moving: slow}, last, "committed"},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1, quickPlans(t))
				f.cfg.Embedded = false
				a := f.join("a", noop)
				f.owns(a, 1)
				f.start("before", "chain")
				f.ends("before", "completed")
				a.stop()
				l := x.open
				l.producer, l.epoch, l.last = f.transaction().ProducerID, x.epoch(f), time.Now()
				f.leavesOpen(l)
				b := f.join("b", noop)
				f.owns(b, 1)
				if got := l.end(); got != x.want {
					t.Errorf("it was %q, want %q", got, x.want)
				}
				f.start("after", "chain")
				f.ends("after", "completed")
				f.passes(time.Minute)
				if n := f.taken(); n != 2 {
					t.Errorf("the shard was taken %d times, want twice", n)
				}
			})
		})
	}
}

func TestAShardThatLosesABrokerLooksWhatThatHasLeftOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		f.cfg.Embedded = false
		a := f.join("a", noop)
		f.owns(a, 1)
		f.start("before", "chain")
		f.ends("before", "completed")
		l := &leftOpen{producer: f.transaction().ProducerID, last: time.Now(), epoch: f.eventEpoch()}
		f.leavesOpen(l)
		f.passes(time.Minute)
		if got := l.end(); got != "" {
			t.Fatalf("it was %s, and no broker has been lost", got)
		}
		const away = 20 * time.Second
		lost := time.Now()
		f.cutsOff(away, kmsg.Fetch.Int16(), kmsg.DescribeTransactions.Int16())
		f.until("what is open is ended", func() bool { return l.end() == "committed" })
		if took := time.Since(lost); took < away || took > away+5*time.Second {
			t.Errorf("it was ended %s after a broker was lost that was away for %s", took, away)
		}
		f.start("after", "chain")
		f.ends("after", "completed")
		if n := f.taken(); n != 2 {
			t.Errorf("the shard was taken %d times, want twice", n)
		}
	})
}

// cutsOff closes the connections over which requests of some kinds come, for a while.
func (f *fleet) cutsOff(away time.Duration, keys ...int16) {
	until := time.Now().Add(away)
	for _, key := range keys {
		f.memory().ControlKey(key, func(kmsg.Request) (kmsg.Response, error, bool) {
			if time.Now().After(until) {
				f.memory().DropControl()
				return nil, nil, false
			}
			f.memory().KeepControl()
			return nil, errors.New("killed"), true
		})
	}
}

func TestAShardIsTakenFromBrokersThatDoNotSayWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, cluster := embeddedtest.Virtual(t, kfake.MaxVersions(kversion.V2_7_0()))
		f := fleetOn(t, cfg, cluster, 1, quickPlans(t))
		f.cfg.Embedded = false
		a := f.join("a", noop)
		f.owns(a, 1)
		f.start("job", "chain")
		f.ends("job", "completed")
	})
}
