package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
)

// Catalog is the definitions in force. It is safe for concurrent use.
type Catalog struct {
	kafka kafka.Config
	topic string

	mu       sync.RWMutex
	inForce  *definition.Catalog
	startsOf map[string]*starts // compiled on demand, dropped when a definition changes
	broken   map[string]error   // by key: what stands on the topic and cannot be read
	client   *kgo.Client        // of Run, nil before and after
	next     int64              // first offset of the topic not applied
	moved    chan struct{}      // closed when next moves
	err      error              // why reading has ended
}

// starts is what starting an orchestration type takes.
type starts struct {
	plan     *orchestration.Plan
	checker  *definition.Checker
	defaults json.RawMessage
}

// New is a catalog of what is built in; Run reads the rest.
func New(cfg kafka.Config) *Catalog {
	return &Catalog{
		kafka: cfg, topic: cfg.Topics().Definitions(), inForce: definition.NewCatalog(),
		startsOf: make(map[string]*starts), broken: make(map[string]error), moved: make(chan struct{}),
	}
}

// Run reads the topic until ctx ends, which returns nil. A broker that is away, and a right that was taken
// away, are waited for. A
// definition that this build cannot read is an error for whoever needs it, and for nobody else: to
// go on as if it were not there would refuse what is in force. A record whose key is that of no
// definition is nobody's.
func (c *Catalog) Run(ctx context.Context) error {
	cl, err := c.kafka.NewClient(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.KeepControlRecords(), // so that the end of the topic is seen for what it is
	)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.topic, err)
	}
	defer cl.Close()
	c.reads(cl)
	defer c.reads(nil)
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		fetches.EachRecord(c.apply)
		err := fetches.Err()
		packed, tooLarge := errors.AsType[*kgo.ErrDecompressTooLarge](err)
		if tooLarge {
			kafka.Pass(cl, packed)
			c.readUpTo(packed.NextOffset)
		}
		c.wake()
		if tooLarge || err == nil {
			continue
		}
		if !kafka.Passing(err) && !kafka.Denied(err) {
			return c.fail(fmt.Errorf("read %s: %w", c.topic, err))
		}
		rest(ctx)
	}
}

// breath is how long to wait after a fault before the topic is read again.
const breath = 250 * time.Millisecond

func rest(ctx context.Context) {
	timer := time.NewTimer(breath)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (c *Catalog) fail(err error) error {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.wake()
	return err
}

func (c *Catalog) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *Catalog) apply(r *kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = r.Offset + 1
	if r.Attrs.IsControl() {
		return
	}
	key := string(r.Key)
	delete(c.broken, key)
	if err := c.force(key, r.Value); err != nil {
		c.broken[key] = fmt.Errorf("%s, offset %d: %w", c.topic, r.Offset, err)
	}
	clear(c.startsOf)
}

// force puts a definition in force. A panic over it is an error like any other: it would end every process, at each
// start anew.
func (c *Catalog) force(key string, value []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("this build panics over it: %v", v)
		}
	}()
	return c.inForce.Apply(key, value)
}

// readUpTo notes that there is nothing for the catalog before an offset.
func (c *Catalog) readUpTo(next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = next
}

// reads notes the client that the topic is read with.
func (c *Catalog) reads(cl *kgo.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = cl
}

// end is where the topic ends now.
func (c *Catalog) end(ctx context.Context) (int64, error) {
	c.mu.RLock()
	cl := c.client
	c.mu.RUnlock()
	if cl == nil {
		var err error
		if cl, err = c.kafka.NewClient(); err != nil {
			return 0, err
		}
		defer cl.Close()
	}
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, c.topic)
	if err != nil {
		return 0, fmt.Errorf("find the end of %s: %w", c.topic, err)
	}
	end, ok := ends.Lookup(c.topic, 0)
	if !ok || end.Err != nil {
		return 0, fmt.Errorf("find the end of %s: %w", c.topic, end.Err)
	}
	return end.Offset, nil
}

// patience is how long a lookup waits for the catalog to catch up.
const patience = 2 * time.Second

// CatchUp waits until what was on the topic when it was called has been read, two seconds
// at most.
func (c *Catalog) CatchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end, err := c.end(ctx)
	if err != nil {
		return err
	}
	for {
		c.mu.RLock()
		next, moved, err := c.next, c.moved, c.err
		c.mu.RUnlock()
		if next >= end || err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%s has been read up to offset %d of %d: %w", c.topic, next, end, ctx.Err())
		}
	}
}

