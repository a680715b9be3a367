package transfer

import (
	"fmt"
	"strings"
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
	fault  *orchestration.Fault // what went wrong; nil: somebody wants it
	reason string               // of whoever wants it
	by     string
	again  bool // the fault passes
	after  definition.Duration
	// What is known of the negotiation, where it has refused.
	rounds      int
	constraints string
	refused     bool
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
	out = s.drop(out, "the transfer is terminated", c.but)
	m := Moved{Moves: moves(PhaseTerminating), Reason: machine.Clip(c.reason, maxReasonBytes), By: machine.Clip(c.by, maxNameBytes)}
	if c.fault != nil {
		fault := *c.fault
		fault.Message = machine.Clip(fault.Message, maxReasonBytes) + l.about(c)
		m.Error, m.Reason, m.Again, m.After = &fault, fault.Step+": "+fault.Message, c.again, c.after
	}
	if l.Way == Push && (l.told || l.asked) && !l.closed && !c.silent {
		m.Until = at.Add(TerminateWithin)
		return append(out, m, s.tellEnd(at, m.Reason))
	}
	if c.by == ByConnector {
		m.Moves = nil
	}
	return s.badly(at, out, m, c.refused)
}

// about says which transfer a fault was met in: what the connectors themselves say rarely does.
func (l *live) about(c cause) string {
	var b strings.Builder
	fmt.Fprintf(&b, " (provider %s, asset %s", l.Provider, machine.Clip(l.AssetID, maxNameBytes))
	if constraints := orElse(c.constraints, l.grant.Constraints); constraints != "" {
		fmt.Fprintf(&b, ", offered under %s", machine.Clip(constraints, maxReasonBytes))
	}
	if rounds := orElse(c.rounds, l.grant.Round); rounds > 0 {
		fmt.Fprintf(&b, ", negotiated in %d rounds", rounds)
	}
	b.WriteString(")")
	return strings.Replace(b.String(), " 1 rounds", " 1 round", 1)
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
