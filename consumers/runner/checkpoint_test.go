package runner_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Every taking of a shard in the tests of this package is compared with a replay of all its events: see fleet.join.

func (f *fleet) topic() string { return f.cfg.Topics().Snapshots(aggregate) }

// ended makes some jobs that end.
func (f *fleet) ended(prefix string, n int) {
	f.t.Helper()
	for i := range n {
		f.start(fmt.Sprintf("%s-%d", prefix, i), "chain")
	}
	for i := range n {
		f.ends(fmt.Sprintf("%s-%d", prefix, i), "completed")
	}
}

// checkpoints are those that were written of the only shard, oldest first.
func (f *fleet) checkpoints() []schemas.Checkpoint {
	f.t.Helper()
	var l []schemas.Checkpoint
	for _, r := range f.read(f.topic()) {
		env, err := kafka.ParseCloudEvent(r)
		if err != nil {
			f.t.Fatal(err)
		}
		if env.Type == schemas.ShardCheckpoint {
			c, err := schemas.DecodeCheckpoint(env.Type, r.Value)
			if err != nil {
				f.t.Fatal(err)
			}
			l = append(l, c)
		}
	}
	return l
}

// cut cuts the front off a topic's only partition, up to the last record.
func (f *fleet) cut(topic string) {
	f.t.Helper()
	all := f.read(topic)
	var offsets kadm.Offsets = make(map[string]map[int32]kadm.Offset)
	offsets.AddOffset(topic, 0, all[len(all)-1].Offset, -1)
	done, err := kadm.NewClient(f.cl).DeleteRecords(f.t.Context(), offsets)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) begins(topic string) int64 {
	f.t.Helper()
	starts, err := kadm.NewClient(f.cl).ListStartOffsets(f.t.Context(), topic)
	if err != nil {
		f.t.Fatal(err)
	}
	o, _ := starts.Lookup(topic, 0)
	return o.Offset
}

func TestAShardGoesOnFromItsCheckpoint(t *testing.T) {
	bothKinds(t, 1, stack, func(f *fleet) {
		s := newStep(100 * time.Millisecond)
		m := f.join("a", s.of("a"))
		f.owns(m, 1)
		f.sendAs("first", "old", schemas.OrchestrationStart, `{"type":"plain"}`)
		f.ends("old", "completed")
		for i := range 5 {
			f.start(fmt.Sprintf("more-%d", i), "plain")
			f.ends(fmt.Sprintf("more-%d", i), "completed")
		}
		f.until("there are checkpoints", func() bool { return len(f.checkpoints()) > 2 })
		m.gate.kill()
		m.stop()
		m = f.join("b", s.of("b"))
		f.owns(m, 1)
		if from := f.origin(0); !strings.Contains(from, "checkpoint") {
			f.t.Errorf("its state comes from %q", from)
		}
		before := len(f.history("old"))
		f.sendAs("first", "old", schemas.OrchestrationStart, `{"type":"plain"}`) // a repeat
		f.sendAs("second", "old", schemas.OrchestrationStart, `{"type":"plain","partial":true}`)
		f.until("another start under its id is refused", func() bool {
			l, _ := f.completions("old")
			return slices.Contains(l, "command.rejected")
		})
		if n := len(f.history("old")); n != before {
			f.t.Errorf("%d events, want %d", n, before)
		}
		f.send("old", schemas.OrchestrationRerun, `{"from":"dns"}`)
		f.until("it runs again", func() bool { return len(f.runs("old")) == 2 })
	})
}

func TestWhatHasNotChangedIsNotWrittenDownAgain(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		m := f.join("a", func(p *agent.Pool) { noop(p); p.Register("again", again{}, 1) })
		f.owns(m, 1)
		for i := range 40 {
			f.ended(fmt.Sprintf("job-%d", i), 1)
		}
		all := f.checkpoints()
		full := 0
		for _, c := range all {
			if c.Full() {
				full++
			}
		}
		if len(all) < 8 || full*2 > len(all) {
			f.t.Errorf("%d of %d checkpoints hold everything", full, len(all))
		}
		if begins := f.begins(f.topic()); full > 2 && begins == 0 {
			f.t.Error("nothing was cut off the front of the snapshots")
		}
	})
}

