package transfer

import (
	"fmt"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// Decide answers a command with the events it makes happen. A command that has already had its way
// makes nothing happen. A command that cannot have its way is answered with a *machine.Refusal, the
// only error there is.
func (s State) Decide(at time.Time, c Command) ([]Event, error) {
	if s.phase == 0 {
		return s.decideFirst(at, c)
	}
	switch c := c.(type) {
	case Initiate:
		return nil, s.decideAgain(c)
	case Wake:
		return s.wake(at), nil
	case TakeOver:
		return s.abandoned(at, s.tasks.TakeOver(orchestration.TakeOver{Placement: c.Placement, Agent: c.Agent, Since: c.Since})), nil
	case Suspend:
		return s.decideSuspend(at, c)
	case Resume:
		return s.decideResume(at, c)
	case Terminate:
		return s.decideTerminate(at, c)
	case Deprovision:
		return s.decideDeprovision()
	case Granted:
		return s.decideGranted(at, c), nil
	case Refused:
		return s.decideRefused(at, c), nil
	case Observed:
		return s.decideObserved(at, c)
	case Provisioned:
		return s.decideProvisioned(at, c)
	case Deprovisioned:
		return s.decideDeprovisioned(at, c)
	case Uploaded:
		return s.decideUploaded(c)
	case Report:
		return s.decideReport(at, c)
	}
	return nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("a transfer knows no command %T", c))
}

// decideFirst is for what nobody has asked for yet.
func (s State) decideFirst(at time.Time, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Initiate:
		return s.decideInitiate(at, c), nil
	case Report:
		_, beat := c.Command.(orchestration.Heartbeat)
		if _, back := c.Command.(orchestration.Release); beat || back {
			return nil, nil // never answered
		}
	case Wake, TakeOver:
		return nil, nil
	case Suspend, Resume, Terminate, Deprovision, Granted, Refused, Observed, Provisioned, Deprovisioned, Uploaded:
	}
	return nil, machine.Refuse(machine.NotFound, fmt.Sprintf("there is no transfer %q", s.id))
}

// decideAgain is for a transfer that is there already. An activity that is offered anew asks again, for
// what is left of its time.
func (s State) decideAgain(c Initiate) error {
	if c.Fingerprint == s.fingerprint || c.Asker != nil && c.Asker.Transfer() == s.id {
		return nil
	}
	return machine.Refuse(machine.Conflict, fmt.Sprintf("transfer %s was initiated with another body; use another id", s.id))
}

// worked wraps the events of the tasks.
func worked(events []task.Event) []Event {
	if len(events) == 0 {
		return nil
	}
	l := make([]Event, len(events), len(events)+4)
	for i, e := range events {
		l[i] = Worked{e}
	}
	return l
}

func (s State) decideInitiate(at time.Time, c Initiate) []Event {
	e, fault := s.initiated(at, c)
	events := []Event{e}
	// Nobody else has this State: it may be folded while it is decided on.
	s = s.Evolve(at, e)
	switch {
	case fault != nil:
		return s.terminate(at, events, cause{fault: fault})
	case e.Manifest != nil && len(e.Manifest.Definitions) > 0:
		return s.provision(at, events)
	}
	return s.acquire(at, events, moves(PhaseProvisioned))
}

// AsDocument is a document that is taken as it is; the same as nothing.
const AsDocument = "document"

// pushed is how the name of a transfer type ends that the provider sends.
const pushed = "-PUSH"

// initiated is the beginning, and what is wrong with it: whoever asks for a transfer that
// cannot be is told at its end, like of any other fault.
func (s State) initiated(at time.Time, c Initiate) (Initiated, *orchestration.Fault) {
	e := Initiated{
		Provider: c.Provider, Connector: c.Connector, Adapter: c.Adapter, AssetID: c.AssetID, CounterPartyID: c.CounterPartyID,
		Way: Pull, TransferType: c.TransferType, Destination: c.Destination, Manifest: c.Manifest, Properties: c.Properties,
		Asker: c.Asker, As: c.As, Retry: c.Retry, Fingerprint: c.Fingerprint, TraceParent: c.TraceParent,
	}
	if string(e.Destination) == "null" {
		e.Destination = nil
	}
	if e.As == AsDocument {
		e.As = ""
	}
	within := time.Duration(c.Deadline)
	if within <= 0 {
		within = DefaultDeadline
	}
	e.Deadline = at.Add(within)
	sent := len(e.Destination) > 0 || e.Manifest != nil && len(e.Manifest.Definitions) > 0
	switch {
	case e.TransferType == "" && sent:
		e.TransferType = "HttpData" + pushed
	case e.TransferType == "":
		e.TransferType = "HttpData-PULL"
	}
	if strings.HasSuffix(strings.ToUpper(e.TransferType), pushed) {
		e.Way = Push
	}
	if c.Problem != nil {
		e.Provider = withoutUser(e.Provider)
		return e, c.Problem
	}
	return e, e.check(sent)
}

