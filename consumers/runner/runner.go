package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// Config says what a Runner runs and where.
type Config struct {
	Kafka  kafka.Config
	Shards int32 // partitions of the sharded topics; 0: DefaultShards
	// Member is the identity of this process. It is kept over a restart, so that the group
	// gives the shards back at once.
	Member   string
	Machines []Binding
	Local    Local // agents of this process; may be nil
	Logger   *slog.Logger
	// Remember is for how long the IDs of answered commands are kept; 0: 7 days.
	Remember time.Duration
	// MaxLive is how many aggregates of a type may not have ended in a shard when another is begun from
	// outside (Machine.Begins); 0: any number.
	MaxLive int
	// SessionTimeout is after how long the group gives up a silent member; 0: 6 s. A shard that
	// was lost is taken again no sooner.
	SessionTimeout time.Duration
	// Recent is how many ended aggregates of each type stay in memory in each shard; 0: 2000.
	Recent int
	// Checkpoint is after how many bytes of events of a type and a shard another checkpoint is made; 0: 4 MiB.
	Checkpoint int64
	// KeepHistory is for how long the log keeps what has ended; 0: for ever.
	KeepHistory time.Duration

	archive    *archive
	workTopics *workTopics
	lag        *lag
	suspects   *suspects
	replays    chan struct{}                 // holds those that are under way
	restored   func(context.Context, *shard) // tests look at what a taking has made of the log
	told       *kafka.Told
	verdicts   *verdicts
	started    time.Time // the process; what its agents claimed before then is nobody's
}

const (
	defaultRemember = 7 * 24 * time.Hour
	// DefaultSessionTimeout is Config.SessionTimeout unless set.
	DefaultSessionTimeout = 6 * time.Second
	rebalanceTimeout      = 10 * time.Second
	// heartbeats is how many there are to a session: a member learns by one that the group rebalances, and
	// the others wait for it, with the shards that are to be taken.
	heartbeats = 6
	// maxReplays is how many shards are read back at the same time at most: all at once they
	// would take their memory at once, and be no sooner done where there are fewer cores.
	maxReplays = 4
)

// Runner owns the shards that the group gives to this process. Make one with New, start
// it with Run, once.
type Runner struct {
	cfg   Config
	group *kgo.Client
	told  kafka.Told

	mu      sync.Mutex
	owned   map[int32]*tenure
	states  map[int32]string   // why a shard that should be ours is not ready; empty: it is
	unwell  map[int32][]string // what is set aside in a shard that goes on
	joined  bool               // the group counts this process in
	adrift  bool               // it does not, and the shards from before are still held
	trouble error              // what keeps it from that, or did
}

// tenure is the goroutine that holds a shard.
type tenure struct {
	cancel context.CancelFunc
	done   chan struct{}
	again  chan struct{} // the group has given it anew: what waits to take it need not wait
}

// New checks the configuration. It connects to nothing.
func New(cfg Config) (*Runner, error) {
	switch {
	case len(cfg.Kafka.Brokers) == 0:
		return nil, errors.New("runner: no brokers")
	case cfg.Member == "":
		return nil, errors.New("runner: no member id")
	case len(cfg.Machines) == 0:
		return nil, errors.New("runner: no machines")
	}
	if cfg.Shards == 0 {
		cfg.Shards = kafka.DefaultShards
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Remember == 0 {
		cfg.Remember = defaultRemember
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = DefaultSessionTimeout
	}
	if cfg.Checkpoint == 0 {
		cfg.Checkpoint = defaultCheckpoint
	}
	if cfg.Recent == 0 {
		cfg.Recent = defaultRecent
	}
	cfg.archive = &archive{cfg: cfg.Kafka}
	cfg.workTopics = newWorkTopics()
	cfg.lag, cfg.suspects, cfg.told, cfg.verdicts, cfg.started = &lag{}, &suspects{}, &kafka.Told{}, &verdicts{}, time.Now()
	cfg.replays = make(chan struct{}, min(max(runtime.GOMAXPROCS(0), 2), maxReplays))
	return &Runner{cfg: cfg, owned: make(map[int32]*tenure), states: make(map[int32]string), unwell: make(map[int32][]string)}, nil
}

// Aggregates lists the aggregate types, whose topics must exist before Run.
func (r *Runner) Aggregates() []string {
	var names []string
	for _, m := range r.cfg.Machines {
		names = append(names, m.name())
	}
	return names
}

// Run joins the group and runs the shards it is given until ctx ends; then it finishes
// the transactions that were begun, leaves the group, and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	// The callbacks come from the client's goroutine, one after the other.
	shards, stopShards := context.WithCancel(ctx)
	defer stopShards()
	topic := r.cfg.Kafka.Topics().Shards()
	cl, err := r.cfg.Kafka.NewClient(
		kgo.ConsumerGroup(topic),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(claiming{kgo.CooperativeStickyBalancer(), topic, r.holding}),
		kgo.InstanceID(r.cfg.Member),
		kgo.SessionTimeout(r.cfg.SessionTimeout),
		kgo.HeartbeatInterval(r.cfg.SessionTimeout/heartbeats),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.RetryTimeoutFn(retryFor(r.cfg.SessionTimeout)),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, m map[string][]int32) {
			r.setGroup(cl)
			if r.assigned(shards, m[topic]) {
				cl.ForceRebalance()
			}
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { r.revoked(m[topic]) }),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) { r.lost() }),
	)
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	r.setGroup(cl)
	defer cl.Close()
	defer r.cfg.archive.close()
	var showing sync.WaitGroup
	showing.Go(func() { r.cfg.lag.show(ctx, r.cfg.Kafka, cl) })
	defer showing.Wait()
	for ctx.Err() == nil {
		r.tell(ctx, cl.PollFetches(ctx).Errors())
	}
	r.revoked(r.holding())
	r.leave(ctx, cl)
	return nil
}

