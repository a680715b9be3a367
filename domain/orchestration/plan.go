package orchestration

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// Plan is a compiled definition: what an orchestration runs by. It never changes, so
// all orchestrations of one version share it. Safe for concurrent use.
type Plan struct {
	def        definition.Orchestration
	raw        json.RawMessage
	index      map[string]int32
	dependents [][]int32            // by activity: who waits for it
	waits      []int32              // by activity: how many it waits for
	late       []bool               // by activity: is an aggregation, or comes after one
	aggregates bool                 // has an activity of type aggregate
	contracts  map[string]*contract // by activity type, of those that have any
	checked    bool                 // something can be wrong with what an activity is handed
	spawned    spawnedContracts
}

// AggregateType is the activity type that joins what was retrieved. Once everything but
// aggregations, and what comes after them, has ended, the orchestration is TRANSFERS_FINISHED.
const AggregateType = "aggregate"

// NewPlan compiles a definition that has passed definition.Validate. It refuses what it
// could not run: duplicate ids, unknown dependencies, cycles.
func NewPlan(def definition.Orchestration) (*Plan, error) {
	raw, err := json.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("definition %s: %w", def.Type, err)
	}
	n := len(def.Activities)
	if n > math.MaxInt32 {
		return nil, fmt.Errorf("definition %s: %d activities", def.Type, n)
	}
	p := &Plan{
		def: def, raw: raw, index: make(map[string]int32, n),
		dependents: make([][]int32, n), waits: make([]int32, n), late: make([]bool, n),
	}
	for i := range def.Activities {
		a := &def.Activities[i]
		if _, ok := p.index[a.ID]; ok {
			return nil, fmt.Errorf("definition %s: activity %q is there twice", def.Type, a.ID)
		}
		p.index[a.ID] = int32(i) // bounded above
		p.late[i] = a.Type == AggregateType
		p.aggregates = p.aggregates || p.late[i]
	}
	for i := range def.Activities {
		for _, d := range def.Activities[i].DependsOn {
			j, ok := p.index[d]
			if !ok {
				return nil, fmt.Errorf("definition %s: activity %q depends on %q, which is not there", def.Type, def.Activities[i].ID, d)
			}
			if l := p.dependents[j]; len(l) > 0 && l[len(l)-1] == int32(i) { // bounded above
				continue // named twice
			}
			p.dependents[j] = append(p.dependents[j], int32(i)) // bounded above
			p.waits[i]++
		}
	}
	if err := p.sort(); err != nil {
		return nil, err
	}
	p.checked = checks(&def)
	for typ, c := range def.Contracts {
		if p.contracts == nil {
			p.contracts = make(map[string]*contract, len(def.Contracts))
		}
		p.contracts[typ] = &contract{typ: typ, def: c}
	}
	return p, nil
}

// sort goes through the activities in an order in which each comes after those it depends
// on, and marks what comes after an aggregation. Where there is no such order it says so.
func (p *Plan) sort() error {
	waits := append([]int32(nil), p.waits...)
	var queue []int32
	for i, w := range waits {
		if w == 0 {
			queue = append(queue, int32(i)) // bounded by NewPlan
		}
	}
	seen := 0
	for ; len(queue) > 0; seen++ {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, d := range p.dependents[i] {
			p.late[d] = p.late[d] || p.late[i]
			if waits[d]--; waits[d] == 0 {
				queue = append(queue, d)
			}
		}
	}
	if seen < len(waits) {
		return fmt.Errorf("definition %s: its dependencies go in a circle", p.def.Type)
	}
	return nil
}

// Definition is the definition the plan was made from. The caller must not change it.
func (p *Plan) Definition() *definition.Orchestration { return &p.def }

// MarshalJSON writes the definition.
func (p *Plan) MarshalJSON() ([]byte, error) { return p.raw, nil }

