package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/process"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// Options say what a history is of.
type Options struct {
	// Embedded says that the broker was the embedded one and may have been killed: a record may be
	// there twice, under the same ID, and is counted instead of reported.
	Embedded bool
	// Quiet says that nobody sends commands any more and all have had their time: none may be
	// undecided.
	Quiet bool
	// Now is when the log was read. Who waits for something that should have happened a minute before
	// is reported. Zero: nobody is.
	Now time.Time
	// Secrets are texts that must stand nowhere.
	Secrets []string
	// LeftOut says that work topics could not always be had: what was to go there then was left out, and
	// offered again later. It is counted.
	LeftOut bool
	// DeadLetters says that letters may be there: some of what was sent cannot be read.
	DeadLetters bool
}

// overdue is how late something may be that should have happened by itself.
const overdue = time.Minute

// Report is what a history was found to be.
type Report struct {
	Wrongs []Wrong
	// What was looked at.
	Records, Events, Commands, Work, Completions, Refusals, Aggregates, Takings int
	// Repeats are records that are there again, where that may be; LeftOut is work that is not there,
	// likewise.
	Repeats, LeftOut int
}

// String is one line of figures.
func (r *Report) String() string {
	return fmt.Sprintf("%d records: %d commands, %d events of %d aggregates, %d work records, %d completions, %d refusals, %d takings of shards, %d repeats told by ce_id",
		r.Records, r.Commands, r.Events, r.Aggregates, r.Work, r.Completions, r.Refusals, r.Takings, r.Repeats)
}

// checker is one Check.
type checker struct {
	*Log
	Options
	report *Report

	commands map[string]map[int32][]*Record // by aggregate type and partition, in order
	letters  map[string]bool                // places of which there is a dead letter
	unfit    map[string]bool                // keys for which something was too large to follow
	shards   map[string]map[int32]*books    // by aggregate type
	// Answers, by aggregate type and the command's ID.
	caused, settled map[string]map[string]bool
	refused         map[string]map[string][]*refusal
	said            map[string]map[string]bool // by aggregate type: attempts that something was reported of
	// effects are what must follow, by topic and ID.
	effects map[string]map[string]*effect
	wanted  map[string]bool   // work that was asked for, by ID and attempt
	inForce map[string]string // definitions by key: the ID of the event that put them in force
	broken  map[string]bool   // aggregates of which something is missing: what follows would only say so again
}

// Check holds a history against the laws.
func Check(l *Log, o Options) *Report {
	c := &checker{
		Log: l, Options: o, report: &Report{},
		commands: make(map[string]map[int32][]*Record), letters: make(map[string]bool), unfit: make(map[string]bool),
		shards: make(map[string]map[int32]*books),
		caused: make(map[string]map[string]bool), settled: make(map[string]map[string]bool),
		refused: make(map[string]map[string][]*refusal), said: make(map[string]map[string]bool),
		effects: make(map[string]map[string]*effect), wanted: make(map[string]bool), inForce: make(map[string]string), broken: make(map[string]bool),
	}
	for _, records := range l.Records {
		c.report.Records += len(records)
	}
	c.deadLetters()
	for _, name := range aggregates() {
		c.index(name)
	}
	check(c, orchestrations())
	check(c, transfers())
	check(c, negotiations())
	check(c, definitions())
	for _, name := range aggregates() {
		c.answers(name)
		c.completions(name)
	}
	c.owners()
	c.missing()
	c.work()
	c.definitionsInForce()
	c.secrets()
	slices.SortStableFunc(c.report.Wrongs, func(a, b Wrong) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return c.report
}

// wrong reports what is wrong with a record.
func (c *checker) wrong(law Law, r *Record, format string, args ...any) {
	c.report.Wrongs = append(c.report.Wrongs, Wrong{law, r.Topic, r.Partition, r.Offset, fmt.Sprintf(format, args...)})
}

// at reports what is wrong with a partition as a whole.
func (c *checker) at(law Law, topic string, partition int32, format string, args ...any) {
	c.report.Wrongs = append(c.report.Wrongs, Wrong{law, topic, partition, -1, fmt.Sprintf(format, args...)})
}

// records are those of a topic, to be pointed to.
func (c *checker) records(topic string) func(yield func(*Record) bool) {
	l := c.Records[topic]
	return func(yield func(*Record) bool) {
		for i := range l {
			if !yield(&l[i]) {
				return
			}
		}
	}
}

// deadLetters notes of which records there are some.
func (c *checker) deadLetters() {
	for r := range c.records(c.Names.DeadLetters()) {
		of := r.extra(schemas.DeadLetterTopic) + "/" + r.extra(schemas.DeadLetterPartition) + "/" + r.extra(schemas.DeadLetterOffset)
		why := r.extra(schemas.DeadLetterError)
		if strings.HasPrefix(why, "what follows for ") {
			c.unfit[r.Key] = true
		}
		c.letters[of] = true
		if !c.DeadLetters {
			c.wrong(LawDeadLetters, r, "a dead letter of %s, key %.100q: %s", of, r.Key, why)
		}
	}
}

// secrets looks for texts that must stand nowhere.
func (c *checker) secrets() {
	for _, records := range c.Records {
		for i := range records {
			r := &records[i]
			for n, secret := range c.Secrets {
				if r.has(secret) {
					c.wrong(LawSecrets, r, "the secret %d of the list stands there in the clear", n+1)
				}
			}
		}
	}
}

func (r *Record) has(text string) bool {
	if strings.Contains(r.Value, text) || strings.Contains(r.Key, text) {
		return true
	}
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return strings.Contains(string(h.Value), text) })
}

