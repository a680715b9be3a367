package projections

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
)

// aggregated is what the folding of an aggregate of any kind has.
type aggregated struct {
	id        string
	key       int64 // see schema
	partition int32
	kept      bool  // there is a row in SQLite
	seq       int64 // of the last event folded in
	first     int64 // offset of its first event
	command   int64 // offset of the last command read from the log; -1 for none
	dirty     bool
	past      chunk
	// deciding is the command whose events are being folded, where it is one to remember.
	deciding *commandRow
}

// follows says whether an event is the next one; one that we have is not. Its error is a *Fault.
// Where the log has let go of its beginning, what it tells of aggregates that began there is passed over.
func (p *partition) follows(a *aggregated, r *kgo.Record, ce kafka.CloudEvent) (bool, error) {
	if a.seq == 0 && ce.Sequence > 1 && p.start > 0 {
		return false, nil
	}
	if ce.Sequence > a.seq+1 {
		return false, p.stop(r.Offset, ce.Type, fmt.Errorf("event %d of %s follows event %d: there is a gap in the log", ce.Sequence, a.id, a.seq))
	}
	return ce.Sequence > a.seq, nil
}

// took notes that an event was folded in, which lies at an offset.
func (a *aggregated) took(offset int64, ce kafka.CloudEvent) {
	if a.seq == 0 {
		a.first = offset
	}
	a.seq = ce.Sequence
	a.command = max(a.command, ce.InputOffset)
}

// cause remembers which command made events happen, where somebody asked for them. Reports are
// not remembered: nobody asks for them, and they are most of what is decided.
func (w *writer) cause(a *aggregated, aggregate string, asked bool, ce kafka.CloudEvent) {
	if asked && ce.Cause != "" {
		a.deciding = &commandRow{
			id: ce.Cause, aggregate: aggregate, aggregateID: a.id,
			first: ce.Sequence, at: nanos(ce.Time),
		}
	}
	c := a.deciding
	if c == nil {
		return
	}
	if c.id != ce.Cause {
		a.deciding = nil
		return
	}
	c.last = ce.Sequence
	if !c.queued {
		c.queued = true
		w.batch.commands = append(w.batch.commands, c)
	}
}

// faultOf is an error as a transfer, or a negotiation, shows it.
func faultOf(f orchestration.Fault) []byte {
	b := append(make([]byte, 0, len(f.Step)+len(f.Message)+len(f.Code)+40), '{')
	if f.Step != "" {
		b = append(appendText(append(b, `"step":`...), f.Step), ',')
	}
	b = appendText(append(b, `"message":`...), f.Message)
	if f.Code != "" {
		b = appendText(append(b, `,"code":`...), f.Code)
	}
	return append(b, '}')
}