// UnmarshalJSON compiles a definition. Whoever decodes many starts shares the plans of
// equal ones instead.
func (p *Plan) UnmarshalJSON(b []byte) error {
	var def definition.Orchestration
	if err := json.Unmarshal(b, &def); err != nil {
		return err
	}
	q, err := NewPlan(def)
	if err != nil {
		return err
	}
	p.def, p.raw, p.index, p.dependents, p.waits = q.def, q.raw, q.index, q.dependents, q.waits
	p.late, p.aggregates, p.contracts, p.checked = q.late, q.aggregates, q.contracts, q.checked
	return nil
}

// Defaults of an orchestration and its activities, in this one place.
const (
	DefaultDeadline         = 30 * 24 * time.Hour // an orchestration always ends
	DefaultActivityDeadline = 7 * 24 * time.Hour  // long enough for a person to answer
	DefaultAttemptTimeout   = time.Hour           // heartbeats find the dead sooner
	DefaultHeartbeatTimeout = 10 * time.Second    // architecture: Work
	DefaultRetryLimit       = 5
	DefaultBaseDelay        = time.Second
	DefaultMaxDelay         = time.Minute
	DefaultMaxNodes         = 100_000
	DefaultMaxDepth         = 100
	DefaultMaxOutputBytes   = 256 << 10
	// DefaultKeepBlobs is how long what an ended orchestration left among the blobs can be read.
	DefaultKeepBlobs = 7 * 24 * time.Hour
	// MaxOutputBytes bounds the output of an orchestration, which has to fit into the record
	// of its end and into its completion.
	MaxOutputBytes = 1 << 20
	// maxRawOutputBytes is up to where it is put together at all: it may have spaces to lose.
	maxRawOutputBytes = 4 * MaxOutputBytes
	// MaxInputBytes bounds what the templates and mappings of an activity put together. The
	// outputs of the largest tree there may be, each a short text, fit in, and so do some
	// hundred of the largest.
	MaxInputBytes = 128 << 20
	// maxFailures and the bounds of their texts keep a list of failures to less than 300 KiB.
	maxFailures     = 100
	maxMessageBytes = 2 << 10
	maxNameBytes    = 256
)

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (p *Plan) maxNodes() int { return orElse(p.def.Limits.Nodes, DefaultMaxNodes) }
func (p *Plan) maxDepth() int { return orElse(p.def.Limits.Depth, DefaultMaxDepth) }

// oversize says that an output is over the limit: in a record it is bounded in any case, with
// what is kept elsewhere only where the definition says so.
func (p *Plan) oversize(output []byte) *Fault {
	size, most := int64(len(output)), int64(DefaultMaxOutputBytes)
	if p.def.Limits.OutputBytes > 0 {
		size, most = blob.Size(output), int64(p.def.Limits.OutputBytes)
	}
	if size <= most {
		return nil
	}
	return &Fault{Step: stepOutput, Message: fmt.Sprintf("the output has %d bytes, over the limit outputBytes of %d", size, most)}
}

func heartbeatTimeout(a *definition.Activity) time.Duration {
	return orElse(time.Duration(a.HeartbeatTimeout), DefaultHeartbeatTimeout)
}

func attemptTimeout(a *definition.Activity) time.Duration {
	return orElse(time.Duration(a.AttemptTimeout), DefaultAttemptTimeout)
}

func retryLimit(a *definition.Activity) int {
	if a.Retry == nil || a.Retry.Limit == nil {
		return DefaultRetryLimit
	}
	return *a.Retry.Limit
}

// backoff is how long the n-th failure of an activity waits.
func backoff(a *definition.Activity, workID string, n int) time.Duration {
	base, most := DefaultBaseDelay, DefaultMaxDelay
	if a.Retry != nil {
		base = orElse(time.Duration(a.Retry.BaseDelay), base)
		most = orElse(time.Duration(a.Retry.MaxDelay), max(most, base))
	}
	return machine.Backoff(base, most, workID, n)
}

// collected says whether a mapping's source is the list of an activity's subtree, and of which.
func collected(source string) (string, bool) { return strings.CutSuffix(source, ".**") }