// Await waits until a version of a definition, or a later one, is in force here; version 0:
// until none is. Whoever has been told that a change was decided can then rely on it.
func (c *Catalog) Await(ctx context.Context, kind, typ string, version int) error {
	for {
		c.mu.RLock()
		now, moved, err := c.version(kind, typ), c.moved, c.err
		c.mu.RUnlock()
		if err != nil || (version == 0) == (now == 0) && now >= version {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("definition %s is in force in version %d, not %d: %w", definition.Key(kind, typ), now, version, ctx.Err())
		}
	}
}

// version is that of what is in force; 0: nothing is.
func (c *Catalog) version(kind, typ string) int {
	if kind == definition.KindOrchestration {
		o, _ := c.inForce.Orchestration(typ)
		return o.Version
	}
	a, _ := c.inForce.Activity(typ)
	return a.Version
}

// Plan implements machines.Starts.
func (c *Catalog) Plan(ctx context.Context, typ string, input json.RawMessage) (*orchestration.Plan, json.RawMessage, error) {
	s, err := c.starts(typ)
	if err == nil && s == nil {
		// It may have been put a moment ago, at another shard.
		if err := c.CatchUp(ctx); err != nil {
			return nil, nil, err
		}
		s, err = c.starts(typ)
	}
	if err != nil {
		return nil, nil, err
	}
	if s == nil {
		return nil, nil, machine.Refuse(machine.UnknownType, fmt.Sprintf("there is no orchestration type %q; there are %s", typ, c.known()))
	}
	merged, err := definition.MergeInput(s.defaults, input)
	if err != nil {
		return nil, nil, machine.Refuse(machine.Schema, "the input does not fit", machine.Problem{Path: "input", Message: err.Error()})
	}
	if problems := s.checker.Check(merged); len(problems) > 0 {
		for i := range problems {
			problems[i].Path = below("input", problems[i].Path)
		}
		return nil, nil, machine.Refuse(machine.Schema, fmt.Sprintf("the input does not fit the schema of %s", typ), problems...)
	}
	return s.plan, merged, nil
}

// below puts a path under a property.
func below(property, path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return property + path
	}
	return property + "." + path
}

// maxNamed bounds how many types an error lists.
const maxNamed = 20

func (c *Catalog) known() string {
	types := c.Types(definition.KindOrchestration)
	if len(types) > maxNamed {
		return strings.Join(types[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(types)-maxNamed)
	}
	return strings.Join(types, ", ")
}

// starts finds, and compiles at first use, what a type's starts take; nil: there is no such type.
func (c *Catalog) starts(typ string) (*starts, error) {
	c.mu.RLock()
	s := c.startsOf[typ]
	c.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.broken[definition.Key(definition.KindOrchestration, typ)]; err != nil {
		return nil, err
	}
	o, ok := c.inForce.Orchestration(typ)
	if !ok {
		return nil, nil
	}
	plan, err := orchestration.NewPlan(o)
	if err != nil {
		return nil, fmt.Errorf("definition in force: %w", err)
	}
	checker, problems := definition.NewChecker(o.Schema)
	if len(problems) > 0 {
		return nil, fmt.Errorf("schema of the definition in force of %s: %s: %s", typ, problems[0].Path, problems[0].Message)
	}
	s = &starts{plan, checker, o.Input}
	c.startsOf[typ] = s
	return s, nil
}

// Activity finds an activity type.
func (c *Catalog) Activity(activityType string) (definition.ActivityType, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.inForce.Activity(activityType)
}

// BuiltIn says that the definition with this key is built in.
func (c *Catalog) BuiltIn(key string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.inForce.BuiltIn(key)
}

// UsedBy lists the types of the orchestrations that have an activity of a type.
func (c *Catalog) UsedBy(activityType string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.inForce.UsedBy(activityType)
}

// Types lists the types of a kind that are in force, sorted.
func (c *Catalog) Types(kind string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.inForce.Types(kind))
}

// ActivityTypes lists the activity types in force, whose work topics are needed.
func (c *Catalog) ActivityTypes() []string { return c.Types(definition.KindActivity) }
