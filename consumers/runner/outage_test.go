package runner_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
		if took := time.Since(began); took > 3*time.Second {
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
