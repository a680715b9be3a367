package transfer

import (
	"fmt"
	"slices"
	"strings"
)

// Phase is where a transfer stands. Its number is the public code.
type Phase int

// The phases of a transfer (domain: Transfer).
const (
	PhaseInitial                 Phase = 100
	PhaseProvisioning            Phase = 200
	PhaseProvisioningRequested   Phase = 250 // somebody outside provisions and will call back
	PhaseProvisioned             Phase = 300 // access is being acquired
	PhaseRequesting              Phase = 400
	PhaseRequested               Phase = 500
	PhaseStarted                 Phase = 600
	PhaseSuspending              Phase = 650
	PhaseSuspended               Phase = 700
	PhaseResuming                Phase = 720
	PhaseResumed                 Phase = 725
	PhaseCompleting              Phase = 750
	PhaseCompleted               Phase = 800
	PhaseTerminating             Phase = 825
	PhaseTerminated              Phase = 850
	PhaseDeprovisioning          Phase = 900
	PhaseDeprovisioningRequested Phase = 950 // somebody outside deprovisions and will call back
	PhaseDeprovisioned           Phase = 1000
)

// phases is every phase with its public name, in the order of the codes.
var phases = []struct {
	phase Phase
	name  string
}{
	{PhaseInitial, "INITIAL"},
	{PhaseProvisioning, "PROVISIONING"},
	{PhaseProvisioningRequested, "PROVISIONING_REQUESTED"},
	{PhaseProvisioned, "PROVISIONED"},
	{PhaseRequesting, "REQUESTING"},
	{PhaseRequested, "REQUESTED"},
	{PhaseStarted, "STARTED"},
	{PhaseSuspending, "SUSPENDING"},
	{PhaseSuspended, "SUSPENDED"},
	{PhaseResuming, "RESUMING"},
	{PhaseResumed, "RESUMED"},
	{PhaseCompleting, "COMPLETING"},
	{PhaseCompleted, "COMPLETED"},
	{PhaseTerminating, "TERMINATING"},
	{PhaseTerminated, "TERMINATED"},
	{PhaseDeprovisioning, "DEPROVISIONING"},
	{PhaseDeprovisioningRequested, "DEPROVISIONING_REQUESTED"},
	{PhaseDeprovisioned, "DEPROVISIONED"},
}

// Phases lists every phase, in the order of the codes.
func Phases() []Phase {
	l := make([]Phase, len(phases))
	for i, x := range phases {
		l[i] = x.phase
	}
	return l
}

// String returns the public name, STARTED.
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
	return fmt.Errorf("unknown transfer state %q", b)
}

// Over says that the transfer has come to its outcome: whoever asked has been answered, only
// what was provisioned may have to be undone.
func (p Phase) Over() bool {
	return p >= PhaseCompleted && p != PhaseTerminating
}

// beforeCompleted is every state from which a transfer can still be terminated.
var beforeCompleted = []Phase{
	PhaseInitial, PhaseProvisioning, PhaseProvisioningRequested, PhaseProvisioned, PhaseRequesting, PhaseRequested, PhaseStarted,
	PhaseSuspending, PhaseSuspended, PhaseResuming, PhaseResumed, PhaseCompleting,
}

// sources is the one table of allowed moves: from where a state can be reached.
var sources = map[Phase][]Phase{
	PhaseProvisioning:            {PhaseInitial},
	PhaseProvisioningRequested:   {PhaseProvisioning},
	PhaseProvisioned:             {PhaseInitial, PhaseProvisioning, PhaseProvisioningRequested}, // an early callback overtakes
	PhaseRequesting:              {PhaseProvisioned},
	PhaseRequested:               {PhaseRequesting},
	PhaseStarted:                 {PhaseRequesting, PhaseRequested, PhaseSuspended, PhaseResuming, PhaseResumed}, // an early start overtakes
	PhaseSuspending:              {PhaseStarted},
	PhaseSuspended:               {PhaseStarted, PhaseSuspending},
	PhaseResuming:                {PhaseSuspended},
	PhaseResumed:                 {PhaseResuming},
	PhaseCompleting:              {PhaseStarted},
	PhaseCompleted:               {PhaseStarted, PhaseCompleting},
	PhaseTerminating:             beforeCompleted,
	PhaseTerminated:              append(slices.Clip(slices.Clone(beforeCompleted)), PhaseTerminating),
	PhaseDeprovisioning:          {PhaseCompleted, PhaseTerminated},
	PhaseDeprovisioningRequested: {PhaseDeprovisioning},
	PhaseDeprovisioned:           {PhaseDeprovisioning, PhaseDeprovisioningRequested},
}

// MoveError says that the table does not allow a move.
type MoveError struct{ From, To Phase }

// Error implements error.
func (e *MoveError) Error() string { return fmt.Sprintf("%s does not lead to %s", e.From, e.To) }

// CanMove looks the table up.
func (p Phase) CanMove(to Phase) bool { return slices.Contains(sources[to], p) }

// passable are the states that a connector's process goes through, so that one of them may be inferred
// between two reports.
var passable = []Phase{PhaseRequested, PhaseStarted, PhaseSuspended, PhaseCompleting}

// way is the shortest allowed path to a state that a connector reported: those passed over are inferred.
// It is empty where the state is an earlier one, or cannot follow.
func (p Phase) way(to Phase) []Move {
	if back := to < p; back && (to != PhaseStarted || !p.paused()) {
		return nil
	}
	came := map[Phase]Phase{p: p}
	for queue := []Phase{p}; len(queue) > 0; queue = queue[1:] {
		for _, next := range passable {
			if _, seen := came[next]; seen || !queue[0].CanMove(next) {
				continue
			}
			came[next] = queue[0]
			if next == to {
				return back(came, p, to)
			}
			queue = append(queue, next)
		}
	}
	return nil
}

func back(came map[Phase]Phase, from, to Phase) []Move {
	moves := []Move{move(to)}
	for at := came[to]; at != from; at = came[at] {
		passed := move(at)
		passed.Inferred = true
		moves = append(moves, passed)
	}
	slices.Reverse(moves)
	return moves
}

// paused says that a start is no earlier state but what comes next.
func (p Phase) paused() bool {
	return p == PhaseSuspended || p == PhaseResuming || p == PhaseResumed
}

// move is a state that was come into.
func move(to Phase) Move { return Move{State: to, Code: int(to)} }

func moves(to ...Phase) []Move {
	l := make([]Move, len(to))
	for i, p := range to {
		l[i] = move(p)
	}
	return l
}

// Diagram draws the table as a Mermaid state diagram; states.md is made from it.
func Diagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n    [*] --> INITIAL\n")
	for _, from := range phases {
		for _, to := range phases {
			if from.phase.CanMove(to.phase) {
				fmt.Fprintf(&b, "    %s --> %s\n", from.name, to.name)
			}
		}
	}
	for _, p := range []Phase{PhaseCompleted, PhaseTerminated, PhaseDeprovisioned} {
		fmt.Fprintf(&b, "    %s --> [*]\n", p)
	}
	b.WriteString("```\n\n| state | code | from |\n| --- | --- | --- |\n")
	for _, to := range phases {
		from := make([]string, 0, len(sources[to.phase]))
		for _, p := range sources[to.phase] {
			from = append(from, p.String())
		}
		fmt.Fprintf(&b, "| %s | %d | %s |\n", to.name, int(to.phase), strings.Join(from, ", "))
	}
	return b.String()
}
