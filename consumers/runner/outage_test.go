package runner_test

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
)

// failCommits makes the next n commits fail as those do that a broker which was away has aborted.
func (f *fleet) failCommits(n int) {
	f.memory().ControlKey(kmsg.EndTxn.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if n == 0 {
			f.memory().DropControl()
			return nil, nil, false
		}
		n--
		f.memory().KeepControl()
		resp := req.ResponseKind().(*kmsg.EndTxnResponse) //nolint:forcetypeassert // its own kind
		resp.ErrorCode = kerr.InvalidTxnState.Code
		return resp, nil, true
	})
}

func TestAShardThatWasHeldForLongIsTakenAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 1)
		f.passes(time.Minute)
		f.failCommits(1)
		f.start("job", "chain")
		began := time.Now()
		f.ends("job", "completed")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the shard stood still for %s", took)
		}
	})
}

func TestAShardThatIsLostAtOnceEachTimeIsLeftAloneForASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		began := time.Now()
		f.failCommits(3) // each is that of the record by which the shard is taken
		a := f.join("a", noop)
		f.owns(a, 1)
		if took := time.Since(began); took < 3*6*time.Second {
			t.Errorf("the shard was taken four times within %s", took)
		}
	})
}

// failGroup lets nobody join the group or stay in it, until it is told to stop.
func (f *fleet) failGroup(why *kerr.Error) (stop func()) {
	var over atomic.Bool
	for _, key := range []int16{kmsg.Heartbeat.Int16(), kmsg.JoinGroup.Int16(), kmsg.SyncGroup.Int16()} {
		f.memory().ControlKey(key, func(req kmsg.Request) (kmsg.Response, error, bool) {
			if over.Load() {
				f.memory().DropControl()
				return nil, nil, false
			}
			f.memory().KeepControl()
			resp := req.ResponseKind()
			switch r := resp.(type) {
			case *kmsg.HeartbeatResponse:
				r.ErrorCode = why.Code
			case *kmsg.JoinGroupResponse:
				r.ErrorCode = why.Code
			case *kmsg.SyncGroupResponse:
				r.ErrorCode = why.Code
			}
			return resp, nil, true
		})
	}
	return func() { over.Store(true) }
}

// loses has the group lose its members; it takes them back when it is told to.
func (f *fleet) loses(members ...*member) (back func()) {
	back = f.failGroup(kerr.UnknownServerError)
	for _, m := range members {
		f.until(m.name+" is told that the group has lost it", func() bool { return m.Ready() != nil })
	}
	return back
}

func TestShardsGoOnWhileTheirGroupHasNoCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 1)
		back := f.loses(a)
		f.start("job", "chain")
		f.ends("job", "completed")
		if a.Ready() == nil {
			t.Error("a is ready though the group does not count it in")
		}
		back()
		f.until("a has joined again", func() bool { return a.Ready() == nil })
		f.owns(a, 1)
		if n := f.taken(); n != 1 {
			t.Errorf("the shard was taken %d times, want once", n)
		}
	})
}

func TestAShardThatAGroupWhichIsBackGivesToSomebodyElseIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 2)
		back := f.loses(a)
		b := f.join("b", noop)
		f.passes(time.Minute) // longer than the session of a
		back()
		f.owns(b, 1)
		f.owns(a, 1)
		for _, id := range []string{"one", "two", "three", "four"} {
			f.start(id, "chain")
			f.ends(id, "completed")
		}
	})
}

func TestAShardIsTakenFromWhoeverLeadsItsCheckpointsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, cluster := embeddedtest.Virtual(t, kfake.NumBrokers(3), kfake.Ports(9092, 9093, 9094))
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil { // as the network says it
				err = &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
			}
			return c, err
		}
		f := fleetOn(t, cfg, cluster, 1, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 1)
		f.passes(time.Minute) // no connection is kept for as long without use
		if err := cluster.RemoveNode(cluster.LeaderFor(cfg.Topics().Snapshots(aggregate), 0)); err != nil {
			t.Fatal(err)
		}
		f.failCommits(1)
		f.start("job", "chain")
		began := time.Now()
		f.ends("job", "completed")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the shard stood still for %s", took)
		}
	})
}
