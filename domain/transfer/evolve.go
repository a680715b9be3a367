package transfer

import (
	"time"

	"github.com/waybill/waybill/domain/task"
)

// Evolve folds one event in. Events are facts: Evolve never refuses. It may reuse the old state's
// collections; the caller must not use the old state afterwards.
func (s State) Evolve(at time.Time, e Event) State {
	if e, ok := e.(Initiated); ok {
		s.phase, s.fingerprint = PhaseInitial, e.Fingerprint
		s.l = &live{begun: begun(e), startedAt: at}
		if e.Manifest != nil {
			for _, d := range e.Manifest.Definitions {
				s.l.resources = append(s.l.resources, resource{Definition: d})
			}
		}
		return s
	}
	if e, ok := e.(Worked); ok {
		s.tasks = s.tasks.Evolve(at, e.Event)
		if e, ok := e.Event.(task.Requested); ok && s.l != nil {
			s.note(e.Name)
		}
		return s
	}
	if s.l == nil {
		return s
	}
	switch e := e.(type) {
	case Moved:
		s.moved(e)
	case Acquiring:
		s.into(e.Moves)
		s.l.acquiring, s.l.acquisitions, s.l.negotiation, s.l.until = true, e.Acquisition, e.Negotiation, e.Until
	case AccessGranted:
		s.into(e.Moves)
		s.l.acquiring, s.l.until, s.l.grant = false, time.Time{}, e
		s.l.grant.Moves = nil
	case AccessLost:
		s.l.lost, s.l.asked, s.l.told, s.l.until = e, false, false, time.Time{}
		s.l.lostEDR, s.l.grant.EDR = s.l.grant.EDR, nil
	case Requested:
		s.into(e.Moves)
		s.l.asked, s.l.told, s.l.process, s.l.until = false, true, e.ProcessID, e.Until
	case ResourceProvisioned:
		if r, ok := s.l.resource(e.DefinitionID); ok {
			r.made, r.resource, r.secret = true, e.Resource, e.Secret
		}
	case ResourceUploaded:
		if r, ok := s.l.resource(e.DefinitionID); ok {
			r.upload = &e
		}
	case ResourceDeprovisioned:
		if r, ok := s.l.resource(e.DefinitionID); ok {
			r.gone = true
		}
		s.l.left = orElse(s.l.left, e.Error)
	case Ended:
		s.over(e)
	case Initiated, Worked:
	}
	return s
}

// into comes into the last of the states; without any it stays where it is.
func (s *State) into(ms []Move) {
	if len(ms) > 0 {
		s.phase = ms[len(ms)-1].State
	}
}

func (s *State) moved(e Moved) {
	s.into(e.Moves)
	if !s.l.acquiring || !e.Until.IsZero() { // a pull transfer may rest while it acquires anew
		s.l.until = e.Until
	}
	switch s.phase {
	case PhaseCompleting:
		s.l.closed = true
	case PhaseTerminating:
		s.l.end, s.l.acquiring = e, false
	case PhaseDeprovisioned:
		s.l = nil
	default:
	}
}

// note takes over what a task says by being asked for.
func (s *State) note(name string) {
	switch name {
	case taskFetch:
		s.l.fetches++
	case taskRequest:
		s.l.processes++
		s.l.asked, s.l.told, s.l.process = true, false, s.processID(s.l.processes)
	case taskSuspend, taskResume:
		s.l.words++
	}
	if r, ok := s.l.resource(definitionID(name)); ok && name == named(taskDeprovision, r.ID) {
		r.frees++
	}
}

// over keeps of a transfer that is over what is still to be undone, which mostly is nothing.
func (s *State) over(e Ended) {
	s.into(e.Moves)
	s.outcome = e.Outcome
	old := s.l
	s.l = nil
	for _, r := range old.resources {
		if !r.made {
			continue
		}
		if s.l == nil {
			s.l = &live{startedAt: old.startedAt, process: old.process, end: Moved{Reason: e.Reason}}
			s.l.Provider, s.l.Connector, s.l.AssetID, s.l.TraceParent = old.Provider, old.Connector, old.AssetID, old.TraceParent
			s.l.Retry, s.l.Properties, s.l.Deadline, s.l.grant.AgreementID = old.Retry, old.Properties, old.Deadline, old.grant.AgreementID
		}
		r.upload = nil
		s.l.resources = append(s.l.resources, r)
	}
}
