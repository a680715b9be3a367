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
