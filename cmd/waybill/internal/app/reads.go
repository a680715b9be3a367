package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/waybill/waybill/consumers/catalog"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/projections/query"
	"github.com/waybill/waybill/schemas"
)

// reads lets the intake ask the projections, and what is built in, which no projection
// knows of.
type reads struct {
	db       *projections.DB
	builtIns *definition.Catalog
	inForce  *catalog.Catalog
}

func newReads(db *projections.DB, inForce *catalog.Catalog) reads {
	return reads{db, definition.NewCatalog(), inForce}
}

var _ intake.Reads = reads{}

// known turns the projections' word for what is not there into the intake's.
func known(err error) error {
	var missing *projections.NotFoundError
	if errors.As(err, &missing) {
		return fmt.Errorf("%w: %w", intake.ErrUnknown, err)
	}
	return err
}

// Decision implements intake.Reads.
func (r reads) Decision(ctx context.Context, commandID string, pos kafka.Position) (intake.Decision, error) {
	var stopped *projections.Fault
	err := r.db.WaitFor(ctx, pos)
	switch {
	case errors.As(err, &stopped): // the machines may well have decided; nobody here can tell
		return intake.Decision{}, fmt.Errorf("%w: %w", intake.ErrUndecided, err)
	case err != nil:
		return intake.Decision{}, err
	}
	c, err := r.db.Command(ctx, commandID)
	switch {
	case errors.Is(known(err), intake.ErrUnknown): // decided, and nothing came of it
		return intake.Decision{}, nil
	case err != nil:
		return intake.Decision{}, err
	case c.State == projections.CommandRejected:
		return intake.Decision{Refusal: machine.Refuse(c.Code, c.Reason, c.Errors...)}, nil
	}
	if pos.Aggregate == schemas.AggregateDefinition {
		if err := r.awaitInForce(ctx, c.AggregateID); err != nil {
			return intake.Decision{}, err
		}
	}
	return intake.Decision{Changed: len(c.Events) > 0}, nil
}

// Refused implements intake.Reads.
func (r reads) Refused(ctx context.Context, commandID string) (bool, error) {
	c, err := r.db.Command(ctx, commandID)
	switch {
	case errors.Is(known(err), intake.ErrUnknown):
		return false, nil
	case err != nil:
		return false, err
	}
	return c.State == projections.CommandRejected, nil
}

// awaitInForce waits until what was decided on a definition has been announced: on the
// embedded broker that follows a moment later, and whoever was answered starts by it.
func (r reads) awaitInForce(ctx context.Context, key string) error {
	kind, typ, ok := definition.ParseKey(key)
	if !ok {
		return nil
	}
	version, err := r.Definition(ctx, kind, typ)
	if err != nil && !errors.Is(err, intake.ErrUnknown) {
		return err
	}
	return r.inForce.Await(ctx, kind, typ, version)
}

// Work implements intake.Reads.
func (r reads) Work(ctx context.Context, workID string) (intake.Work, error) {
	o, err := r.db.WorkOwner(ctx, workID)
	if err != nil {
		return intake.Work{}, known(err)
	}
	return intake.Work{
		Aggregate: schemas.AggregateOrchestration, AggregateID: o.JobID, Attempt: o.Attempt, State: o.State,
	}, nil
}

// Negotiation implements intake.Reads.
func (r reads) Negotiation(ctx context.Context, key, assetID string) (string, error) {
	return r.db.LastNegotiation(ctx, key, assetID)
}

// CountTargets implements intake.Reads.
func (r reads) CountTargets(ctx context.Context, s intake.Selection) (int64, error) {
	sel, err := selection(s, "")
	if err != nil {
		return 0, err
	}
	n, err := r.db.CountTargets(ctx, sel)
	return n, filterError(s, err)
}

// Targets implements intake.Reads.
func (r reads) Targets(ctx context.Context, s intake.Selection, cursor string) ([]intake.Target, string, error) {
	sel, err := selection(s, cursor)
	if err != nil {
		return nil, "", err
	}
	page, next, err := r.db.Targets(ctx, sel)
	if err != nil {
		return nil, "", filterError(s, err)
	}
	targets := make([]intake.Target, len(page))
	for i, t := range page {
		targets[i] = intake.Target(t)
	}
	return targets, next, nil
}

func selection(s intake.Selection, cursor string) (projections.Selection, error) {
	f, err := query.JobFilter(s.Filter)
	f.Cursor = cursor
	return projections.Selection{JobFilter: f, States: s.States, NodeState: s.NodeState, NodeType: s.NodeType}, filterError(s, err)
}

// filterError turns the projections' word for a filter that makes no sense into the intake's.
func filterError(s intake.Selection, err error) error {
	var param *query.ParamError
	var state *projections.StateError
	switch {
	case errors.As(err, &param):
		return &intake.FilterError{Param: param.Name, Message: param.Message}
	case errors.As(err, &state) && state.State == s.NodeState:
		return &intake.FilterError{Param: "nodeState", Message: err.Error()}
	case errors.As(err, &state):
		return &intake.FilterError{Param: "state", Message: err.Error()}
	}
	return err
}

// Decided implements intake.Reads.
func (r reads) Decided(aggregate string, partition int32) (int64, bool) {
	return r.db.Decided(aggregate, partition)
}

// Live implements intake.Reads.
func (r reads) Live(ctx context.Context) (int64, error) { return r.db.LiveJobs(ctx) }

// DeadLetter implements intake.Reads.
func (r reads) DeadLetter(ctx context.Context, id string) (producers.Record, error) {
	l, err := r.db.DeadLetter(ctx, id)
	if err != nil {
		return producers.Record{}, known(err)
	}
	rec := producers.Record{Topic: l.Topic, Key: l.Key, Value: l.Value, Partition: l.Partition, Offset: l.Offset}
	for _, h := range l.Headers {
		if strings.HasPrefix(h.Key, schemas.DeadLetterPrefix) {
			rec.Partial = rec.Partial || h.Key == schemas.DeadLetterPartial
			continue
		}
		rec.Headers = append(rec.Headers, producers.Header{Key: h.Key, Value: h.Value})
	}
	return rec, nil
}

// Definition implements intake.Reads.
func (r reads) Definition(ctx context.Context, kind, typ string) (int, error) {
	d, err := r.db.Definition(ctx, kind, typ, 0)
	if err != nil && r.builtIns.BuiltIn(definition.Key(kind, typ)) {
		return 1, nil
	}
	if err != nil {
		return 0, known(err)
	}
	return int(d.Version), nil
}

// InUse implements intake.Reads. An activity type is used by nobody who would miss its
// definition: what runs has the policies it began with.
func (r reads) InUse(ctx context.Context, kind, typ string) (string, error) {
	if kind != definition.KindOrchestration {
		return "", nil
	}
	n, err := r.db.RunningJobs(ctx, typ)
	switch {
	case err != nil:
		return "", err
	case n == 0:
		return "", nil
	case n == 1:
		return "1 job that has not ended", nil
	}
	return fmt.Sprintf("%d jobs that have not ended", n), nil
}
