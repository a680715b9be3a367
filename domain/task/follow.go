package task

import (
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Owner is the aggregate that a Set belongs to.
type Owner struct {
	Aggregate   string // type
	ID          string
	TraceParent string
}

// Follow is what follows outside from an event, given the Set before it.
func (s Set) Follow(o Owner, at time.Time, e Event) []machine.Effect {
	if e, ok := e.(Requested); ok {
		t := &Task{Spec: e.Spec, Attempt: 1, offers: 1}
		return []machine.Effect{t.work(o, at)}
	}
	t := s.find(e.Work())
	if t == nil {
		return nil
	}
	switch e := e.(type) {
	case Attempted:
		next := *t
		next.Attempt, next.offers = e.Attempt, 1
		return []machine.Effect{next.work(o, at)}
	case Offered:
		next := *t
		next.offers = e.Offer
		return []machine.Effect{next.work(o, at)}
	case Retrying:
		if e.Error.Step == stepLease || e.Error.Step == stepAttempt {
			return []machine.Effect{t.cancel(e.Error.Message)}
		}
	case Ended:
		if (e.How == GivenUp || e.How == Dropped) && t.out() {
			return []machine.Effect{t.cancel(e.Error.Message)}
		}
	case Requested, Claimed, Extended, Waited, Scheduled, Nudged:
	}
	return nil
}

func (t *Task) work(o Owner, at time.Time) machine.Work {
	return machine.Work{
		ID: t.WorkID, Attempt: t.Attempt, Offer: t.offers, Aggregate: o.Aggregate, AggregateID: o.ID, Owner: t.Owner, Run: 1,
		ActivityID: t.Name, Type: t.Type, Input: t.Input, State: t.State, RequestedAt: at, Deadline: t.Deadline,
		TraceParent: o.TraceParent, OfferedUntil: at.Add(machine.OfferWait(t.offers)), HeartbeatTimeout: HeartbeatTimeout.Milliseconds(),
	}
}

func (t *Task) cancel(reason string) machine.Effect {
	return machine.CancelWork{ID: t.WorkID, Attempt: t.Attempt, Type: t.Type, Reason: reason}
}
