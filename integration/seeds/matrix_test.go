package seeds_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/waybill/waybill/schemas"
)

var (
	every   = flag.Bool("every", false, "go through every fault, not only a few")
	worker  = flag.Int("worker", 0, "which worker's share of the faults")
	workers = flag.Int("workers", 1, "how many workers there are")
)

// cell is one kind of request and what befalls it.
type cell struct {
	key kmsg.Key
	how mishap
	err *kerr.Error // answered
	top bool        // it is the whole request's
}

// failed is a request that the broker answers with an error, and late one that it carries out after a while.
const (
	failed mishap = "answered with an error"
	late   mishap = "carried out late"
)

func (c cell) String() string {
	name := kmsg.NameForKey(int16(c.key)) + " " + string(c.how)
	if c.err != nil {
		name = kmsg.NameForKey(int16(c.key)) + " answered with " + c.err.Message
		if c.top {
			name += " as a whole"
		}
	}
	return strings.ReplaceAll(name, " ", "_")
}

// cells are all that is gone through: every request that our processes make, in every way.
func cells() []cell {
	var l []cell
	for _, key := range slices.SortedFunc(maps.Keys(answers()), func(a, b kmsg.Key) int { return int(a) - int(b) }) {
		for _, how := range []mishap{lost, unheard, delayed, late} {
			l = append(l, cell{key: key, how: how})
		}
		for _, err := range answers()[key] {
			l = append(l, cell{key: key, how: failed, err: err})
		}
	}
	return l
}

// shared says that it takes agents in share groups to make such a request.
func (c cell) shared() bool {
	return c.key == kmsg.ShareFetch || c.key == kmsg.ShareAcknowledge || c.key == kmsg.ShareGroupHeartbeat || c.key == kmsg.IncrementalAlterConfigs
}

// Two processes share some jobs, transfers and negotiations; one leaves and comes back. The first requests of one kind that
// they make, and the first after that, all go wrong in one way.
func TestFaults(t *testing.T) {
	for i, c := range cells() {
		if !*every && i%29 != 0 || i%*workers != *worker {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.lives(t, uint64(i)) })
		})
	}
}

// held is for how long a request is held up on its way.
const held = 3 * time.Second

// struck is how many requests in a row go wrong.
const struck = 3

func (c cell) lives(t *testing.T, seed uint64) {
	t.Helper()
	w := newWorld(t, seed, seed%2 != 0, !c.shared())
	if c.key == kmsg.AddPartitionsToTxn {
		// Newer ones write without asking for it.
		w.cfg.Extra = append(w.cfg.Extra, kgo.MaxVersions(kversion.V3_8_0()))
	}
	if c.key == kmsg.DeleteRecords {
		w.keep = 2 * time.Second
	}
	hits := c.strike(w)
	for _, name := range []string{"m0", "m1"} {
		w.add(&process{name: name, rows: name == "m0"}).start()
	}
	for i, typ := range []string{"chain", "mix", "documents", "wide"} {
		w.send(command{id: "start-" + typ, key: fmt.Sprintf("job-%d", i), typ: schemas.OrchestrationStart, value: `{"type":"` + typ + `"}`})
		w.passes(500 * time.Millisecond)
	}
	w.passes(3 * time.Second)
	w.processes[1].stop()
	more := c.strike(w)
	w.processes[1].start()
	w.passes(10 * time.Second)
	w.ends(nil)
	w.passes(latest)
	report := w.judge()
	if hits()+more() == 0 {
		t.Errorf("no such request was made: %s", report)
	}
}

// strike lets the next requests go wrong. What it returns says how many have.
func (c cell) strike(w *world) func() int {
	switch c.how {
	case failed:
		if c.key == kmsg.IncrementalAlterConfigs {
			return c.refuse(w)
		}
		f := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{c.key}, Err: c.err, Count: struck, TopLevel: c.top})
		w.faults = append(w.faults, f)
		return f.Hits
	case late:
		return w.late(c.key, latest)
	case none, lost, unheard, delayed:
	}
	h := &harm{key: c.key, how: c.how, after: held}
	h.left.Store(struck)
	w.harm = h
	for _, p := range w.processes {
		if p.wire != nil {
			p.wire.mistreat(h)
		}
	}
	return func() int { return int(h.hits.Load()) }
}

// refuse answers requests to alter a group's configuration with the error: the broker's own faults do not know
// groups.
func (c cell) refuse(w *world) func() int {
	var hits atomic.Int32
	w.cluster.ControlKey(int16(c.key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req, ok := r.(*kmsg.IncrementalAlterConfigsRequest)
		if !ok || w.calm.Load() {
			return nil, nil, false
		}
		if hits.Add(1) < struck {
			w.cluster.KeepControl()
		}
		resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
		resp.Version = req.Version
		for _, of := range req.Resources {
			answer := kmsg.NewIncrementalAlterConfigsResponseResource()
			answer.ErrorCode, answer.ResourceType, answer.ResourceName = c.err.Code, of.ResourceType, of.ResourceName
			resp.Resources = append(resp.Resources, answer)
		}
		return resp, nil, true
	})
	return func() int { return int(hits.Load()) }
}
