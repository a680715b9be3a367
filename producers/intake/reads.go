package intake

import (
	"context"
	"errors"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
)

var (
	// ErrUnknown says that there is no such thing.
	ErrUnknown = errors.New("unknown")
	// ErrUndecided says that no decision was seen before the context ended.
	ErrUndecided = errors.New("not decided yet")
)

// Reads is what the intake asks the read side. Its methods are called concurrently.
type Reads interface {
	// Decision waits for what was decided on the command that stands at pos, until ctx
	// ends; then it returns ErrUndecided.
	Decision(ctx context.Context, commandID string, pos kafka.Position) (Decision, error)
	// Refused says whether a command of that ID is known to have been refused.
	Refused(ctx context.Context, commandID string) (bool, error)
	// Work finds the activity that a piece of work is for, or returns ErrUnknown.
	Work(ctx context.Context, workID string) (Work, error)
	// Negotiation finds the last round of an asset's negotiation with a counter-party, whose key it is; empty
	// where there is none.
	Negotiation(ctx context.Context, key, assetID string) (id string, err error)
	// CountTargets says of how many jobs, or nodes, something would be said in bulk; its
	// error may be a *FilterError.
	CountTargets(ctx context.Context, s Selection) (int64, error)
	// Targets lists them, a page at a time: from the beginning, or from the cursor, next, that
	// came with the page before. An empty next says that there are no more.
	Targets(ctx context.Context, s Selection, cursor string) (page []Target, next string, err error)
	// Decided is the offset of the first command of a shard that the view does not know to be decided;
	// false where it cannot tell.
	Decided(aggregate string, partition int32) (int64, bool)
	// Live is how many jobs the view has that have not ended.
	Live(ctx context.Context) (int64, error)
	// DeadLetter reads a dead letter as it was first written, or returns ErrUnknown.
	DeadLetter(ctx context.Context, id string) (producers.Record, error)
	// Definition returns the version in force, or ErrUnknown. kind is "orchestration" or
	// "activity".
	Definition(ctx context.Context, kind, typ string) (version int, err error)
	// InUse says who uses a definition, in words, "3 running jobs"; empty means nobody.
	InUse(ctx context.Context, kind, typ string) (string, error)
}

// Decision is what a machine made of a command.
type Decision struct {
	Refusal *machine.Refusal // nil means accepted
	Changed bool             // an accepted command that had not had its way already
}

// Work is where an activity stands that a piece of work is for.
type Work struct {
	Aggregate   string // type
	AggregateID string
	Attempt     int
	State       orchestration.ActivityPhase
}