// folder says how the aggregates of a type are folded, and what they are held against.
type folder[S state[S, E], E any] struct {
	name  string
	fresh func(id string) S
	// decoder serves one partition.
	decoder func() func(wireType string, data []byte) (E, error)
	// watch follows one aggregate by the tables of moves.
	watch func(id string) watcher[S, E]
	// delegate is what work becomes that another machine carries out.
	delegate func(machine.Effect) (sends []machine.Send, ok bool)
}

// state is what a machine's state is asked for.
type state[S, E any] interface {
	Evolve(at time.Time, e E) S
	Follow(at time.Time, e E) []machine.Effect
	Deadline() time.Time
	Ended() bool
}

// watcher follows one aggregate by itself, beside the machine's own fold.
type watcher[S, E any] interface {
	// event holds an event against the tables.
	event(n *notes, at time.Time, e E)
	// agrees holds what it has seen against what the machine's own fold has made of it.
	agrees(n *notes, s S)
	// after says whether an event may come after the end.
	after(e E) bool
	// waits says that something has to happen yet.
	waits() bool
}

func orchestrations() folder[orchestration.State, orchestration.Event] {
	return folder[orchestration.State, orchestration.Event]{
		name:  schemas.AggregateOrchestration,
		fresh: func(id string) orchestration.State { return orchestration.New(id).Remember() },
		decoder: func() func(string, []byte) (orchestration.Event, error) {
			return schemas.NewDecoder().DecodeOrchestrationEvent
		},
		watch:    watchOrchestration,
		delegate: delegated,
	}
}

// delegated are the commands that carry out an activity elsewhere. To whom a wish for access goes depends on
// how a process is configured, which nobody knows here.
func delegated(f machine.Effect) ([]machine.Send, bool) {
	typ := ""
	if w, ok := f.(machine.Work); ok {
		typ = w.Type
	} else if x, ok := f.(machine.CancelWork); ok {
		typ = x.Type
	}
	if typ == definition.Acquire {
		return nil, true
	}
	sends, _, ok := process.Delegate(nil, f)
	return sends, ok
}

func transfers() folder[transfer.State, transfer.Event] {
	return folder[transfer.State, transfer.Event]{
		name: schemas.AggregateTransfer, fresh: transfer.New, watch: watchTransfer,
		decoder: func() func(string, []byte) (transfer.Event, error) { return schemas.DecodeTransferEvent },
	}
}

func negotiations() folder[negotiation.State, negotiation.Event] {
	return folder[negotiation.State, negotiation.Event]{
		name: schemas.AggregateNegotiation, fresh: negotiation.New, watch: watchNegotiation,
		decoder: func() func(string, []byte) (negotiation.Event, error) { return schemas.DecodeNegotiationEvent },
	}
}

func definitions() folder[definition.State, definition.Event] {
	return folder[definition.State, definition.Event]{
		name: schemas.AggregateDefinition, fresh: definition.New, watch: watchDefinition,
		decoder: func() func(string, []byte) (definition.Event, error) { return schemas.DecodeDefinitionEvent },
	}
}
