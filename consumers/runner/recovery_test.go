package runner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

func TestAnEventOfAFutureVersionStopsItsShardByNameAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, quickPlans(t))
		var here, there string // a job of each shard
		for i := 0; here == "" || there == ""; i++ {
			id := fmt.Sprintf("job-%d", i)
			if kafka.PartitionFor([]byte(id), 2) == 0 {
				here = id
			} else {
				there = id
			}
		}
		r := &kgo.Record{
			Topic: f.cfg.Topics().Events(aggregate), Key: []byte(here), Value: []byte(`{}`),
			Headers: kafka.CloudEvent{ID: "e1", Source: "future", Type: "activity.completed.v9", Sequence: 1}.Headers(),
		}
		if err := f.cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		m := f.join("a", noop)
		f.owns(m, 1)
		f.start(there, "chain")
		f.ends(there, "completed")
		f.passes(time.Minute)
		err := m.Ready()
		if err == nil {
			t.Fatal("the member says that it is ready")
		}
		for _, part := range []string{"waybill.orchestration.events/0", "offset 0", "activity.completed.v9"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("readiness says %q, want it to name %q", err, part)
			}
		}
	})
}

// TestAShardThatANewerWaybillHasHadIsLeftAlone: what such an owner may have written there means something
// else, or nothing, to this build.
func TestAShardThatANewerWaybillHasHadIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, quickPlans(t))
		owned := fmt.Sprintf(`{"member":"newer","token":"t","at":"2026-01-02T03:04:05Z","format":%d}`, schemas.LogFormat+1)
		r := &kgo.Record{
			Topic: f.cfg.Topics().Events(aggregate), Key: []byte(schemas.ShardKey), Value: []byte(owned),
			Headers: kafka.CloudEvent{ID: "t", Source: "future", Type: schemas.ShardOwned, InputOffset: -1}.Headers(),
		}
		partition := kafka.PartitionFor(r.Key, 2)
		if err := f.cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		here, there := "", "" // a job of that shard, and one of the other
		for i := 0; here == "" || there == ""; i++ {
			id := fmt.Sprintf("job-%d", i)
			if kafka.PartitionFor([]byte(id), 2) == partition {
				here = id
			} else {
				there = id
			}
		}
		m := f.join("a", noop)
		f.owns(m, 1)
		f.start(here, "chain")
		f.start(there, "chain")
		f.ends(there, "completed")
		f.passes(time.Minute)
		want := fmt.Sprintf("events/%d stands still at offset 0: written by a newer Waybill (format %d; this one knows up to %d): upgrade this process",
			partition, schemas.LogFormat+1, schemas.LogFormat)
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("readiness says %v, want %q", err, want)
		}
		if l := f.history(here); len(l) > 0 {
			t.Errorf("it has decided there: %v", l)
		}
	})
}

func TestARestartedMemberGoesOnInTheMiddleOfAJob(t *testing.T) {
	bothKinds(t, 2, quickPlans, func(f *fleet) {
		a := f.join("a", nil) // without an agent, the work lies on its topic
		f.owns(a, 2)
		f.start("job", "chain")
		f.until("the first activity is asked for", func() bool { return len(f.history("job")) == 2 })
		a.stop()
		b := f.join("a", noop)
		f.owns(b, 2)
		f.ends("job", "completed") // offered again after half a minute, to a free agent here
		if got := f.history("job"); !slices.Contains(got, "activity.offered") || len(got) != 9 {
			f.t.Errorf("history: %v", got)
		}
	})
}

func TestWorkThatTheProcessItselfHeldGoesOnAtOnceAfterARestart(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", nil)
		f.owns(a, 1)
		f.start("job", "chain")
		var work string
		f.until("the work is on its topic", func() bool {
			for _, r := range f.read(f.cfg.Topics().Work("noop")) {
				work = string(r.Key)
			}
			return work != ""
		})
		f.send("job", schemas.WorkHeartbeat, `{"workId":"`+work+`","attempt":1,"agent":"a"}`)
		f.until("the agent has claimed it", func() bool { return slices.Contains(f.history("job"), "activity.claimed") })
		a.stop()
		began := time.Now()
		b := f.join("a", noop)
		f.owns(b, 1)
		f.ends("job", "completed")
		if took := time.Since(began); took > f.soon(2*time.Second) {
			f.t.Errorf("it went on after %s", took)
		}
	})
}

func TestARepeatedCommandIsAnsweredOnceEvenAfterARestart(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", noop)
		f.owns(a, 1)
		for range 2 {
			f.sendAs("same", "job", schemas.OrchestrationStart, `{"type":"chain"}`)
			f.sendAs("wrong", "other", schemas.OrchestrationStart, `{"type":"missing"}`)
			f.ends("job", "completed")
			a.stop()
			a = f.join("a", noop)
			f.owns(a, 1)
		}
		f.sendAs("same", "job", schemas.OrchestrationStart, `{"type":"chain","partial":true}`)
		f.until("the other body under the same id is refused", func() bool {
			l, _ := f.completions("job")
			return slices.Equal(l, []string{"orchestration.completed", "command.rejected"})
		})
		if l, copies := f.completions("other"); len(l) != 1 || copies != 1 {
			f.t.Errorf("%d copies of answers %v to the refused command", copies, l)
		}
		if n := len(f.history("job")); n != 8 {
			f.t.Errorf("%d events, want 8", n)
		}
	})
}

func TestACancelEndsAJobAndTellsItsAgents(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		a := f.join("a", nil)
		f.owns(a, 1)
		f.start("job", "chain")
		f.until("the first activity is asked for", func() bool { return len(f.history("job")) == 2 })
		f.send("job", schemas.OrchestrationCancel, `{"reason":"no longer wanted"}`)
		f.ends("job", "cancelled")
		f.until("the agents are told", func() bool {
			return slices.ContainsFunc(f.read(f.cfg.Topics().Work("noop")), func(r *kgo.Record) bool {
				e, err := kafka.ParseCloudEvent(r)
				return err == nil && e.Type == schemas.WorkCancelled
			})
		})
	})
}