// impatience is how long the next look at the group waits after an error: some stay until
// somebody mends the cluster, and are there again at once.
const impatience = time.Second

// tell says what is wrong with the group. The client goes on by itself.
func (r *Runner) tell(ctx context.Context, errs []kgo.FetchError) {
	if len(errs) == 0 || ctx.Err() != nil {
		return
	}
	for _, e := range errs {
		err := kafka.Explain(e.Err)
		r.mu.Lock()
		r.trouble = err
		r.mu.Unlock()
		if r.told.Again(e.Err) {
			continue
		}
		r.cfg.Logger.Warn("shard group", "topic", e.Topic, "partition", e.Partition, "err", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(impatience):
	}
}

// leave tells the group, so that the others need not wait for the session to run out: a
// static member's client does not do that by itself.
func (r *Runner) leave(ctx context.Context, cl *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	leave := kadm.LeaveGroup(r.cfg.Kafka.Topics().Shards()).InstanceIDs(r.cfg.Member).Reason("stopping")
	if _, err := kadm.NewClient(cl).LeaveGroup(ctx, leave); err != nil {
		r.cfg.Logger.Info("could not leave the shard group; its session runs out by itself", "err", err)
	}
}

func (r *Runner) setGroup(cl *kgo.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.group = cl
}

func (r *Runner) holding() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := make([]int32, 0, len(r.owned))
	for s := range r.owned {
		l = append(l, s)
	}
	slices.Sort(l)
	return l
}

// assigned begins to hold shards. After the group had lost this process, it is told all that is its own, and
// lets go of what others are to have. Then the group has to be told: the client has forgotten that this process
// held it, and the others wait.
func (r *Runner) assigned(ctx context.Context, shards []int32) (released bool) {
	r.mu.Lock()
	adrift := r.adrift
	r.joined, r.adrift, r.trouble = true, false, nil
	for _, s := range shards {
		if t, ok := r.owned[s]; ok {
			select {
			case t.again <- struct{}{}:
			default:
			}
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		t := &tenure{cancel, make(chan struct{}), make(chan struct{}, 1)}
		r.owned[s] = t
		r.states[s] = "being taken"
		go func() {
			defer close(t.done)
			r.hold(ctx, s, t.again)
		}()
	}
	r.mu.Unlock()
	if !adrift {
		return false
	}
	others := slices.DeleteFunc(r.holding(), func(s int32) bool { return slices.Contains(shards, s) })
	r.revoked(others)
	return len(others) > 0
}

// revoked lets go of shards: it returns when what was begun there is finished.
func (r *Runner) revoked(shards []int32) {
	var waits []*tenure
	r.mu.Lock()
	for _, s := range shards {
		if t, ok := r.owned[s]; ok {
			t.cancel()
			waits = append(waits, t)
			delete(r.owned, s)
			delete(r.states, s)
			delete(r.unwell, s)
		}
	}
	r.mu.Unlock()
	for _, t := range waits {
		<-t.done
	}
}

// lost notes that the group does not count this process in any more. Its shards are held until the
// group says whose they are: most often its coordinator has gone, and nobody else has been given
// them. Who has fences this process, which then asks the group before it takes one again.
func (r *Runner) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined, r.adrift = false, true
}

// hold takes a shard and, whenever it is dropped, takes it again if the group still says so, and
// one session timeout later where another may have it: two members that fence each other end with
// one owner.
func (r *Runner) hold(ctx context.Context, s int32, again <-chan struct{}) {
	failures := 0       // for reasons of its own
	ours := false       // nobody else was fighting for it when it was dropped
	var told kafka.Told // a broker that is away is met at every try
	for ctx.Err() == nil {
		began := time.Now()
		sh, err := r.once(ctx, s)
		select {
		case <-again: // that was before it was dropped
		default:
		}
		if ctx.Err() != nil {
			if err != nil { // of a process that was away, say: it learns of both at once
				r.cfg.Logger.Info("shard dropped, and not ours any more", "shard", s, "err", err)
			}
			return
		}
		if err == nil {
			continue
		}
		err = kafka.Explain(err)
		r.note(ctx, s, err.Error())
		switch {
		case !own(err):
			failures = 0
		case time.Since(began) > 2*longestRest:
			failures = 1
		default:
			failures++
		}
		pause := r.rest(err, failures)
		if _, ok := errors.AsType[*unassignedError](err); ok {
			pause = confirmInterval // nothing was taken, so there is nobody to fight with
		} else if _, ok := errors.AsType[*hangingError](err); ok {
			pause, ours = 0, true
			r.cfg.Logger.Warn("shard dropped, and taken again", "shard", s, "err", err)
		} else {
			if !own(err) && (ours || !r.contended(sh)) {
				pause = min(pause, impatience)
				if sh != nil && !sh.since.IsZero() { // tried again for the first time
					pause = min(pause, confirmInterval)
				}
			}
			ours = false
			r.cfg.workTopics.forget()
			if !told.Again(err) {
				r.cfg.Logger.Warn("shard dropped", "shard", s, "err", err, "again", pause, stackOf(err))
			}
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-time.After(pause):
		}
	}
}

