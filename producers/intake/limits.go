package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/schemas"
)

// Limits bound what the intake takes in, so that a flood is answered 503 with Retry-After while
// the process, and what it has accepted, go on. Zero values take the defaults.
type Limits struct {
	// Requests is how many writes are under way at once, waiting for a decision not counted.
	Requests int
	// Bytes is how much of their bodies is held at once. What a body may have is not more.
	Bytes int64
	// Backlog is how many commands of a shard may be undecided, as far as the view tells, when another is
	// taken that begins something. What is said of what is there already is taken up to twice as many: it
	// is what lets a backlog end.
	Backlog int64
	// Live is how many jobs may be there that have not ended when another is taken.
	Live int64
}

// Defaults of Limits, in this one place.
const (
	// DefaultRequests is far more than are ever under way where Kafka answers: at 10,000 a second and 10 ms each
	// it is 100. Each holds some 30 kB besides its body.
	DefaultRequests = 1024
	// DefaultBytes is for a few of the largest bodies at once; a body is held up to three times over.
	DefaultBytes = 64 << 20
	// DefaultBacklog is what a shard decides in a few seconds at the worst, so that who is accepted is
	// decided within a timeout that people set.
	DefaultBacklog = 10_000
	// DefaultLive is twice what is measured to fit into a small machine: a waiting job takes some 2 to 15 kB
	// in its shard's owner.
	DefaultLive = 200_000
)

const (
	// smallBody is up to which size a body is covered by the number of requests.
	smallBody = 64 << 10
	// bodyPatience is how long a large body waits for room.
	bodyPatience = time.Second
	// liveFor is how long the count of jobs is good for.
	liveFor = time.Second
	// quietFor is how long nothing is logged after a line about a refusal: there are thousands in a flood.
	quietFor = 10 * time.Second
)

// withDefaults fills in what is not set; largest is the largest body there may be.
func (l Limits) withDefaults(largest int64) Limits {
	if l.Requests == 0 {
		l.Requests = DefaultRequests
	}
	if l.Bytes == 0 {
		l.Bytes = DefaultBytes
	}
	l.Bytes = max(l.Bytes, largest)
	if l.Backlog == 0 {
		l.Backlog = DefaultBacklog
	}
	if l.Live == 0 {
		l.Live = DefaultLive
	}
	return l
}

// The reasons why something is not taken now, as the metrics have them.
const (
	ReasonRequests = "requests" // too many under way
	ReasonBytes    = "bytes"    // of bodies
	ReasonBacklog  = "backlog"  // the machines, or the view, are behind
	ReasonLive     = "live"     // jobs that have not ended
	ReasonUploads  = "uploads"  // too many under way
	ReasonKafka    = "kafka"    // no acknowledgement in time
)

// Reasons lists them.
func Reasons() []string {
	return []string{ReasonRequests, ReasonBytes, ReasonBacklog, ReasonLive, ReasonUploads, ReasonKafka}
}

// busyError says that nothing was written, and when to ask again.
type busyError struct {
	reason, detail string
	after          int // seconds
}

// Error implements error.
func (e *busyError) Error() string { return e.detail }

func (e *busyError) problem() problem.Problem {
	return problem.Problem{
		Status: http.StatusServiceUnavailable, Code: problem.Busy,
		Detail: fmt.Sprintf("%s; nothing was written: ask again in %d s", e.detail, e.after),
	}
}

// gate lets requests in, up to the limits.
type gate struct {
	limits   Limits
	shards   int32
	reads    Reads
	requests chan struct{}
	bytes    *semaphore.Weighted

	mu        sync.Mutex
	published map[shard]int64 // the last offset that was published, as far as it is known here

	live   atomic.Int64
	begun  atomic.Int64 // here, since that was counted
	asked  atomic.Int64 // when that was counted, unix nanoseconds
	logged atomic.Int64 // when a refusal was
}

// shard is a partition of the commands of an aggregate type.
type shard struct {
	aggregate string
	partition int32
}

func newGate(l Limits, shards int32, reads Reads) *gate {
	return &gate{
		limits: l, shards: shards, reads: reads, requests: make(chan struct{}, l.Requests),
		bytes: semaphore.NewWeighted(l.Bytes), published: make(map[shard]int64),
	}
}

// visit is what a request holds. It is given back once, as soon as nothing but an answer is waited for.
type visit struct {
	gate  *gate
	once  sync.Once
	bytes int64
}

type visitKey struct{}

// enter lets a request in. The visit is in the context that the request goes on with.
func (g *gate) enter(r *http.Request) (*http.Request, *visit, error) {
	select {
	case g.requests <- struct{}{}:
	default:
		return r, nil, &busyError{ReasonRequests, fmt.Sprintf("%d requests are under way", g.limits.Requests), 1}
	}
	v := &visit{gate: g}
	if err := v.reserve(r); err != nil {
		v.leave()
		return r, nil, err
	}
	return r.WithContext(context.WithValue(r.Context(), visitKey{}, v)), v, nil
}

