package seeds_test

import (
	"database/sql"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// Names of the topics of a world.
const (
	jobs         = "waybill.orchestration.events"
	jobCommands  = "waybill.orchestration.commands"
	jobEnds      = "waybill.orchestration.completions"
	moves        = "waybill.transfer.events"
	moveCommands = "waybill.transfer.commands"
	contracts    = "waybill.negotiation.events"
	someWork     = "waybill.work.slow"
)

// goodHistory is what a world without faults leaves behind, after a restart and with all that commands can
// come to; and the file of its projection, with a fresh one.
func goodHistory(t *testing.T) (log *audit.Log, now time.Time, live, fresh string) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, false, true)
		w.dir = dir
		first := w.add(&process{name: "m0", rows: true})
		first.start()
		w.passes(8 * time.Second)
		start := func(id, key, typ string) {
			w.send(command{id: id, key: key, typ: schemas.OrchestrationStart, value: `{"type":"` + typ + `"}`})
		}
		for _, typ := range []string{"chain", "mix", "tree", "wide", "hopeless", "undone", "documents"} {
			start("start-"+typ, "job-"+typ, typ)
		}
		w.send(command{aggregate: schemas.AggregateDefinition, id: "put", key: "activity/mine", typ: schemas.DefinitionPut, value: `{"type":"mine"}`})
		start("same", "job-chain", "chain") // settled: it changes nothing
		start("refused", "job-nothing", "unheard-of")
		w.misplaced(command{id: "misplaced", key: "job-elsewhere", typ: schemas.OrchestrationStart, value: `{"type":"chain"}`})
		w.passes(2 * time.Second)
		w.send(command{id: "cancel", key: "job-wide", typ: schemas.OrchestrationCancel, value: `{"reason":"enough"}`})
		first.stop()
		first.start()
		w.passes(10 * time.Second)
		w.send(command{id: "again", key: "job-chain", typ: schemas.OrchestrationRerun, value: `{"by":"kim"}`})
		w.ends(nil)
		w.judge()
		log, now = w.log(), time.Now()
		live, fresh = first.file(), dir+"/fresh.db"
	})
	if t.Failed() {
		t.FailNow()
	}
	return log, now, live, fresh
}

