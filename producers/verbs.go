package producers

import (
	"slices"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// Verb is something that operators may say of a job, or of one of its nodes. The HTTP
// interface and the command line are made from the lists of them.
type Verb struct {
	Name    string   // in addresses, and on the command line
	Type    string   // wire name of the command
	Does    string   // what it is for, in a line
	Done    string   // what has become of the job, or of the node: cancelled
	Members []string // what the command takes besides reason and by
	// Applies says whether jobs of that state take it: in bulk the others are left out.
	Applies func(orchestration.Phase) bool // nil for those that are never said in bulk
}

// JobVerbs lists what may be said of a job.
func JobVerbs() []Verb {
	return []Verb{
		{
			Name: "cancel", Type: schemas.OrchestrationCancel, Done: "cancelled",
			Does: "End a job that nobody wants any more", Applies: func(p orchestration.Phase) bool {
				return running(p) && p != orchestration.PhaseCompensating && p != orchestration.PhaseCancelling
			},
		},
		{
			Name: "pause", Type: schemas.OrchestrationPause, Done: "paused",
			Does: "Ask for nothing new; what is under way goes on", Applies: func(p orchestration.Phase) bool { return p.CanMove(orchestration.PhasePaused) },
		},
		{
			Name: "resume", Type: schemas.OrchestrationResume, Done: "resumed",
			Does: "Let what is paused go on", Applies: func(p orchestration.Phase) bool { return p == orchestration.PhasePaused },
		},
		{
			Name: "rerun", Type: schemas.OrchestrationRerun, Done: "run again", Members: []string{"from"},
			Does: "Run a job that has ended again: what failed, or from some nodes on", Applies: func(p orchestration.Phase) bool {
				return p == orchestration.PhaseError || p == orchestration.PhaseCancelled
			},
		},
		{
			Name: "dispose", Type: schemas.OrchestrationDispose, Done: "disposed of",
			Does: "Undo what a job that has ended has deployed", Applies: orchestration.Phase.Final,
		},
	}
}

// NodeVerbs lists what may be said of a node of a job.
func NodeVerbs() []Verb {
	return []Verb{
		{Name: "retry", Type: schemas.ActivityRetry, Done: "asked for again", Does: "Ask for a node's next attempt at once", Applies: running},
		{Name: "skip", Type: schemas.ActivitySkip, Done: "skipped", Does: "Go on without a node, with an output in its place", Members: []string{"output"}, Applies: running},
		{Name: "complete", Type: schemas.ActivityComplete, Done: "completed", Does: "Complete a node in its agent's place", Members: []string{"output"}, Applies: running},
		{Name: "fail", Type: schemas.ActivityFail, Done: "failed", Does: "Fail a node in its agent's place", Members: []string{"error"}, Applies: running},
		{Name: "pause", Type: schemas.ActivityPause, Done: "paused", Does: "Ask for no further attempt at a node", Applies: running},
		{Name: "resume", Type: schemas.ActivityResume, Done: "resumed", Does: "Let a paused node go on", Applies: running},
	}
}

// TransferVerbs lists what may be said of a transfer.
func TransferVerbs() []Verb {
	return []Verb{
		{Name: "suspend", Type: schemas.TransferSuspend, Done: "suspended", Does: "Hold a transfer that is under way"},
		{Name: "resume", Type: schemas.TransferResume, Done: "resumed", Does: "Let a suspended transfer go on"},
		{Name: "terminate", Type: schemas.TransferTerminate, Done: "terminated", Does: "End a transfer that nobody wants any more"},
		{Name: "deprovision", Type: schemas.TransferDeprovision, Done: "deprovisioned", Does: "Undo once more what was provisioned for a transfer that is over"},
	}
}

// FindVerb finds a verb by its name.
func FindVerb(verbs []Verb, name string) (Verb, bool) {
	i := slices.IndexFunc(verbs, func(v Verb) bool { return v.Name == name })
	if i < 0 {
		return Verb{}, false
	}
	return verbs[i], true
}

func running(p orchestration.Phase) bool { return p != orchestration.PhaseInitial && !p.Final() }

// States are those of the jobs that take the verb.
func (v Verb) States() []orchestration.Phase {
	var l []orchestration.Phase
	for _, p := range orchestration.Phases() {
		if v.Applies(p) {
			l = append(l, p)
		}
	}
	return l
}

// KeyedID derives the ID of a command that may be meant twice from an idempotency key, so
// that saying it again under the same key is the same command. about is the job, and the
// node where it is about one.
func KeyedID(typ, job, node, key string) string {
	about := job
	if node != "" {
		about += "/" + node // no id has a slash
	}
	return machine.ID("command", typ, about, "idempotency-key", key)
}
