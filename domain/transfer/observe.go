package transfer

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// observation is what a connector says of the process of a push transfer.
type observation struct {
	State         string `json:"state"`
	Detail        string `json:"detail"`
	AgreementDead bool   `json:"agreementDead"`
}

// What a connector says of a process that is over. LOST: it knows of none.
const (
	saysCompleted  = "COMPLETED"
	saysTerminated = "TERMINATED"
	saysLost       = "LOST"
)

// reported are the states of a connector's process that move ours.
var reported = map[string]Phase{
	"REQUESTED": PhaseRequested, "STARTED": PhaseStarted, "SUSPENDED": PhaseSuspended,
	saysCompleted: PhaseCompleting, // what has landed is still to be collected
}

func (s State) decideObserved(at time.Time, c Observed) ([]Event, error) {
	l := s.l
	if l == nil || s.phase.Over() {
		return nil, nil // a callback that comes late tells nothing new
	}
	current, ok := s.knows(c)
	if !ok {
		return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("transfer %s has asked for no process %q", s.id, orElse(c.Token, c.ProcessID)))
	}
	if !current || !l.told && !l.asked {
		return nil, nil
	}
	if s.phase == PhaseSuspended && reported[c.State] == PhaseStarted {
		// It may be from before the suspension: a callback has no date. The connector is asked.
		return s.lookNow(nil), nil
	}
	return s.observe(at, nil, observation{c.State, c.Detail, c.AgreementDead}, ""), nil
}

// knows says whether a report is about a process that was asked for, and whether that is the
// last one.
func (s State) knows(c Observed) (current, ok bool) {
	l := s.l
	if c.Token == "" && c.ProcessID != "" && c.ProcessID == l.process {
		return true, true
	}
	id := orElse(c.Token, c.ProcessID)
	for n := l.processes; n > 0; n-- {
		if id == s.processID(n) {
			return n == l.processes, true
		}
	}
	return false, false
}

// lookNow lets the agent that polls ask the connector at once.
func (s State) lookNow(out []Event) []Event {
	t, ok := s.tasks.Find(taskPoll)
	if !ok {
		return out
	}
	return append(out, worked(s.tasks.Nudge(t.WorkID))...)
}

// looked goes on after the agent that polls has found the process under way.
func (s State) looked(at time.Time, out []Event, c orchestration.Schedule) []Event {
	t, ok := s.tasks.Find(taskPoll)
	var o observation
	if !ok || t.WorkID != c.WorkID || json.Unmarshal(c.State, &o) != nil {
		return out
	}
	switch o.State {
	case saysCompleted, saysTerminated, saysLost:
		return out // it would have completed with that
	}
	return s.observe(at, out, o, "")
}

// polled goes on after the agent that polls has found the process over.
func (s State) polled(at time.Time, out []Event, end *task.End) []Event {
	var o observation
	if err := json.Unmarshal(end.Report.Output, &o); err != nil {
		o.State = "nothing that can be read"
	}
	switch o.State {
	case saysCompleted, saysTerminated, saysLost:
		return s.observe(at, out, o, end.WorkID)
	}
	fault := &orchestration.Fault{Step: stepRequest, Message: fmt.Sprintf("the connector says %s of the transfer process at its end", machine.Clip(o.State, maxNameBytes))}
	return s.terminate(at, out, cause{fault: fault, but: end.WorkID})
}

// observe takes over what the connector says, with the states that were passed over. An earlier state
// changes nothing.
func (s State) observe(at time.Time, out []Event, o observation, but string) []Event {
	l := s.l
	switch {
	case s.phase == PhaseTerminating && o.State == saysTerminated:
		return s.ended(at, s.drop(out, "the connector has terminated the process", but), l.end, "")
	case s.phase < PhaseRequesting || s.phase >= PhaseCompleting:
		return out
	}
	detail := ""
	if o.Detail != "" {
		detail = ": " + o.Detail
	}
	switch o.State {
	case saysTerminated:
		fault := orchestration.Fault{Step: stepRequest, Message: "the connector has terminated the transfer process" + detail}
		if o.AgreementDead && s.requests() {
			return s.loseAgreement(at, out, fault, but)
		}
		return s.terminate(at, out, cause{fault: &fault, by: ByConnector, again: true, silent: true, but: but})
	case saysLost:
		fault := orchestration.Fault{Step: stepRequest, Message: "the connector does not know the transfer process any more" + detail}
		if s.requests() {
			return s.loseAgreement(at, out, fault, but) // what forgets a process has forgotten its agreement
		}
		return s.terminate(at, out, cause{fault: &fault, by: ByConnector, again: true, silent: true, but: but})
	}
	to, ok := reported[o.State]
	if !ok {
		return out
	}
	if ms := s.phase.way(to); to == PhaseCompleting {
		return s.landed(out, ms, at, but)
	} else if !l.told {
		return append(out, s.taken(at, ms, l.process), s.poll(l.process))
	} else if len(ms) > 0 {
		return append(out, Moved{Moves: ms, By: ByConnector})
	}
	return out
}

// requests says that other access may still be used for a process of its own.
func (s State) requests() bool {
	return s.phase == PhaseRequesting || s.phase == PhaseRequested || s.phase == PhaseStarted
}

// taken records that the connector has our request.
func (s State) taken(at time.Time, ms []Move, process string) Requested {
	e := Requested{Moves: ms, ProcessID: process}
	if len(ms) > 0 && ms[len(ms)-1].State == PhaseRequested {
		e.Until = s.l.within(at, StartWithin)
	}
	return e
}

// requested goes on after the connector has answered the request. A callback may have been quicker.
func (s State) requested(at time.Time, out []Event, output json.RawMessage) []Event {
	l := s.l
	var answer struct {
		ProcessID string `json:"processId"`
	}
	if l.told {
		return out
	}
	if json.Unmarshal(output, &answer) != nil {
		answer.ProcessID = "" // it is called as we asked for
	}
	var ms []Move
	process := orElse(answer.ProcessID, l.process)
	switch s.phase {
	case PhaseTerminating:
		s.l = l.named(process)
		return append(out, Requested{ProcessID: process}, s.tellEnd(at, l.end.Reason, true))
	case PhaseRequesting:
		ms = moves(PhaseRequested)
	default:
	}
	return append(out, s.taken(at, ms, process), s.poll(process))
}

// obeyed goes on after the connector has taken the word to suspend or resume. The state itself
// follows, and is looked for at once.
func (s State) obeyed(_ time.Time, out []Event, kind string) []Event {
	if kind == taskResume && s.phase == PhaseResuming {
		out = append(out, Moved{Moves: moves(PhaseResumed), Until: s.l.until})
	}
	return s.lookNow(out)
}

// landed goes on once the provider says that it has sent everything. What it sent to an address that
// whoever asked gave is not ours to read.
func (s State) landed(out []Event, ms []Move, at time.Time, but string) []Event {
	out = s.drop(out, "the provider has completed the transfer", but)
	r, _ := s.l.landing()
	if r == nil {
		e := Ended{Moves: append(ms, move(PhaseCompleted)), Outcome: OutcomeCompleted}
		return s.deprovision(at, append(out, e))
	}
	return append(out, Moved{Moves: ms, By: ByConnector}, s.collect(r))
}