// A checkpoint that its owner did not finish is passed over, whichever of its records is the last.
func TestAnOwnerMayDieAnywhereInACheckpoint(t *testing.T) {
	for nth := 1; nth <= 4; nth++ {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("at write %d, before it: %v", nth, before), func(t *testing.T) {
				bothKinds(t, 1, quickPlans, func(f *fleet) {
					m := f.join("a", noop)
					f.owns(m, 1)
					seen, topic := 0, f.id(f.topic())
					f.memory().ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
						f.memory().KeepControl()
						if writes(req, topic) {
							if seen++; seen == nth {
								m.gate.kill()
								return nil, errors.New("the connection was cut"), before
							}
						}
						return nil, nil, false
					})
					for i := range 30 {
						f.start(fmt.Sprintf("job-%d", i), "chain")
						f.passes(20 * time.Millisecond)
					}
					f.until("it is dead", func() bool { return seen >= nth })
					m.stop()
					m = f.join("b", noop)
					f.owns(m, 1)
					for i := range 30 {
						f.ends(fmt.Sprintf("job-%d", i), "completed")
					}
				})
			})
		}
	}
}

// writes says that a produce request has records for a topic.
func writes(req kmsg.Request, topic [16]byte) bool {
	r, ok := req.(*kmsg.ProduceRequest)
	return ok && slices.ContainsFunc(r.Topics, func(t kmsg.ProduceRequestTopic) bool { return t.TopicID == topic })
}

func (f *fleet) id(topic string) [16]byte {
	f.t.Helper()
	all, err := kadm.NewClient(f.cl).ListTopics(f.t.Context(), topic)
	if err != nil {
		f.t.Fatal(err)
	}
	return all[topic].ID
}

// forge writes a checkpoint that goes on from nothing, and is newer than all others.
func (f *fleet) forge(change func(c *schemas.Checkpoint), parts ...[]byte) {
	f.t.Helper()
	all := f.checkpoints()
	last := all[len(all)-1]
	last.Number += 100
	last.Base, last.Previous, last.Parts, last.Bytes = last.Number, 0, len(parts), 0
	sum := sha256.New()
	var records []*kgo.Record
	add := func(typ string, value []byte) {
		records = append(records, &kgo.Record{
			Topic: f.topic(), Partition: 0, Key: []byte(schemas.ShardKey), Value: value,
			Headers: kafka.CloudEvent{ID: fmt.Sprint(typ, len(records)), Source: "test", Type: typ, Subject: "forged", Sequence: int64(len(records) + 1)}.Headers(),
		})
	}
	for _, p := range parts {
		sum.Write(p)
		last.Bytes += int64(len(p))
		add(schemas.ShardSnapshot, p)
	}
	last.Checksum = hex.EncodeToString(sum.Sum(nil))
	if change != nil {
		change(&last)
	}
	value, err := json.Marshal(last)
	if err != nil {
		f.t.Fatal(err)
	}
	add(schemas.ShardCheckpoint, value)
	if err := f.cl.ProduceSync(f.t.Context(), records...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// TestACheckpointOfANewerWaybillStopsTheShard: it stands for that owner's own record, which nobody reads then.
func TestACheckpointOfANewerWaybillStopsTheShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		m := f.join("a", noop)
		f.owns(m, 1)
		f.ended("job", 8)
		m.stop()
		f.forge(func(c *schemas.Checkpoint) { c.Format = schemas.LogFormat + 1 }, runner.LiveFrame("job-0", 99, 1, 1, `{}`))
		m = f.join("a", noop)
		f.passes(time.Minute)
		want := fmt.Sprintf("written by a newer Waybill (format %d; this one knows up to %d): upgrade this process", schemas.LogFormat+1, schemas.LogFormat)
		if err := m.Ready(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("readiness says %v, want %q", err, want)
		}
	})
}

func TestACheckpointThatIsNoGoodIsPassedOver(t *testing.T) {
	whole := runner.LiveFrame("job-0", 99, 1, 1, `{}`)
	for name, spoil := range map[string]func(f *fleet){
		"a checksum is wrong":       func(f *fleet) { f.forge(func(c *schemas.Checkpoint) { c.Checksum = "00" }) },
		"a part is missing":         func(f *fleet) { f.forge(func(c *schemas.Checkpoint) { c.Parts++ }) },
		"a frame is cut short":      func(f *fleet) { f.forge(nil, whole[:len(whole)-1]) },
		"a frame is unknown":        func(f *fleet) { f.forge(nil, []byte{'z', 1, 0}) },
		"a codec's version unknown": func(f *fleet) { f.forge(nil, runner.LiveFrame("job-0", 99, 1, 99, `{}`)) },
		"a state makes no sense":    func(f *fleet) { f.forge(nil, runner.LiveFrame("job-0", 99, 1, 1, `[`)) },
		"one before is missing":     func(f *fleet) { f.forge(func(c *schemas.Checkpoint) { c.Base, c.Previous = 1, 77 }, whole) },
		"the log is shorter":        func(f *fleet) { f.forge(func(c *schemas.Checkpoint) { c.To.Offset += 1000 }, whole) },
		"another transaction ends there": func(f *fleet) {
			f.forge(func(c *schemas.Checkpoint) { c.To.At = c.To.At.Add(time.Second) }, whole)
		},
		"no transaction ends there": func(f *fleet) { f.forge(func(c *schemas.Checkpoint) { c.From.Offset-- }, whole) },
	} {
		t.Run(name, func(t *testing.T) {
			bothKinds(t, 1, quickPlans, func(f *fleet) {
				m := f.join("a", noop)
				f.owns(m, 1)
				f.ended("job", 8)
				m.stop()
				all := f.checkpoints()
				good := all[len(all)-1].Number
				spoil(f)
				m = f.join("a", noop)
				f.owns(m, 1)
				if from := f.origin(0); !strings.Contains(from, fmt.Sprintf("checkpoint %d of", good)) {
					f.t.Errorf("its state comes from %q", from)
				}
				f.ended("new", 3)
				for range 2 { // and what is written afterwards is good again
					m.stop()
					m = f.join("a", noop)
					f.owns(m, 1)
				}
				f.ended("newer", 3)
			})
		})
	}
}