// contended says that another member may be fighting for a shard that was dropped: each fences the
// other, so it has to be left alone for a session timeout. It is not where this process never had it,
// or had it for longer than that: then a broker was away, and waiting would only add to it.
func (r *Runner) contended(sh *shard) bool {
	return sh != nil && !sh.since.IsZero() && time.Since(sh.since) < r.cfg.SessionTimeout
}

// confirmInterval is how soon the group is asked again whether a shard is ours: it does not
// say while it is being rebalanced.
const confirmInterval = 200 * time.Millisecond

// unassignedError is a shard that the group does not give to this process, or does not
// yet say so.
type unassignedError struct {
	shard int32
	state string // of the group
}

func (e *unassignedError) Error() string {
	return fmt.Sprintf("the group does not say (any more, or yet) that shard %d is ours; it is %s", e.shard, e.state)
}

// once takes a shard and holds it until it is dropped. The shard it answers with was tried for; none
// was where the group does not give it to this process.
func (r *Runner) once(ctx context.Context, s int32) (*shard, error) {
	if err := r.confirm(ctx, s); err != nil {
		return nil, err
	}
	began := time.Now()
	sh := &shard{id: s, cfg: &r.cfg, topics: r.cfg.Kafka.Topics(), byName: make(map[string]cell)}
	sh.unwell = func(why string) { r.aside(ctx, s, why) }
	sh.ready = func() {
		r.cfg.Logger.Info("shard taken", "shard", s, "took", time.Since(began).Round(time.Millisecond), "from", sh.origin())
		r.note(ctx, s, "")
	}
	return sh, sh.own(ctx)
}

// confirm looks once more whether the group says that the shard is ours: a member that
// was away may be the last to know.
func (r *Runner) confirm(ctx context.Context, s int32) error {
	r.mu.Lock()
	cl := r.group
	r.mu.Unlock()
	topic := r.cfg.Kafka.Topics().Shards()
	groups, err := kadm.NewClient(cl).DescribeGroups(ctx, topic)
	if err != nil {
		return fmt.Errorf("describe group %s: %w", topic, err)
	}
	g := groups[topic]
	if g.Err != nil {
		return fmt.Errorf("describe group %s: %w", topic, g.Err)
	}
	me, _ := cl.GroupMetadata()
	for _, m := range g.Members {
		if m.MemberID != me {
			continue
		}
		a, ok := m.Assigned.AsConsumer()
		if !ok {
			break
		}
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				if t.Topic == topic && p == s {
					return nil
				}
			}
		}
	}
	return &unassignedError{s, g.State}
}

func (r *Runner) note(ctx context.Context, s int32, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.owned[s]; ok && ctx.Err() == nil {
		r.states[s] = why
		delete(r.unwell, s)
	}
}

// maxUnwell bounds what readiness lists of a shard.
const maxUnwell = 10

// aside notes what a shard goes on without.
func (r *Runner) aside(ctx context.Context, s int32, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.owned[s]; ok && ctx.Err() == nil && len(r.unwell[s]) < maxUnwell {
		r.unwell[s] = append(r.unwell[s], why)
	}
}

// Ready is nil when the group has been joined and every shard it gave to this process
// is being decided, all of it; else the error names what is missing. Safe for concurrent use.
func (r *Runner) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.joined && r.trouble != nil {
		return fmt.Errorf("the shard group has not been joined: %w", r.trouble)
	}
	if !r.joined {
		return errors.New("the shard group has not been joined, or it has given this process up")
	}
	var missing []string
	for s, why := range r.states {
		if why != "" {
			missing = append(missing, fmt.Sprintf("shard %d: %s", s, why))
		}
	}
	for s, l := range r.unwell {
		for _, why := range l {
			missing = append(missing, fmt.Sprintf("shard %d: %s", s, why))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	sort.Strings(missing)
	return errors.New(strings.Join(missing, "; "))
}

// Owned lists the shards that this process decides right now. Safe for concurrent use.
func (r *Runner) Owned() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l []int32
	for s := range r.owned {
		if r.states[s] == "" {
			l = append(l, s)
		}
	}
	sort.Slice(l, func(i, j int) bool { return l[i] < l[j] })
	return l
}
