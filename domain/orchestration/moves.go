package orchestration

import (
	"fmt"
	"strings"
)

// Phase is where an orchestration stands. Its number is the public code.
type Phase int

// The phases of an orchestration (domain: Orchestration).
const (
	Initial       Phase = 100
	InProgress    Phase = 600
	TransfersDone Phase = 700 // TRANSFERS_FINISHED
	OrchCompleted Phase = 800
	OrchError     Phase = -1
	OrchCancelled Phase = 1200
)

var phaseNames = map[Phase]string{
	Initial: "INITIAL", InProgress: "IN_PROGRESS", TransfersDone: "TRANSFERS_FINISHED",
	OrchCompleted: "COMPLETED", OrchError: "ERROR", OrchCancelled: "CANCELLED",
}

// String returns the public name, IN_PROGRESS.
func (p Phase) String() string {
	if n, ok := phaseNames[p]; ok {
		return n
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}

// MarshalText writes the public name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the public name.
func (p *Phase) UnmarshalText(b []byte) error {
	for k, n := range phaseNames {
		if n == string(b) {
			*p = k
			return nil
		}
	}
	return fmt.Errorf("unknown orchestration state %q", b)
}

// Final says that nothing moves on from here.
func (p Phase) Final() bool { return p == OrchCompleted || p == OrchError || p == OrchCancelled }

// ActivityPhase is where an activity stands.
type ActivityPhase uint8

// The phases of an activity (domain: Orchestration).
const (
	Pending           ActivityPhase = iota // waits for its dependencies
	Ready                                  // offered, nobody has claimed it
	Running                                // an agent is at it
	Waiting                                // somebody outside will report
	ScheduledAgain                         // SCHEDULED: called again later, nothing is wrong
	RetryingLater                          // RETRYING: called again after a fault
	ActivityCompleted                      // COMPLETED
	ActivityFailed                         // FAILED
	ActivityCancelled                      // CANCELLED: the orchestration ended first
	Skipped                                // SKIPPED by an operator
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

// moves is the one table of allowed moves of an orchestration.
var moves = map[Phase][]Phase{
	Initial:       {InProgress},
	InProgress:    {TransfersDone, OrchCompleted, OrchError, OrchCancelled},
	TransfersDone: {OrchCompleted, OrchError, OrchCancelled},
}

// activityMoves is the one table of allowed moves of an activity.
var activityMoves = map[ActivityPhase][]ActivityPhase{
	Pending:        {Ready, Running, ActivityCancelled},
	Ready:          {Ready, Running, Waiting, ScheduledAgain, RetryingLater, ActivityCompleted, ActivityFailed, ActivityCancelled},
	Running:        {Ready, Running, Waiting, ScheduledAgain, RetryingLater, ActivityCompleted, ActivityFailed, ActivityCancelled},
	Waiting:        {ActivityCompleted, RetryingLater, ActivityFailed, ActivityCancelled},
	ScheduledAgain: {Ready, Running, ActivityFailed, ActivityCancelled},
	RetryingLater:  {Ready, Running, ActivityFailed, ActivityCancelled},
}

// MoveError says that the table does not allow a move.
type MoveError struct{ From, To fmt.Stringer }

// Error implements error.
func (e *MoveError) Error() string { return fmt.Sprintf("%s does not lead to %s", e.From, e.To) }

// CanMove looks the table up.
func (p Phase) CanMove(to Phase) bool { return contains(moves[p], to) }

// CanMove looks the table up.
func (p ActivityPhase) CanMove(to ActivityPhase) bool { return contains(activityMoves[p], to) }

func contains[T comparable](l []T, v T) bool {
	for _, x := range l {
		if x == v {
			return true
		}
	}
	return false
}

// Diagram draws both tables as a Mermaid state diagram each; docs/states.md is made from it.
func Diagram() string {
	var b strings.Builder
	b.WriteString("## Orchestration\n\n```mermaid\nstateDiagram-v2\n    [*] --> INITIAL\n")
	for _, from := range []Phase{Initial, InProgress, TransfersDone} {
		for _, to := range moves[from] {
			fmt.Fprintf(&b, "    %s --> %s\n", from, to)
		}
	}
	b.WriteString("    COMPLETED --> [*]\n    ERROR --> [*]\n    CANCELLED --> [*]\n```\n\n")
	b.WriteString("| state | code |\n| --- | --- |\n")
	for _, p := range []Phase{Initial, InProgress, TransfersDone, OrchCompleted, OrchError, OrchCancelled} {
		fmt.Fprintf(&b, "| %s | %d |\n", p, int(p))
	}
	b.WriteString("\n## Activity\n\n```mermaid\nstateDiagram-v2\n    [*] --> PENDING\n")
	for from := Pending; !from.Final(); from++ {
		for _, to := range activityMoves[from] {
			fmt.Fprintf(&b, "    %s --> %s\n", from, to)
		}
	}
	b.WriteString("```\n")
	return b.String()
}
