package schemas

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// The work that transfers and negotiations ask for: the same events for both.

// task writes what happened to a piece of work and names it.
func (w *writer) task(e task.Event) (wireType string) {
	if e == nil {
		return ""
	}
	w.str("workId", e.Work())
	switch e := e.(type) {
	case task.Requested:
		w.asked(&e)
		return TaskRequested
	case task.Attempted:
		w.integer("attempt", e.Attempt)
		w.optional("placement", e.Placement)
		return TaskAttempted
	case task.Offered:
		w.integer("attempt", e.Attempt)
		w.integer("offer", e.Offer)
		w.optional("placement", e.Placement)
		return TaskOffered
	case task.Claimed:
		w.integer("attempt", e.Attempt)
		w.str("agent", e.Agent)
		w.time("lease", e.Lease)
		return TaskClaimed
	case task.Extended:
		w.integer("attempt", e.Attempt)
		w.time("lease", e.Lease)
		return TaskExtended
	case task.Waited:
		w.integer("attempt", e.Attempt)
		w.until("until", e.Until)
		w.json("state", e.State)
		return TaskWaited
	case task.Scheduled:
		w.integer("attempt", e.Attempt)
		w.time("at", e.At)
		w.json("state", e.State)
		return TaskScheduled
	case task.Retrying:
		w.integer("attempt", e.Attempt)
		w.fault(&e.Error)
		w.time("at", e.At)
		w.json("state", e.State)
		return TaskRetrying
	case task.Nudged:
		return TaskNudged
	case task.Ended:
		w.integer("attempt", e.Attempt)
		w.str("how", string(e.How))
		w.fault(e.Error)
		return TaskEnded
	}
	return ""
}

func (w *writer) asked(e *task.Requested) {
	w.str("name", e.Name)
	w.str("type", e.Type)
	w.json("input", e.Input)
	w.until("deadline", e.Deadline)
	w.policy(&e.Policy)
	w.optional("owner", e.Owner)
	w.optional("placement", e.Placement)
}

func (w *writer) policy(p *task.Policy) {
	if *p == (task.Policy{}) {
		return
	}
	w.name("policy")
	n := w.nested()
	if p.Retries != 0 {
		n.integer("retries", p.Retries)
	}
	n.length("baseDelay", p.BaseDelay)
	n.length("maxDelay", p.MaxDelay)
	n.length("attemptTimeout", p.AttemptTimeout)
	w.close(&n)
}

// length writes a length of time but 0.
func (w *writer) length(name string, d definition.Duration) {
	if d != 0 {
		w.name(name)
		b, err := d.MarshalJSON() // its own, so not checked again
		if err != nil {
			w.fail(fmt.Errorf("%s: %w", name, err))
		}
		w.out = append(w.out, b...)
	}
}

// fault writes what went wrong; nothing is left out.
func (w *writer) fault(f *orchestration.Fault) {
	if f == nil {
		return
	}
	w.name("error")
	n := w.nested()
	n.optional("step", f.Step)
	n.str("message", f.Message)
	n.optional("code", f.Code)
	w.close(&n)
}

// said are the members of all events about a piece of work: each means the same wherever it
// stands.
type said struct {
	task.Requested
	attempt int
	offer   int
	agent   string
	at      time.Time // lease, until or at: no event has two of them
	state   json.RawMessage
	fault   *orchestration.Fault
	how     task.Ending
}

// task reads what happened to a piece of work; nil where it is nothing of that.
func (s *scanner) task(wireType string) task.Event {
	if !strings.HasPrefix(wireType, "task.") {
		return nil
	}
	e := s.said()
	switch wireType {
	case TaskRequested:
		return e.Requested
	case TaskAttempted:
		return task.Attempted{WorkID: e.WorkID, Attempt: e.attempt, Placement: e.Placement}
	case TaskOffered:
		return task.Offered{WorkID: e.WorkID, Attempt: e.attempt, Offer: e.offer, Placement: e.Placement}
	case TaskClaimed:
		return task.Claimed{WorkID: e.WorkID, Attempt: e.attempt, Agent: e.agent, Lease: e.at}
	case TaskExtended:
		return task.Extended{WorkID: e.WorkID, Attempt: e.attempt, Lease: e.at}
	case TaskWaited:
		return task.Waited{WorkID: e.WorkID, Attempt: e.attempt, Until: e.at, State: e.state}
	case TaskScheduled:
		return task.Scheduled{WorkID: e.WorkID, Attempt: e.attempt, At: e.at, State: e.state}
	case TaskRetrying:
		if e.fault == nil {
			s.mismatch("the error is missing")
			e.fault = new(orchestration.Fault)
		}
		return task.Retrying{WorkID: e.WorkID, Attempt: e.attempt, Error: *e.fault, At: e.at, State: e.state}
	case TaskNudged:
		return task.Nudged{WorkID: e.WorkID}
	case TaskEnded:
		return task.Ended{WorkID: e.WorkID, Attempt: e.attempt, How: e.how, Error: e.fault}
	}
	return nil
}

func (s *scanner) said() (e said) {
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "workId":
			e.WorkID = s.str()
		case "name":
			e.Name = s.str()
		case "type":
			e.Type = s.str()
		case "input":
			e.Input = s.copied()
		case "deadline":
			e.Deadline = s.instant()
		case "policy":
			e.Policy = s.policy()
		case "owner":
			e.Owner = s.str()
		case "placement":
			e.Placement = s.str()
		case "attempt":
			e.attempt = s.integer()
		case "offer":
			e.offer = s.integer()
		case "agent":
			e.agent = s.str()
		case "lease", "until", "at":
			e.at = s.instant()
		case "state":
			e.state = s.copied()
		case "error":
			s.other(&e.fault)
		case "how":
			e.how = task.Ending(s.str())
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) policy() (p task.Policy) {
	if s.null() {
		return p
	}
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "retries":
			p.Retries = s.integer()
		case "baseDelay":
			p.BaseDelay = s.length()
		case "maxDelay":
			p.MaxDelay = s.length()
		case "attemptTimeout":
			p.AttemptTimeout = s.length()
		default:
			s.raw()
		}
	}
	return p
}

// length reads a length of time; null is none.
func (s *scanner) length() definition.Duration {
	text := s.str()
	if s.err != nil || text == "" {
		return 0
	}
	d, err := definition.ParseDuration(text)
	if err != nil {
		s.mismatch(err.Error())
	}
	return definition.Duration(d)
}