func TestWithoutCheckpointsTheEventsTell(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		m := f.join("a", noop)
		f.owns(m, 1)
		f.ended("job", 8)
		m.stop()
		f.cut(f.topic())
		m = f.join("a", noop)
		f.owns(m, 1)
		if from := f.origin(0); !strings.Contains(from, ": 64 events") {
			f.t.Errorf("its state comes from %q", from)
		}
		f.ended("new", 3)
	})
}

func TestHistoryIsLetGoOfWhatEndedLongAgo(t *testing.T) {
	bothKinds(t, 1, stack, func(f *fleet) {
		f.keep = time.Hour
		s := newStep(100 * time.Millisecond)
		m := f.join("a", s.of("a"))
		f.owns(m, 1)
		for i := range 10 {
			id := fmt.Sprintf("old-%d", i)
			f.start(id, "plain")
			f.ends(id, "completed")
		}
		events := f.cfg.Topics().Events(aggregate)
		f.passes(30 * time.Minute)
		if at := f.begins(events); at != 0 {
			f.t.Errorf("after half an hour the events begin at %d", at)
		}
		for i := range 20 { // a shard that does something now and then
			id := fmt.Sprintf("now-%d", i)
			f.start(id, "plain")
			f.ends(id, "completed")
			f.passes(10 * time.Minute)
		}
		for _, topic := range []string{events, f.cfg.Topics().Commands(aggregate), f.cfg.Topics().Completions(aggregate)} {
			f.until(topic+" is shorter", func() bool { return f.begins(topic) > 0 })
		}
		f.send("old-0", schemas.OrchestrationRerun, `{"from":"dns"}`)
		f.until("a rerun of what is gone is refused", func() bool {
			return slices.ContainsFunc(f.read(f.cfg.Topics().Completions(aggregate)), func(r *kgo.Record) bool {
				var x schemas.Refused
				return string(r.Key) == "old-0" && json.Unmarshal(r.Value, &x) == nil && x.Code == "not-found" && strings.Contains(x.Reason, "--keep-history")
			})
		})
		m.stop()
		m = f.join("b", s.of("b"))
		f.owns(m, 1)
		f.send("now-19", schemas.OrchestrationRerun, `{"from":"dns"}`)
		f.until("what ended lately runs again", func() bool { return len(f.runs("now-19")) == 2 })
		m.stop()
		f.cut(f.topic())
		m = f.join("c", s.of("c"))
		f.until("the shard stands still", func() bool {
			err := m.Ready()
			return err != nil && strings.Contains(err.Error(), "have been let go") && strings.Contains(err.Error(), "restore that topic")
		})
	})
}

func TestTheHistoryOfWhatLivesStays(t *testing.T) {
	bothKinds(t, 1, quickPlans, func(f *fleet) {
		f.keep = time.Hour
		m := f.join("a", noop) // nobody does what is slow
		f.owns(m, 1)
		f.ended("old", 5)
		f.start("alive", "slow")
		f.ended("older", 5)
		for i := range 20 {
			f.ended(fmt.Sprintf("now-%d", i), 1)
			f.passes(10 * time.Minute)
		}
		f.until("history is cut", func() bool { return f.begins(f.cfg.Topics().Events(aggregate)) > 0 })
		if l := f.history("alive"); len(l) == 0 || l[0] != "orchestration.started" {
			f.t.Errorf("its history is %v", l)
		}
		f.send("alive", schemas.OrchestrationCancel, `{}`)
		f.ends("alive", "cancelled")
	})
}
