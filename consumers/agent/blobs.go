package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/schemas"
)

// The steps at which work fails before and after its processor.
const (
	stepInput  = "input"
	stepOutput = "output"
)

// KeepLarge says where values are kept that are too large for a record: what the input refers to
// is read before the processor is called, and an output that is too large is written there.
// Without it, such work fails by name. It is called before anything runs.
func (p *Pool) KeepLarge(b schemas.Blobs) { p.blobs.Store(&b) }

// storeFor gives the Pool a store of its own for as long as it is served, unless it has one.
func (p *Pool) storeFor(cfg Config) (closeStore func()) {
	if p.blobs.Load() != nil || len(cfg.Kafka.Brokers) == 0 {
		return func() {}
	}
	store := blobs.New(cfg.Kafka)
	p.KeepLarge(schemas.Blobs{Store: store, Max: cfg.MaxPayload})
	return store.Close
}

// whole puts what work refers to into its place. The result says why it could not be had.
func (p *Pool) whole(ctx context.Context, work machine.Work) (machine.Work, *Result) {
	if !blob.Refers(work.Input) && !blob.Refers(work.Outputs) {
		return work, nil
	}
	b := p.blobs.Load()
	if b == nil {
		r := fatal(stepInput, "the input is kept elsewhere, and this agent was not told where (Pool.KeepLarge)")
		return work, &r
	}
	for _, value := range []*json.RawMessage{&work.Input, &work.Outputs} {
		v, err := b.Unpack(ctx, *value, 0)
		if err != nil {
			r := unread(err)
			return work, &r
		}
		*value = v
	}
	return work, nil
}

// unread is fatal where the value is gone or is not what it was, and passing otherwise.
func unread(err error) Result {
	err = fmt.Errorf("the input cannot be read: %w", err)
	var (
		gone    *blobs.GoneError
		corrupt *schemas.CorruptError
		large   *blob.TooLargeError
	)
	if errors.As(err, &gone) || errors.As(err, &corrupt) || errors.As(err, &large) {
		return Fatal(err).AtStep(stepInput)
	}
	return Retry(err).AtStep(stepInput)
}

// reported is the Result as it fits into a report, where nothing can be kept elsewhere.
func (r Result) reported() Result {
	if r.kind != Completed {
		return r
	}
	if err := blob.Refuse(r.output); err != nil {
		return fatal(stepOutput, fmt.Sprintf("the output cannot be taken: %v", err))
	}
	if n := len(r.output) + len(r.state); n > MaxReportBytes {
		return fatal(stepOutput, fmt.Sprintf("the result has %d bytes, over the limit of %d bytes for one report", n, MaxReportBytes))
	}
	return r.checked()
}

// packed makes an output fit into a report.
func (p *Pool) packed(ctx context.Context, work machine.Work, r Result) Result {
	b := p.blobs.Load()
	if b == nil {
		return r.reported()
	}
	packed, err := r.Packed(ctx, *b, cmp.Or(work.Owner, work.AggregateID))
	if err != nil {
		return Retry(fmt.Errorf("the output cannot be written: %w", err)).AtStep(stepOutput)
	}
	return packed
}

// Packed makes a Result fit into a report: a large output is written among the blobs of the
// aggregate that asked, one that cannot be taken makes it a fatal one. Whoever reports
// beside a Pool uses it; the error says that the output could not be written just now.
func (r Result) Packed(ctx context.Context, b schemas.Blobs, aggregateID string) (Result, error) {
	if r.kind != Completed || len(r.output) <= blob.Threshold && !blob.Marked(r.output) {
		return r, nil
	}
	output, err := b.Pack(ctx, aggregateID, r.output)
	var (
		misuse   *blob.MisuseError
		payload  *schemas.PayloadError
		unlikely *schemas.UndecodableError
	)
	switch {
	case errors.As(err, &misuse), errors.As(err, &payload), errors.As(err, &unlikely):
		return fatal(stepOutput, fmt.Sprintf("the output cannot be taken: %v", err)), nil
	case err != nil:
		return r, err
	}
	r.output = output
	return r.checked(), nil
}
