package orchestration

import (
	"fmt"
	"slices"
	"strings"
)

// Phase is where an orchestration stands. Its number is the public code.
type Phase int

// The phases of an orchestration (domain: Orchestration).
const (
	PhaseInitial           Phase = 100
	PhaseInProgress        Phase = 600
	PhasePaused            Phase = 610 // by an operator: nothing new is asked for
	PhaseTransfersFinished Phase = 700 // all retrieval done, aggregation running
	PhaseCompleted         Phase = 800
	PhaseCompensating      Phase = 820 // it failed; what had completed is being undone
	PhaseError             Phase = -1
	PhaseCancelling        Phase = 1190 // it was cancelled; what had completed is being undone
	PhaseCancelled         Phase = 1200
)

// phases is every phase with its public name, in the order they are shown.
var phases = []struct {
	phase Phase
	name  string
}{
	{PhaseInitial, "INITIAL"},
	{PhaseInProgress, "IN_PROGRESS"},
	{PhasePaused, "PAUSED"},
	{PhaseTransfersFinished, "TRANSFERS_FINISHED"},
	{PhaseCompleted, "COMPLETED"},
	{PhaseCompensating, "COMPENSATING"},
	{PhaseError, "ERROR"},
	{PhaseCancelling, "CANCELLING"},
	{PhaseCancelled, "CANCELLED"},
}

// Phases lists every phase, in the order they are shown.
func Phases() []Phase {
	l := make([]Phase, len(phases))
	for i, x := range phases {
		l[i] = x.phase
	}
	return l
}

// String returns the public name, IN_PROGRESS.
func (p Phase) String() string {
	for _, x := range phases {
		if x.phase == p {
			return x.name
		}
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}

// MarshalText writes the public name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the public name.
func (p *Phase) UnmarshalText(b []byte) error {
	for _, x := range phases {
		if x.name == string(b) {
			*p = x.phase
			return nil
		}
	}
	return fmt.Errorf("unknown orchestration state %q", b)
}

// Final says that the run has ended: nothing moves on from here by itself, only another run begins.
func (p Phase) Final() bool {
	return p == PhaseCompleted || p == PhaseError || p == PhaseCancelled
}

// ActivityPhase is where an activity stands.
type ActivityPhase uint8

// The phases of an activity (domain: Orchestration).
const (
	ActivityPending   ActivityPhase = iota // waits for its dependencies
	ActivityReady                          // offered, nobody has claimed it
	ActivityRunning                        // an agent is at it
	ActivityWaiting                        // somebody outside will report
	ActivityScheduled                      // called again later, nothing is wrong
	ActivityRetrying                       // called again after a fault
	ActivityCompleted                      // done
	ActivityFailed                         // it cannot work
	ActivityCancelled                      // the orchestration ended first
	ActivitySkipped                        // by an operator
)

var activityNames = [...]string{"PENDING", "READY", "RUNNING", "WAITING", "SCHEDULED", "RETRYING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"}

// String returns the public name, RUNNING.
func (p ActivityPhase) String() string {
	if int(p) < len(activityNames) {
		return activityNames[p]
	}
	return fmt.Sprintf("ActivityPhase(%d)", int(p))
}

// Final says that the activity has ended.
func (p ActivityPhase) Final() bool { return p >= ActivityCompleted }

// offered says that an attempt is out, so that a report of it can be taken.
func (p ActivityPhase) offered() bool {
	return p == ActivityReady || p == ActivityRunning || p == ActivityWaiting
}

// moves is the one table of allowed moves of an orchestration. From an end another run leads on.
var moves = map[Phase][]Phase{
	PhaseInitial:           {PhaseInProgress},
	PhaseInProgress:        {PhasePaused, PhaseTransfersFinished, PhaseCompleted, PhaseCompensating, PhaseError, PhaseCancelling, PhaseCancelled},
	PhasePaused:            {PhaseInProgress, PhaseTransfersFinished, PhaseCompleted, PhaseCompensating, PhaseError, PhaseCancelling, PhaseCancelled},
	PhaseTransfersFinished: {PhasePaused, PhaseCompleted, PhaseCompensating, PhaseError, PhaseCancelling, PhaseCancelled},
	PhaseCompensating:      {PhaseError},
	PhaseCancelling:        {PhaseCancelled},
	PhaseCompleted:         {PhaseInProgress},
	PhaseError:             {PhaseInProgress},
	PhaseCancelled:         {PhaseInProgress},
}

// activityMoves is the one table of allowed moves of an activity.
var activityMoves = [...][]ActivityPhase{
	ActivityPending:   {ActivityReady, ActivityRunning, ActivityCancelled, ActivitySkipped},
	ActivityReady:     {ActivityReady, ActivityRunning, ActivityWaiting, ActivityScheduled, ActivityRetrying, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped},
	ActivityRunning:   {ActivityReady, ActivityRunning, ActivityWaiting, ActivityScheduled, ActivityRetrying, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped},
	ActivityWaiting:   {ActivityReady, ActivityRunning, ActivityRetrying, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped},
	ActivityScheduled: {ActivityReady, ActivityRunning, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped},
	ActivityRetrying:  {ActivityReady, ActivityRunning, ActivityCompleted, ActivityFailed, ActivityCancelled, ActivitySkipped},
}

// MoveError says that the table does not allow a move.
type MoveError struct{ From, To fmt.Stringer }

// Error implements error.
func (e *MoveError) Error() string { return fmt.Sprintf("%s does not lead to %s", e.From, e.To) }

// CanMove looks the table up.
func (p Phase) CanMove(to Phase) bool { return slices.Contains(moves[p], to) }

// CanMove looks the table up.
func (p ActivityPhase) CanMove(to ActivityPhase) bool {
	return int(p) < len(activityMoves) && slices.Contains(activityMoves[p], to)
}

// Diagram draws both tables as a Mermaid state diagram each; states.md is made from it.
func Diagram() string {
	var b strings.Builder
	b.WriteString("## Orchestration\n\n```mermaid\nstateDiagram-v2\n    [*] --> INITIAL\n")
	for _, from := range phases {
		for _, to := range moves[from.phase] {
			fmt.Fprintf(&b, "    %s --> %s\n", from.phase, to)
		}
	}
	for _, p := range phases {
		if p.phase.Final() {
			fmt.Fprintf(&b, "    %s --> [*]\n", p.phase)
		}
	}
	b.WriteString("```\n\n| state | code |\n| --- | --- |\n")
	for _, p := range phases {
		fmt.Fprintf(&b, "| %s | %d |\n", p.phase, int(p.phase))
	}
	b.WriteString("\n## Activity\n\nSKIPPED is an operator's doing; so are COMPLETED after SCHEDULED and RETRYING, and READY or RUNNING after WAITING. " +
		"That an activity is paused is no state of its own: no other attempt is asked for until it is resumed.\n\n```mermaid\nstateDiagram-v2\n    [*] --> PENDING\n")
	for from, l := range activityMoves {
		for _, to := range l {
			fmt.Fprintf(&b, "    %s --> %s\n", ActivityPhase(from), to)
		}
	}
	for p := ActivityCompleted; p <= ActivitySkipped; p++ {
		fmt.Fprintf(&b, "    %s --> [*]\n", p)
	}
	b.WriteString("```\n")
	return b.String()
}