// leave gives back what a request holds before it waits for a decision.
func leave(ctx context.Context) {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		v.leave()
	}
}

func (v *visit) leave() {
	v.once.Do(func() {
		v.gate.bytes.Release(v.bytes)
		<-v.gate.requests
	})
}

// reserve makes room for the body before it is read. One whose length is not said makes room as it comes.
func (v *visit) reserve(r *http.Request) error {
	switch n := r.ContentLength; {
	case n < 0:
		r.Body = &metered{ReadCloser: r.Body, visit: v}
	case n > v.gate.limits.Bytes: // it is refused for its size
	case n > smallBody:
		ctx, cancel := context.WithTimeout(r.Context(), bodyPatience)
		defer cancel()
		if v.gate.bytes.Acquire(ctx, n) != nil {
			return v.full()
		}
		v.bytes = n
	}
	return nil
}

func (v *visit) full() error {
	return &busyError{ReasonBytes, fmt.Sprintf("the bodies of other requests hold %d bytes already", v.gate.limits.Bytes), 1}
}

// metered is a body whose length nobody has said.
type metered struct {
	io.ReadCloser
	visit *visit
	read  int64
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	if m.read+int64(len(p)) > m.visit.bytes+smallBody {
		if !m.visit.gate.bytes.TryAcquire(smallBody) {
			return 0, m.visit.full()
		}
		m.visit.bytes += smallBody
	}
	n, err := m.ReadCloser.Read(p[:min(len(p), smallBody)])
	m.read += int64(n)
	return n, err
}

// wrote notes how far a shard has come.
func (g *gate) wrote(p kafka.Position) {
	s := shard{p.Aggregate, p.Partition}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.published[s] = max(g.published[s], p.Offset)
}

// behind is how many commands of a shard are undecided, as far as is known here: what others have published
// since is found out with the next one.
func (g *gate) behind(s shard) int64 {
	g.mu.Lock()
	last, ok := g.published[s]
	g.mu.Unlock()
	if !ok {
		return 0
	}
	decided, ok := g.reads.Decided(s.aggregate, s.partition)
	if !ok {
		return 0 // nobody here can tell
	}
	return max(0, last+1-decided)
}

// Behind is the most that any shard is behind, as far as this process knows.
func (in *Intake) Behind() int64 {
	in.gate.mu.Lock()
	shards := make([]shard, 0, len(in.gate.published))
	for s := range in.gate.published {
		shards = append(shards, s)
	}
	in.gate.mu.Unlock()
	most := int64(0)
	for _, s := range shards {
		most = max(most, in.gate.behind(s))
	}
	return most
}

// begins says that a command makes something that is not there yet.
func begins(wireType string) bool {
	switch wireType {
	case schemas.OrchestrationStart, schemas.OrchestrationRerun, schemas.TransferInitiate, schemas.NegotiationAcquire:
		return true
	}
	return false
}

// admit says whether a command is taken now.
func (g *gate) admit(ctx context.Context, aggregate, wireType, key string) error {
	limit, fresh := 2*g.limits.Backlog, begins(wireType)
	if fresh {
		limit = g.limits.Backlog
	}
	if g.shards > 0 {
		s := shard{aggregate, kafka.PartitionFor([]byte(key), g.shards)}
		if n := g.behind(s); n >= limit {
			return &busyError{ReasonBacklog, fmt.Sprintf("%d commands of shard %d are not decided yet", n, s.partition), 2}
		}
	}
	if fresh && aggregate == schemas.AggregateOrchestration {
		if n := g.alive(ctx); n >= g.limits.Live {
			return &busyError{ReasonLive, fmt.Sprintf("%d jobs have not ended, and there may be %d (--max-live)", n, g.limits.Live), 5}
		}
	}
	return nil
}

// alive is how many jobs have not ended, as far as the view tells, and how many were begun here since; counted once
// a second at most, by one of those who ask.
func (g *gate) alive(ctx context.Context) int64 {
	was, now := g.asked.Load(), time.Now().UnixNano()
	if now-was >= int64(liveFor) && g.asked.CompareAndSwap(was, now) {
		begun := g.begun.Load()
		if n, err := g.reads.Live(ctx); err == nil {
			g.live.Store(n)
			g.begun.Add(-begun)
		}
	}
	return g.live.Load() + g.begun.Load()
}

// untilAdmitted is admit for one of many: it waits until there is room, a while.
func (g *gate) untilAdmitted(ctx context.Context, aggregate, wireType, key string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		err := g.admit(ctx, aggregate, wireType, key)
		if _, busy := errors.AsType[*busyError](err); !busy {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// worthALine says whether a refusal is logged: one of many.
func (g *gate) worthALine() bool {
	was, now := g.logged.Load(), time.Now().UnixNano()
	return now-was >= int64(quietFor) && g.logged.CompareAndSwap(was, now)
}