func (s State) decideSuspend(at time.Time, c Suspend) ([]Event, error) {
	l := s.l
	switch {
	case s.phase == PhaseSuspending || s.phase == PhaseSuspended:
		return nil, nil
	case !s.phase.CanMove(PhaseSuspending):
		return nil, s.standing((&MoveError{s.phase, PhaseSuspending}).Error())
	case l.Way == Push && !l.told:
		return nil, s.standing("it is being requested anew; suspend it once it is")
	case l.Way == Pull:
		// The connector's process is the access's, and shared: only our fetching rests.
		events := s.drop(nil, "the transfer is suspended", "")
		return append(events, Moved{Moves: moves(PhaseSuspending, PhaseSuspended), Reason: c.Reason, By: c.By}), nil
	}
	until := l.within(at, SuspendWithin)
	events := s.dropNamed(nil, taskResume, "the transfer is suspended")
	return append(events,
		Moved{Moves: moves(PhaseSuspending), Reason: c.Reason, By: c.By, Until: until},
		s.tell(taskSuspend, l.words+1, c.Reason, until)), nil
}

func (s State) decideResume(at time.Time, c Resume) ([]Event, error) {
	l := s.l
	switch {
	case s.phase == PhaseResuming || s.phase == PhaseResumed || s.phase == PhaseStarted:
		return nil, nil
	case !s.phase.CanMove(PhaseResuming):
		return nil, s.standing((&MoveError{s.phase, PhaseResuming}).Error())
	case l.Way == Pull:
		events := []Event{Moved{Moves: moves(PhaseResuming, PhaseResumed, PhaseStarted), Reason: c.Reason, By: c.By}}
		if !l.acquiring {
			events = append(events, s.fetch(l.grant.EDR))
		}
		return events, nil
	}
	until := l.within(at, ResumeWithin)
	events := s.dropNamed(nil, taskSuspend, "the transfer is resumed")
	return append(events,
		Moved{Moves: moves(PhaseResuming), Reason: c.Reason, By: c.By, Until: until},
		s.tell(taskResume, l.words+1, c.Reason, until)), nil
}

func (s State) decideTerminate(at time.Time, c Terminate) ([]Event, error) {
	switch {
	case s.phase == PhaseTerminating || s.outcome == OutcomeTerminated:
		return nil, nil
	case s.outcome != "":
		return nil, s.standing("it cannot be terminated any more")
	}
	reason := c.Reason
	if reason == "" {
		reason = "terminated by " + orElse(c.By, "somebody")
	}
	return s.terminate(at, nil, cause{reason: reason, by: c.By}), nil
}

// decideDeprovision answers whoever wants undone what was provisioned. A transfer that is over does so by
// itself; only who has not called back is asked again.
func (s State) decideDeprovision() ([]Event, error) {
	switch s.phase {
	case PhaseDeprovisioningRequested:
		return s.freeAgain(), nil
	case PhaseDeprovisioning, PhaseDeprovisioned:
		return nil, nil
	case PhaseCompleted, PhaseTerminated:
		return nil, s.standing("nothing was provisioned for it")
	default:
		return nil, s.standing((&MoveError{s.phase, PhaseDeprovisioning}).Error() + "; it deprovisions by itself when it is over")
	}
}

// drop closes all tasks but that of one work id.
func (s State) drop(events []Event, why, but string) []Event {
	for _, t := range s.tasks.Open() {
		if t.WorkID != but {
			events = append(events, worked(s.tasks.Drop(t.WorkID, why))...)
		}
	}
	return events
}

// dropNamed closes the task of a name, where it is open.
func (s State) dropNamed(events []Event, name, why string) []Event {
	if t, ok := s.tasks.Find(name); ok {
		events = append(events, worked(s.tasks.Drop(t.WorkID, why))...)
	}
	return events
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
