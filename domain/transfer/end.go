package transfer

import (
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// ByConnector is who has ended a transfer where nobody on our side has.
const ByConnector = "connector"

// ByAsker is the activity that asked for a transfer and has been cancelled: it wants no answer.
const ByAsker = "asker"

// maxReasonBytes bounds what is kept of an error.
const maxReasonBytes = 2048

// cause is why a transfer is terminated.
type cause struct {
	fault   *orchestration.Fault // what went wrong; nil: somebody wants it
	reason  string               // of whoever wants it
	by      string
	again   bool // the fault passes
	after   definition.Duration
	refused bool // it is the negotiation's word, which says what it is about
	// silent says that there is nobody to be told: the connector has ended the process itself, or
	// has refused to begin it.
	silent bool
	but    string // work id of the task that has ended already
}

// causeOf is what a task came to nothing for. Steps that only the tasks know become the
// transfer's.
func (s State) causeOf(end *task.End, kind string) cause {
	fault := end.Fault
	switch fault.Step {
	case "", "lease", "attempt", "wait":
		fault.Step = steps[kind]
	}
	return cause{fault: &fault, again: end.Again, but: end.WorkID}
}

// steps at which tasks fail, where their agents do not say.
var steps = map[string]string{
	taskProvision: stepProvision, taskRequest: stepRequest, taskPoll: stepRequest, taskFetch: stepFetch, taskCollect: stepCollect,
	taskSuspend: stepSuspend, taskResume: stepResume, taskTerminate: stepTerminate, taskDeprovision: stepDeprovision,
}

// terminate ends a transfer badly. The connector is told, if it was ever told of the transfer.
func (s State) terminate(at time.Time, out []Event, c cause) []Event {
	l := s.l
	m := Moved{Moves: moves(PhaseTerminating), Reason: machine.Clip(c.reason, maxReasonBytes), By: machine.Clip(c.by, maxNameBytes)}
	if c.fault != nil {
		fault := *c.fault
		if fault.Message = machine.Clip(fault.Message, maxReasonBytes); !c.refused {
			fault.Message += l.about()
		}
		m.Error, m.Reason, m.Again, m.After = &fault, fault.Step+": "+fault.Message, c.again, c.after
	}
	const why = "the transfer is terminated"
	if l.Way == Push && (l.told || l.asked) && !l.closed && !c.silent {
		m.Until = at.Add(TerminateWithin)
		if t, ok := s.requesting(); ok && !l.told && t.WorkID != c.but {
			// What an agent is sending right now may arrive after it was asked for: its answer is awaited.
			return append(s.drop(out, why, t.WorkID), m)
		}
		return append(s.drop(out, why, c.but), m, s.tellEnd(at, m.Reason, l.told))
	}
	out = s.drop(out, why, c.but)
	if c.by == ByConnector {
		m.Moves = nil
	}
	return s.badly(at, out, m, c.refused)
}

// requesting is the request that an agent is at.
func (s State) requesting() (*task.Task, bool) {
	t, ok := s.tasks.Find(taskRequest)
	return t, ok && t.Phase == orchestration.ActivityRunning
}

// abandoned goes on where the agent that is at the request of a transfer that is being terminated does not
// answer: the request is not made anew, and what came of it is asked for. Else it is what was
// decided.
func (s State) abandoned(at time.Time, events []task.Event) []Event {
	if s.phase == PhaseTerminating {
		for _, e := range events {
			_, offered := e.(task.Offered)
			_, retrying := e.(task.Retrying)
			if t, ok := s.requesting(); ok && t.WorkID == e.Work() && (offered || retrying) {
				return append(s.dropNamed(nil, taskRequest, "the transfer is terminated"), s.tellEnd(at, s.l.end.Reason, false))
			}
		}
	}
	return worked(events)
}

// about says which transfer a fault was met in: what the connectors themselves say rarely does.
func (l *live) about() string {
	text := fmt.Sprintf(" (provider %s, asset %s", l.Provider, machine.Clip(l.AssetID, maxNameBytes))
	if l.grant.Constraints != "" {
		text += ", offered under " + machine.Clip(l.grant.Constraints, maxReasonBytes)
	}
	if l.acquisitions > 0 {
		text += fmt.Sprintf(", access acquired: %d", l.acquisitions)
	}
	return text + ")"
}

// ended is the bad end that the way into TERMINATING is the reason for. note is what went wrong
// after that.
func (s State) ended(at time.Time, out []Event, why Moved, note string) []Event {
	if note != "" {
		why.Reason += "; " + machine.Clip(note, maxReasonBytes)
	}
	return s.badly(at, out, why, false)
}

func (s State) badly(at time.Time, out []Event, why Moved, refused bool) []Event {
	e := Ended{
		Moves: append(why.Moves, move(PhaseTerminated)), Outcome: OutcomeTerminated,
		Reason: why.Reason, By: why.By, Error: why.Error, Again: why.Again, After: why.After, Refused: refused,
	}
	if s.phase == PhaseTerminating {
		e.Moves = moves(PhaseTerminated)
	}
	return s.deprovision(at, append(out, e))
}

// complete is the good end, with what the agent has made of the document.
func (s State) complete(at time.Time, out []Event, done orchestration.Complete) []Event {
	e := Ended{Moves: moves(PhaseCompleting, PhaseCompleted), Outcome: OutcomeCompleted, Output: done.Output, Spawn: done.Spawn, Key: done.Key}
	if s.phase == PhaseCompleting {
		e.Moves = moves(PhaseCompleted)
	}
	return s.deprovision(at, append(out, e))
}
