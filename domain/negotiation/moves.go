package negotiation

import (
	"fmt"
	"slices"
	"strings"
)

// Phase is where a round, one contract negotiation, stands: EDC's states on the consumer's side. Its
// number is the public code.
type Phase int

// The phases of a round (domain: Negotiation).
const (
	PhaseInitial     Phase = 50
	PhaseRequesting  Phase = 100
	PhaseRequested   Phase = 200
	PhaseOffered     Phase = 400
	PhaseAccepting   Phase = 700
	PhaseAccepted    Phase = 800
	PhaseAgreed      Phase = 850
	PhaseVerifying   Phase = 1050
	PhaseVerified    Phase = 1100
	PhaseFinalized   Phase = 1200
	PhaseTerminating Phase = 1300
	PhaseTerminated  Phase = 1400
)

// phases is every phase with its public name, in the order they are shown.
var phases = []struct {
	phase Phase
	name  string
}{
	{PhaseInitial, "INITIAL"},
	{PhaseRequesting, "REQUESTING"},
	{PhaseRequested, "REQUESTED"},
	{PhaseOffered, "OFFERED"},
	{PhaseAccepting, "ACCEPTING"},
	{PhaseAccepted, "ACCEPTED"},
	{PhaseAgreed, "AGREED"},
	{PhaseVerifying, "VERIFYING"},
	{PhaseVerified, "VERIFIED"},
	{PhaseFinalized, "FINALIZED"},
	{PhaseTerminating, "TERMINATING"},
	{PhaseTerminated, "TERMINATED"},
}

// Phases lists every phase, in the order they are shown.
func Phases() []Phase {
	l := make([]Phase, len(phases))
	for i, x := range phases {
		l[i] = x.phase
	}
	return l
}

// String returns the public name, REQUESTED.
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
	return fmt.Errorf("unknown negotiation state %q", b)
}

// Final says that the round has ended.
func (p Phase) Final() bool { return p == PhaseFinalized || p == PhaseTerminated }

// moves is the one table of allowed moves of a round: from where a phase can be reached.
var moves = map[Phase][]Phase{
	PhaseRequesting: {PhaseInitial, PhaseOffered},
	PhaseRequested:  {PhaseRequesting},
	PhaseOffered:    {PhaseInitial, PhaseRequested},
	PhaseAccepting:  {PhaseRequested, PhaseOffered},
	PhaseAccepted:   {PhaseAccepting, PhaseOffered},
	PhaseAgreed:     {PhaseAccepted, PhaseRequested},
	PhaseVerifying:  {PhaseAgreed, PhaseAccepted},
	PhaseVerified:   {PhaseVerifying},
	PhaseFinalized:  {PhaseVerified},
	PhaseTerminating: {
		PhaseInitial, PhaseRequesting, PhaseRequested, PhaseOffered, PhaseAccepting, PhaseAccepted, PhaseAgreed, PhaseVerifying, PhaseVerified,
	},
	PhaseTerminated: {
		PhaseInitial, PhaseRequesting, PhaseRequested, PhaseOffered, PhaseAccepting, PhaseAccepted, PhaseAgreed, PhaseVerifying, PhaseVerified,
		PhaseTerminating,
	},
}

// CanMove looks the table up.
func (p Phase) CanMove(to Phase) bool { return slices.Contains(moves[to], p) }

// Path is the shortest way along the table from p on to a later phase, the last of which is that phase.
// It is nil where none leads there: a report of an earlier state, or of p itself, changes nothing.
func (p Phase) Path(to Phase) []Phase {
	if to <= p {
		return nil
	}
	came := map[Phase]Phase{p: p}
	for queue := []Phase{p}; len(queue) > 0; queue = queue[1:] {
		for _, x := range phases {
			next := x.phase
			if _, seen := came[next]; seen || next < queue[0] || !queue[0].CanMove(next) {
				continue
			}
			if came[next] = queue[0]; next == to {
				return back(came, p, to)
			}
			queue = append(queue, next)
		}
	}
	return nil
}

func back(came map[Phase]Phase, from, to Phase) []Phase {
	var path []Phase
	for at := to; at != from; at = came[at] {
		path = append(path, at)
	}
	slices.Reverse(path)
	return path
}

// EDRPhase is where the EDR of an access stands.
type EDRPhase string

// The phases of an EDR.
const (
	EDRNone      EDRPhase = "NONE"
	EDRPending   EDRPhase = "REQUESTED"
	EDRValid     EDRPhase = "GRANTED"
	EDRPhaseDead EDRPhase = "DEAD"
)

// edrMoves is the one table of allowed moves of an EDR; NONE from anywhere is eviction.
var edrMoves = []struct{ from, to EDRPhase }{
	{EDRNone, EDRPending},
	{EDRPending, EDRValid},
	{EDRPending, EDRPhaseDead},
	{EDRPending, EDRNone},
	{EDRValid, EDRPending},
	{EDRValid, EDRPhaseDead},
	{EDRValid, EDRNone},
	{EDRPhaseDead, EDRPending},
	{EDRPhaseDead, EDRNone},
}

// CanMove looks the table up.
func (p EDRPhase) CanMove(to EDRPhase) bool {
	for _, m := range edrMoves {
		if m.from == p && m.to == to {
			return true
		}
	}
	return false
}

// Diagram draws both tables as a Mermaid state diagram each; states.md is made from it.
func Diagram() string {
	var b strings.Builder
	b.WriteString("## Round\n\n```mermaid\nstateDiagram-v2\n    [*] --> INITIAL\n")
	for _, from := range phases {
		for _, to := range phases {
			if from.phase.CanMove(to.phase) {
				fmt.Fprintf(&b, "    %s --> %s\n", from.phase, to.phase)
			}
		}
	}
	b.WriteString("    FINALIZED --> [*]\n    TERMINATED --> [*]\n```\n\n| state | code |\n| --- | --- |\n")
	for _, p := range phases {
		fmt.Fprintf(&b, "| %s | %d |\n", p.phase, int(p.phase))
	}
	b.WriteString("\n## EDR\n\n```mermaid\nstateDiagram-v2\n    [*] --> NONE\n")
	for _, m := range edrMoves {
		fmt.Fprintf(&b, "    %s --> %s\n", m.from, m.to)
	}
	b.WriteString("```\n")
	return b.String()
}