// misplaced sends a command to a partition that is not its key's.
func (w *world) misplaced(c command) {
	w.t.Helper()
	r := &kgo.Record{
		Topic: w.cfg.Topics().Commands(schemas.AggregateOrchestration), Partition: (kafka.PartitionFor([]byte(c.key), w.shards) + 1) % w.shards,
		Key: []byte(c.key), Value: []byte(c.value), Headers: kafka.CloudEvent{ID: c.id, Source: "test", Type: c.typ, Subject: c.key}.Headers(),
	}
	if err := w.cl.ProduceSync(w.t.Context(), r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// plant is a history in which something is to be put.
type plant struct {
	*testing.T
	*audit.Log
}

// where finds the n-th record of a topic that is so.
func (p *plant) where(topic string, n int, is func(*audit.Record) bool) int {
	p.Helper()
	for i := range p.Records[topic] {
		if is(&p.Records[topic][i]) {
			if n--; n == 0 {
				return i
			}
		}
	}
	p.Fatalf("%s has no such record", topic)
	return 0
}

// of are the records of a type, of a key that ends so.
func of(typ, key string) func(*audit.Record) bool {
	return func(r *audit.Record) bool { return r.Type == typ && strings.HasSuffix(r.Key, key) }
}

// with are those that have a text in their value as well.
func with(typ, text string) func(*audit.Record) bool {
	return func(r *audit.Record) bool { return r.Type == typ && strings.Contains(r.Value, text) }
}

func (p *plant) drop(topic string, is func(*audit.Record) bool) {
	p.Helper()
	i := p.where(topic, 1, is)
	p.Records[topic] = slices.Delete(p.Records[topic], i, i+1)
}

// change changes a record.
func (p *plant) change(topic string, is func(*audit.Record) bool, how func(*audit.Record)) {
	p.Helper()
	how(&p.Records[topic][p.where(topic, 1, is)])
}

// text changes a text in a record's value.
func (p *plant) text(topic string, is func(*audit.Record) bool, old, text string) {
	p.Helper()
	p.change(topic, is, func(r *audit.Record) {
		if !strings.Contains(r.Value, old) {
			p.Fatalf("%s is not in %s", old, r.Value)
		}
		r.Value = strings.Replace(r.Value, old, text, 1)
	})
}

// again puts a copy of a record right behind it, changed.
func (p *plant) again(topic string, is func(*audit.Record) bool, how func(*audit.Record)) {
	p.Helper()
	i := p.where(topic, 1, is)
	r := p.Records[topic][i]
	if how != nil {
		how(&r)
	}
	p.Records[topic] = slices.Insert(p.Records[topic], i+1, r)
}

// swap lets two records change places, but for where they are.
func (p *plant) swap(topic string, a, b func(*audit.Record) bool) {
	p.Helper()
	i, j := p.where(topic, 1, a), p.where(topic, 1, b)
	l := p.Records[topic]
	l[i], l[j] = l[j], l[i]
	l[i].Offset, l[j].Offset = l[j].Offset, l[i].Offset
	l[i].Partition, l[j].Partition = l[j].Partition, l[i].Partition
}

// trade lets two events tell what the other did: type and value, under their own numbers.
func (p *plant) trade(topic string, a, b func(*audit.Record) bool) {
	p.Helper()
	x, y := &p.Records[topic][p.where(topic, 1, a)], &p.Records[topic][p.where(topic, 1, b)]
	x.Type, x.Value, y.Type, y.Value = y.Type, y.Value, x.Type, x.Value
}

// leave leaves of an aggregate's records only the first few.
func (p *plant) leave(topic string, is func(*audit.Record) bool, few int) {
	p.Helper()
	key := p.Records[topic][p.where(topic, 1, is)].Key
	n := 0
	p.Records[topic] = slices.DeleteFunc(p.Records[topic], func(r audit.Record) bool {
		if r.Key == key {
			n++
		}
		return r.Key == key && n > few
	})
}

// taken is a taking of a partition, and an event after the next one.
func (p *plant) taken(topic string) (old, later int) {
	p.Helper()
	l := p.Records[topic]
	for i := range l {
		for j := i + 1; j < len(l); j++ {
			if l[i].Type == schemas.ShardOwned && l[j].Type == schemas.ShardOwned && l[i].Partition == l[j].Partition {
				for k := j + 1; k < len(l); k++ {
					if l[k].Partition == l[j].Partition && l[k].Sequence > 0 {
						return i, k
					}
				}
			}
		}
	}
	p.Fatalf("%s has no event after a second taking", topic)
	return 0, 0
}

// never is a time that none is.
const never = `"0001-01-01T00:00:00Z"`

// planted are faults, each with the law by which it has to be found out.
func planted() []struct {
	name string
	law  audit.Law
	how  func(p *plant)
} {
	ended := of(schemas.OrchestrationEnded, "job-mix")
	far := with(schemas.ActivityRequested, `"far"`)
	return []struct {
		name string
		law  audit.Law
		how  func(p *plant)
	}{
		{"an event is lost", audit.LawSequence, func(p *plant) { p.drop(jobs, of(schemas.ActivityCompleted, "job-mix")) }},
		{"the first event is lost", audit.LawSequence, func(p *plant) { p.drop(jobs, of(schemas.OrchestrationStarted, "job-mix")) }},
		{"an event of a transfer is lost", audit.LawSequence, func(p *plant) { p.drop(moves, of(schemas.TransferAccessGranted, "")) }},
		{"an event of a negotiation is lost", audit.LawSequence, func(p *plant) { p.drop(contracts, of(schemas.NegotiationMoved, "")) }},
		{"an event is there twice", audit.LawRepeat, func(p *plant) { p.again(jobs, of(schemas.ActivityCompleted, "job-mix"), nil) }},
		{"two events share a number", audit.LawRepeat, func(p *plant) {
			p.again(jobs, of(schemas.ActivityCompleted, "job-mix"), func(r *audit.Record) { r.Value = `{"activityId":"far","attempt":1}` })
		}},
		{"an id is not derived", audit.LawRepeat, func(p *plant) {
			p.change(jobs, of(schemas.ActivityCompleted, "job-mix"), func(r *audit.Record) { r.ID = "e1" })
		}},
		{"two events change places", audit.LawSequence, func(p *plant) {
			p.swap(jobs, of(schemas.OrchestrationStarted, "job-chain"), of(schemas.ActivityRequested, "job-chain"))
		}},
		{"an event lies on another partition", audit.LawPlace, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) { r.Partition = (r.Partition + 1) % 3 })
		}},
		{"an event is of a version that nobody knows", audit.LawReadable, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) { r.Type = "orchestration.ended.v9" })
		}},
		{"an event is cut short", audit.LawReadable, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) { r.Value = r.Value[:len(r.Value)-2] })
		}},
		{"an activity completes before it is asked for", audit.LawMoves, func(p *plant) {
			p.trade(jobs, of(schemas.ActivityRequested, "job-chain"), of(schemas.ActivityCompleted, "job-chain"))
		}},
		{"an orchestration ends as something that is no end", audit.LawMoves, func(p *plant) { p.text(jobs, ended, `"COMPLETED"`, `"PAUSED"`) }},
		{"an orchestration completes with work under way", audit.LawMoves, func(p *plant) {
			p.change(jobs, with(schemas.ActivityCompleted, `"last"`), func(r *audit.Record) {
				r.Type, r.Value = schemas.ActivityExtended, `{"activityId":"last","attempt":1,"lease":`+never+`}`
			})
		}},
		{"a transfer makes a move that is in no table", audit.LawMoves, func(p *plant) {
			p.text(moves, of(schemas.TransferEnded, ""), `{"state":"COMPLETING","code":750}`, `{"state":"RESUMING","code":720}`)
		}},
		{"a negotiation makes a move that is in no table", audit.LawMoves, func(p *plant) {
			p.text(contracts, with(schemas.NegotiationMoved, `"REQUESTED"`), `"state":"REQUESTED","code":200`, `"state":"VERIFIED","code":1100`)
		}},
		{"an EDR is granted that nobody has asked for", audit.LawMoves, func(p *plant) {
			p.change(contracts, of(schemas.NegotiationEDRRequested, ""), func(r *audit.Record) { r.Type, r.Value = schemas.NegotiationEvicted, `{}` })
		}},
		{"a task of a transfer ends before it is asked for", audit.LawAsked, func(p *plant) {
			p.trade(moves, of(schemas.TaskRequested, ""), of(schemas.TaskEnded, ""))
		}},
		{"something happens after the end of a job", audit.LawOver, func(p *plant) {
			p.again(jobs, ended, func(r *audit.Record) {
				r.Sequence++
				r.Type, r.Value = schemas.ActivityCompleted, `{"activityId":"last","attempt":1}`
			})
		}},
		{"something happens after the end of a transfer", audit.LawOver, func(p *plant) {
			p.again(moves, of(schemas.TransferEnded, ""), func(r *audit.Record) { r.Sequence++ })
		}},
		{"an attempt is asked for twice", audit.LawAsked, func(p *plant) {
			p.text(jobs, with(schemas.ActivityRequested, `"attempt":2`), `"attempt":2`, `"attempt":1`)
		}},
		{"an attempt is left out", audit.LawAsked, func(p *plant) {
			p.text(jobs, with(schemas.ActivityRequested, `"attempt":2`), `"attempt":2`, `"attempt":3`)
		}},
		{"an offer is counted twice", audit.LawAsked, func(p *plant) {
			p.text(jobs, with(schemas.ActivityOffered, `"offer":2`), `"offer":2`, `"offer":1`)
		}},
		{"an attempt is asked for before its time", audit.LawAsked, func(p *plant) {
			p.change(jobs, of(schemas.ActivityScheduled, "job-mix"), func(r *audit.Record) {
				r.Value = strings.Replace(r.Value, `"at":"2000`, `"at":"2001`, 1)
			})
		}},
		{"the work of another run is asked for", audit.LawAsked, func(p *plant) {
			p.change(jobs, far, func(r *audit.Record) { r.Value = strings.Replace(r.Value, `"workId":"`, `"workId":"0`, 1) })
		}},
		{"work was asked for that is not on its topic", audit.LawWork, func(p *plant) { p.drop(someWork, of(schemas.WorkRequested, "")) }},
		{"work is twice on its topic", audit.LawWork, func(p *plant) { p.again(someWork, of(schemas.WorkRequested, ""), nil) }},
		{"work is on its topic that nobody has asked for", audit.LawWork, func(p *plant) {
			p.again(someWork, of(schemas.WorkRequested, ""), func(r *audit.Record) { r.ID = "another" })
		}},
		{"an offer is of other work than was asked for", audit.LawWork, func(p *plant) {
			p.text(someWork, of(schemas.WorkRequested, ""), `"attempt":1`, `"attempt":2`)
		}},
		{"a command to another aggregate is lost", audit.LawSent, func(p *plant) { p.drop(moveCommands, of(schemas.TransferInitiate, "")) }},
		{"a command to another aggregate is there twice", audit.LawSent, func(p *plant) { p.again(moveCommands, of(schemas.TransferInitiate, ""), nil) }},
		{"a completion is lost", audit.LawCompletions, func(p *plant) { p.drop(jobEnds, of(schemas.OrchestrationCompleted, "job-mix")) }},
		{"a completion is there twice", audit.LawCompletions, func(p *plant) { p.again(jobEnds, of(schemas.OrchestrationCompleted, "job-mix"), nil) }},
		{"a second completion has another id", audit.LawCompletions, func(p *plant) {
			p.again(jobEnds, of(schemas.OrchestrationCompleted, "job-mix"), func(r *audit.Record) { r.ID = "another" })
		}},
		{"a completion tells another end", audit.LawCompletions, func(p *plant) {
			p.change(jobEnds, of(schemas.OrchestrationCompleted, "job-mix"), func(r *audit.Record) { r.Type = schemas.OrchestrationFailed })
		}},
		{"a completion is told of what has not ended", audit.LawCompletions, func(p *plant) { p.drop(jobs, ended) }},
		{"an event was made by nobody", audit.LawCauses, func(p *plant) {
			p.change(jobs, with(schemas.ActivityCompleted, `"far"`), func(r *audit.Record) { r.Cause = "nobody" })
		}},
		{"an event was made by a command that is not there", audit.LawCauses, func(p *plant) { p.drop(jobCommands, of(schemas.OrchestrationStart, "job-mix")) }},
		{"an event was made by another command", audit.LawCauses, func(p *plant) {
			p.change(jobs, of(schemas.OrchestrationStarted, "job-mix"), func(r *audit.Record) { r.Cause = "start-wide" })
		}},
		{"a command has another body than the one that was decided", audit.LawCauses, func(p *plant) {
			p.text(jobCommands, of(schemas.OrchestrationStart, "job-mix"), `"mix"`, `"chain"`)
		}},
		{"a command has no answer", audit.LawAnswers, func(p *plant) {
			p.again(jobCommands, of(schemas.ShardOwned, schemas.ShardKey), func(r *audit.Record) {
				r.Offset++ // where the commit stands, which no reader sees
				r.Key, r.ID, r.Type, r.Value = "job-mix", "lost", schemas.OrchestrationCancel, `{}`
				r.Partition = kafka.PartitionFor([]byte(r.Key), 3)
			})
		}},
		{"a report has no answer", audit.LawAnswers, func(p *plant) {
			p.again(jobCommands, of(schemas.ShardOwned, schemas.ShardKey), func(r *audit.Record) {
				r.Offset++
				r.Key, r.ID, r.Type, r.Value = "job-mix", "lost", schemas.WorkComplete, `{"workId":"w","attempt":1}`
				r.Partition = kafka.PartitionFor([]byte(r.Key), 3)
			})
		}},
		{"a command is not decided", audit.LawAnswers, func(p *plant) {
			p.change(jobCommands, of(schemas.OrchestrationCancel, "job-wide"), func(r *audit.Record) { r.Offset = 1 << 40 })
		}},
		{"the answer to a refused command is lost", audit.LawAnswers, func(p *plant) { p.drop(jobEnds, of(schemas.CommandRejected, "job-nothing")) }},
		{"a command is refused that no position speaks of", audit.LawAnswers, func(p *plant) {
			p.text(jobs, with(schemas.ShardPosition, `"refused":`), `"refused":`, `"forgotten":`)
		}},
		{"a command that changed nothing is not settled", audit.LawAnswers, func(p *plant) {
			p.text(jobs, with(schemas.ShardPosition, `"settled":`), `"settled":`, `"forgotten":`)
		}},
		{"another command under an id that was taken is not refused", audit.LawAnswers, func(p *plant) {
			p.again(jobCommands, of(schemas.OrchestrationStart, "job-mix"), func(r *audit.Record) { r.Value = `{"type":"wide"}` })
		}},
		{"a command on the wrong partition is not forwarded", audit.LawAnswers, func(p *plant) {
			p.drop(jobCommands, func(r *audit.Record) bool {
				return r.ID == "misplaced" && r.Partition == kafka.PartitionFor([]byte(r.Key), 3)
			})
		}},
		{"a position goes back", audit.LawPositions, func(p *plant) {
			i := p.where(jobs, 6, of(schemas.ShardPosition, ""))
			p.Records[jobs][i].Value = strings.Replace(p.Records[jobs][i].Value, `"next":`, `"next":-`, 1)
		}},
		{"a position speaks of commands that are not there", audit.LawPositions, func(p *plant) {
			p.text(jobs, of(schemas.ShardPosition, ""), `"next":`, `"next":99999`)
		}},
		{"a position is left out", audit.LawPositions, func(p *plant) { p.drop(jobs, of(schemas.ShardPosition, "")) }},
		{"a position has another number", audit.LawPositions, func(p *plant) { p.text(jobs, of(schemas.ShardPosition, ""), `"txn":1`, `"txn":7`) }},
		{"a position says that more has followed than there was", audit.LawPositions, func(p *plant) {
			p.text(jobs, of(schemas.ShardPosition, ""), `"followed":1`, `"followed":17`)
		}},
		{"a position refuses a command that never came", audit.LawPositions, func(p *plant) {
			p.text(jobs, with(schemas.ShardPosition, `"refused":`), `"commandId":"refused"`, `"commandId":"never"`)
		}},
		{"an event was made by a command that its position left out", audit.LawPositions, func(p *plant) {
			i := p.where(jobs, 1, of(schemas.OrchestrationStarted, "job-mix"))
			p.Records[jobs][i].Input = 0
		}},
		{"a transaction has no position", audit.LawPositions, func(p *plant) {
			p.Records[jobs] = slices.DeleteFunc(p.Records[jobs], func(r audit.Record) bool {
				return r.Type == schemas.ShardPosition && r.Offset > p.last(jobs, r.Partition)
			})
		}},
		{"time runs backwards", audit.LawTime, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) { r.Time = r.Time.Add(-time.Hour) })
		}},
		{"the old owner writes once more", audit.LawOwners, func(p *plant) {
			old, later := p.taken(jobs)
			l := p.Records[jobs]
			l[later].Producer, l[later].Epoch = l[old].Producer, l[old].Epoch
		}},
		{"somebody else writes", audit.LawOwners, func(p *plant) { p.change(jobs, ended, func(r *audit.Record) { r.Producer = 4711 }) }},
		{"somebody writes outside of every transaction", audit.LawOwners, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) { r.Producer = -1 })
		}},
		{"somebody tells an end who has decided nothing", audit.LawOwners, func(p *plant) {
			p.change(jobEnds, of(schemas.OrchestrationCompleted, "job-mix"), func(r *audit.Record) { r.Epoch += 1000 })
		}},
		{"work is with the agents of an owner that has lost the shard", audit.LawOwners, func(p *plant) {
			p.change(jobs, with(schemas.ActivityRequested, `"placement":"m0/`), func(r *audit.Record) {
				r.Value = strings.Replace(r.Value, `"placement":"m0/`, `"placement":"m9/`, 1)
			})
		}},
		{"a shard was never taken", audit.LawOwners, func(p *plant) {
			p.Records[jobs] = slices.DeleteFunc(p.Records[jobs], func(r audit.Record) bool { return r.Type == schemas.ShardOwned })
		}},
		{"a transfer waits for ever", audit.LawDeadlines, func(p *plant) {
			is := of(schemas.TransferAcquiring, "")
			key := p.Records[moves][p.where(moves, 1, is)].Key
			p.leave(moves, is, 2)
			p.change(moves, of(schemas.TransferInitiated, key), func(r *audit.Record) { r.Value = timeless(r.Value, "deadline") })
			p.change(moves, of(schemas.TransferAcquiring, key), func(r *audit.Record) { r.Value = timeless(r.Value, "until") })
		}},
		{"what is due does not happen", audit.LawDeadlines, func(p *plant) {
			is := of(schemas.TransferAcquiring, "")
			key := p.Records[moves][p.where(moves, 1, is)].Key
			p.leave(moves, is, 2)
			p.change(moves, of(schemas.TransferAcquiring, key), func(r *audit.Record) { r.Value = strings.Replace(r.Value, `"until":"2000`, `"until":"1999`, 1) })
		}},
		{"a secret stands on the log", audit.LawSecrets, func(p *plant) {
			p.change(jobs, ended, func(r *audit.Record) {
				r.Headers = append(slices.Clone(r.Headers), kgo.RecordHeader{Key: "x", Value: []byte("so " + secret)})
			})
		}},
		{"there is a dead letter", audit.LawDeadLetters, func(p *plant) {
			p.Records[kafka.Topics{}.DeadLetters()] = []audit.Record{{Topic: kafka.Topics{}.DeadLetters(), Key: "k"}}
		}},
		{"what is in force is not what was decided", audit.LawDefinitions, func(p *plant) {
			p.change(kafka.Topics{}.Definitions(), of(schemas.DefinitionChanged, ""), func(r *audit.Record) { r.ID = "another" })
		}},
		{"what was decided is not in force", audit.LawDefinitions, func(p *plant) {
			p.drop(kafka.Topics{}.Definitions(), of(schemas.DefinitionChanged, ""))
		}},
	}
}

