package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
)

// Aggregate is what the runner asks of an aggregate's state.
type Aggregate[S, C, E any] interface {
	// Decide answers a command; the only error is a *machine.Refusal.
	Decide(at time.Time, c C) ([]E, error)
	// Evolve folds an event in; the old state is not used again.
	Evolve(at time.Time, e E) S
	// Follow is what follows outside from an event, given the state before it.
	Follow(at time.Time, e E) []machine.Effect
	// Deadline is when Wake has something to do; zero: never.
	Deadline() time.Time
	// Ended says that nothing moves on any more.
	Ended() bool
}

// Result is what a local agent says of a piece of work; the machine turns it into a command.
type Result any

// Machine binds an aggregate type to the log. The functions are called from one goroutine
// per shard, side by side for several shards.
type Machine[S Aggregate[S, C, E], C, E any] struct {
	// Name is the aggregate type: the middle of its topics' names.
	Name string
	// New is an aggregate before anything has happened.
	New func(id string) S
	// DecodeCommand reads a command from the wire; its error is a *machine.Refusal, which
	// is answered, or anything else, which makes the record a dead letter.
	DecodeCommand func(wireType string, data []byte) (C, error)
	// Admit fills in what a decision needs from outside the aggregate. It may refuse.
	Admit func(ctx context.Context, id string, c C) (C, error)
	// Trace gives a command the W3C trace context that came with it; nil where none is kept.
	Trace func(c C, traceParent string) C
	// Identify gives a command the ID it came with; nil where none is kept.
	Identify func(c C, commandID string) C
	// IsReport says that a command is recognised by what it reports on, so that its ID need
	// not be remembered; a silent one is never answered.
	IsReport func(c C) (report, silent bool)
	// Begins says that a command asks for something that nobody has been promised yet: it is refused where
	// Config.MaxLive have not ended. nil: none is.
	Begins func(c C) bool
	// Hash tells bodies of commands apart.
	Hash func(data []byte) string
	// EncodeEvent and NewDecoder are the wire of the events. A decoder serves one shard.
	EncodeEvent func(e E) (wireType string, data []byte, err error)
	NewDecoder  func() func(wireType string, data []byte) (E, error)
	// Wake is the command that lets happen what is due; nil where nothing ever is.
	Wake func() C
	// TakeOver is given to every live aggregate once by a new owner; nil where nothing is to
	// be done. placement is what Place notes for this ownership; agent is the name of this
	// process's agents, and since is when it was started.
	TakeOver func(placement, agent string, since time.Time) C
	// Place notes on an event that asks for work who carries it out; nil where none does.
	Place func(e E, placement string) E
	// Placement reads that note.
	Placement func(e E) string
	// Delegate turns work that another machine carries out, and the word that it is no longer wanted,
	// into commands to that machine; false: agents carry it out. The answer is what becomes of the
	// work at once, as Report takes it. It must be a pure function of what it is given and of how the
	// process is configured. nil where nothing is delegated.
	Delegate func(f machine.Effect) (sends []machine.Send, answer Result, ok bool)
	// History reads an aggregate back that has forgotten what a command needs; nil where none forgets.
	History *History[S, C, E]
	// Snapshot writes a state down and reads it again, so that a new owner need not fold all its events.
	// nil where only the events tell.
	Snapshot *Snapshot[S]
	// Report turns a local agent's result, a *TooLargeError or an *UnfitError into a command.
	Report func(w machine.Work, r Result) C
}

// Snapshot is how a state is written down. What Decode makes of what Encode wrote decides, and folds
// events, as the state itself would.
type Snapshot[S any] struct {
	// Version is the one that Encode writes.
	Version int
	Encode  func(s S) ([]byte, error)
	// Decode reads that version and every earlier one. Any error, an unknown version among them, lets
	// the runner fold the events instead.
	Decode func(version int, id string, data []byte) (S, error)
}

// Binding is a Machine with its types forgotten.
type Binding interface {
	name() string
	open(sh *shard) cell
}

func (m Machine[S, C, E]) name() string { return m.Name }

// cell is one aggregate type in one shard, while this process owns it. Its methods are
// called from the shard's goroutine only.
type cell interface {
	// search looks for whole checkpoints up to the record of this taking.
	search(ctx context.Context, from, until int64) error
	// restore loads the newest checkpoint that can be used and was not tried yet, and says from where on the
	// events, of which the log has those from start to end, have to be folded in.
	restore(ctx context.Context, start, end int64) (from int64, err error)
	// refuseCheckpoint takes back the one that was loaded.
	refuseCheckpoint(err error)
	// origin says where the state comes from.
	origin() string
	// checkpoint goes on with a checkpoint, or begins one after that many bytes of events; checkpointed
	// says that the records it returned are on the log.
	checkpoint(least int64) []*kgo.Record
	checkpointed(records []*kgo.Record, took time.Duration)
	goesOn() bool
	// front says what can be cut off, of history too if that is wanted; agree takes back what is still needed.
	front(history bool) (front, bool)
	agree(f *front)
	// replay folds in a record of the events partition; it says whether that was the owned
	// record with this token.
	replay(r *kgo.Record, token string) (bool, error)
	// recovered ends the replay: what may be missing of the last transactions' effects is
	// put into b.
	recovered(ctx context.Context, b *batch) error
	// next is the offset of the first command that has not been decided.
	nextOffset() int64
	lastTime() time.Time
	// recall reads back what the next commands need of aggregates that have ended.
	recall(ctx context.Context, commands []*kgo.Record) error
	command(ctx context.Context, b *batch, r *kgo.Record) error
	// pass goes on behind a batch of commands that nobody can read.
	pass(b *batch, packed *kgo.ErrDecompressTooLarge)
	report(b *batch, w machine.Work, r Result) error
	takeOver(b *batch) error
	// wake fires one due timer; false when none is due.
	wake(b *batch) (bool, error)
	deadline() time.Time
	// close adds what ends the transaction: the position.
	close(b *batch) error
	// committed says that the transaction is on the log; trailing: but for its effects.
	committed(trailing bool)
	// settle comes after each transaction, when nothing is being decided.
	settle()
	// say makes the next transaction say that everything has followed, if the log leaves
	// that open; true while it does.
	say() bool
	live() int
}

// Local is the agents of this very process.
type Local interface {
	// Inline runs a piece of work now, if its agent says that it takes no time and may be
	// done any number of times.
	Inline(w machine.Work) (Result, bool)
	// Reserve takes a free slot of a type, or says that there is none.
	Reserve(activityType string) (Slot, bool)
	// TooLarge is the answer to work that no slot is free for and that is too large for a
	// record: later, where this process has such agents, else never.
	TooLarge(w machine.Work, limit int) Result
}

// TooLargeError is the result of work that is too large for a record, in a process without agents.
type TooLargeError struct{ Bytes, Limit int }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the input has %d bytes, over the limit of %d for work that goes to another process", e.Bytes, e.Limit)
}

// UnfitError is the result of work that nobody can carry out.
type UnfitError struct{ Reason string }

// Error implements error.
func (e *UnfitError) Error() string { return e.Reason }

// Slot is a place at a local agent.
type Slot interface {
	// Run carries the work out and calls done with its result, once, after the slot is free
	// again. ctx is cancelled when the work is no longer wanted.
	Run(ctx context.Context, w machine.Work, done func(Result))
	// Release gives the slot back unused.
	Release()
}

// commandRecord is a command as it came.
type commandRecord struct {
	env  kafka.CloudEvent
	key  string
	data []byte
	at   int64 // offset
}