const secret = "a-key-that-nobody-must-read"

// last is the offset of a partition's last event.
func (p *plant) last(topic string, partition int32) int64 {
	last := int64(-1)
	for _, r := range p.Records[topic] {
		if r.Partition == partition && r.Sequence > 0 {
			last = r.Offset
		}
	}
	return last
}

// timeless is a value with another time in a member.
func timeless(value, member string) string {
	before, after, _ := strings.Cut(value, `"`+member+`":"`)
	_, after, _ = strings.Cut(after, `"`)
	return before + `"` + member + `":` + never + after
}

func TestTheCheckerFindsOutWhatIsPlanted(t *testing.T) {
	log, now, live, fresh := goodHistory(t)
	options := audit.Options{Quiet: true, Now: now, Secrets: []string{secret}}
	t.Run("nothing, in a history that is as it must be", func(t *testing.T) {
		for _, wrong := range audit.Check(log, options).Wrongs {
			t.Error(wrong)
		}
	})
	for _, fault := range planted() {
		t.Run(fault.name, func(t *testing.T) {
			p := &plant{t, copied(log)}
			fault.how(p)
			found := audit.Check(p.Log, options).Wrongs
			if !slices.ContainsFunc(found, func(w audit.Wrong) bool { return w.Law == fault.law && w.Topic != "" }) {
				t.Errorf("it was not found out as a matter of %s; found: %v", fault.law, found)
			}
		})
	}
	t.Run("a repeat, where a broker may tear transactions, is counted", func(t *testing.T) {
		p := &plant{t, copied(log)}
		p.again(jobs, of(schemas.ActivityCompleted, "job-mix"), nil)
		p.again(jobEnds, of(schemas.OrchestrationCompleted, "job-mix"), nil)
		torn := options
		torn.Embedded = true
		if r := audit.Check(p.Log, torn); len(r.Wrongs) > 0 || r.Repeats != 2 {
			t.Errorf("%d repeats, and %v", r.Repeats, r.Wrongs)
		}
	})
	for name, statement := range map[string]string{
		"a row is altered":     `UPDATE job SET code = 600 WHERE id = 'job-mix'`,
		"a row is missing":     `DELETE FROM node WHERE rowid = (SELECT min(rowid) FROM node)`,
		"a row is another one": `UPDATE rejection SET command_id = 'more'`,
	} {
		t.Run(name+" in the projection", func(t *testing.T) { alter(t, live, fresh, statement) })
	}
}

func copied(log *audit.Log) *audit.Log {
	l := *log
	l.Records = maps.Clone(log.Records)
	for topic, records := range l.Records {
		l.Records[topic] = slices.Clone(records)
	}
	return &l
}

// alter changes a copy of a projection and has it found out.
func alter(t *testing.T, live, fresh, statement string) {
	t.Helper()
	path := t.TempDir() + "/altered.db"
	copyFile(t, live, path)
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	found, _, err := audit.Views(t.Context(), path, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(w audit.Wrong) bool { return w.Law == audit.LawProjections }) {
		t.Errorf("it was not found out: %v", found)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
