package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

const (
	sessionTimeout    = 6 * time.Second // how long a dead member's partitions stay unread
	heartbeatInterval = time.Second     // how late a member notices that the group rebalances
	rebalanceTimeout  = 10 * time.Second
	// fetchWait bounds how long a fetch waits for the first record. A partition that is
	// assigned or resumed while a fetch waits for others has to wait as well.
	fetchWait = 500 * time.Millisecond
	// farewell bounds the last commit and leaving the group, for the broker may be away.
	farewell = 2 * time.Second
	// impatience is how often to ask again for something that is not there yet.
	impatience = 250 * time.Millisecond
)

// subscription reads one topic with a client, and so a group membership, of its own.
// One goroutine polls and hands records to one goroutine per partition, which delivers
// them one at a time.
type subscription struct {
	cfg    SubscriberConfig
	topic  string
	client *kgo.Client
	out    chan *message.Message

	// ctx is the subscriber's: the messages' contexts descend from it. reading ends with
	// it, or when stop is called.
	ctx     context.Context
	reading context.Context

	assignment *assignment // nil with a group

	mu         sync.Mutex
	partitions map[int32]*partition
	had        map[int32]*had // of partitions that were lost before what was acked could be committed
	generation chan struct{}  // closed while the group is not rebalancing
	workers    sync.WaitGroup

	backlog backlog

	acks       chan struct{} // says that there is something to commit
	committing chan struct{} // held while committing, so that no older commit overtakes a newer one

	lifetime
}

func newSubscription(ctx context.Context, cfg SubscriberConfig, topic string) (*subscription, error) {
	s := &subscription{
		cfg:        cfg,
		topic:      topic,
		out:        make(chan *message.Message),
		ctx:        ctx,
		partitions: make(map[int32]*partition),
		had:        make(map[int32]*had),
		generation: make(chan struct{}),
		backlog:    newBacklog(),
		acks:       make(chan struct{}, 1),
		committing: make(chan struct{}, 1),
		lifetime:   lifetime{done: make(chan struct{})},
	}
	opts := []kgo.Opt{
		kgo.MetadataMaxAge(cfg.Refresh),
		kgo.FetchMaxWait(fetchWait),
		// A topic that does not exist yet is asked for at this rate.
		kgo.MetadataMinAge(impatience),
		// Whatever happened to the log: to repeat is allowed, to leave out is not.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	if cfg.Group == "" {
		s.assignment = &assignment{start: cfg.Start, topic: topic, known: make(map[int32]bool)}
	} else {
		opts = append(opts, s.groupOptions()...)
	}
	client, err := cfg.Kafka.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make a client to %v: %w", cfg.Kafka.Brokers, err)
	}
	s.client = client
	s.reading, s.stop = context.WithCancel(ctx)
	return s, nil
}

func (s *subscription) groupOptions() []kgo.Opt {
	start := kgo.NewOffset().AtStart()
	if s.cfg.Start.kind == startNewest {
		start = kgo.NewOffset().AtEnd()
	}
	opts := []kgo.Opt{
		kgo.ConsumeTopics(s.topic),
		kgo.ConsumerGroup(s.cfg.Group),
		kgo.ConsumeStartOffset(start),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeatInterval),
		kgo.RebalanceTimeout(rebalanceTimeout),
		// The client's own commits in the background collide with its rebalances, and it
		// then stands still; ours step aside, see commits.
		kgo.DisableAutoCommit(),
		// Between a poll and the handing over of its records no partition may be taken
		// away, or records would be delivered here after another member got them.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
	}
	if s.cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(s.cfg.InstanceID+"-"+s.topic))
	}
	return opts
}

// locate fixes where a subscription without a group begins.
func (s *subscription) locate() error {
	if s.assignment == nil {
		return nil
	}
	found, err := s.assignment.first(s.reading, s.client)
	if err != nil {
		return err
	}
	s.assign(found)
	return nil
}

func (s *subscription) assign(found map[int32]kgo.Offset) {
	if len(found) > 0 {
		s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: found})
	}
}

// run reads until it is stopped and then ends the subscription in order.
func (s *subscription) run(ctx context.Context) {
	var background sync.WaitGroup
	if s.assignment != nil {
		background.Go(s.discover)
	} else {
		background.Go(s.commits)
	}
	s.poll()
	background.Wait()
	s.err = s.end(ctx)
	close(s.out)
}

// poll hands records to their partitions. It waits a little for readers that are quick,
// and for no others.
func (s *subscription) poll() {
	for {
		if !s.backlog.wait(s.reading) {
			s.pauseSlow()
		}
		fetches := s.client.PollFetches(s.reading)
		if s.reading.Err() != nil || fetches.IsClientClosed() {
			s.client.AllowRebalance()
			return
		}
		failed := false
		fetches.EachError(func(topic string, p int32, err error) {
			if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](err); ok {
				s.pass(packed)
				return
			}
			failed = true
			if topic == "" {
				p = -1 // it is the group's, or the client's
			}
			s.report("read", p, -1, err)
		})
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) > 0 {
				p := s.partition(f.Partition)
				p.known = true
				p.push(f.Records)
			}
		})
		s.client.AllowRebalance()
		if failed {
			// Some errors stay until somebody mends the cluster and are returned at once each time.
			pause(s.reading, impatience)
		}
	}
}

// pauseSlow stops fetching the partitions that take more than their share of the backlog.
func (s *subscription) pauseSlow() {
	ps := s.all()
	share := load{maxBacklogRecords / max(1, len(ps)), maxBacklogBytes / max(1, len(ps))}
	for _, p := range ps {
		p.pauseAbove(share)
	}
}

// discover assigns the partitions that are created while the subscription runs.
func (s *subscription) discover() {
	for {
		wait := s.cfg.Refresh
		if len(s.assignment.known) == 0 {
			wait = min(wait, impatience)
		}
		if !pause(s.reading, wait) {
			return
		}
		found, err := s.assignment.more(s.reading, s.client)
		if err != nil && s.reading.Err() == nil {
			s.report("look for new partitions", -1, -1, err)
		}
		s.assign(found)
	}
}

func (s *subscription) partition(id int32) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.partitions[id]
	if !ok {
		p = newPartition(s, id, s.had[id])
		delete(s.had, id)
		s.partitions[id] = p
		s.workers.Go(p.run)
	}
	return p
}

// assigned begins a generation of the group.
func (s *subscription) assigned(context.Context, *kgo.Client, map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rebalancing() {
		close(s.generation)
	}
}

// revoked ends a generation, even if all partitions stay. The group waits meanwhile: what
// was delivered from a partition that moves may still be acked, then the positions are
// committed, so that the next owner repeats nothing.
func (s *subscription) revoked(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.rebalance()
	released := s.release(gone, s.cfg.Drain)
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	err := context.DeadlineExceeded // of another commit that takes too long
	if s.beginCommit(ctx) {
		err = s.commitAlone(ctx, append(released, s.all()...))
		s.endCommit()
	}
	if err != nil {
		s.report("commit before a rebalance", -1, -1, err)
	}
	s.remember(released)
}

// lost runs when another member may have the partitions already: every Ack from now on
// comes too late. A commit that is under way is waited for, or it would meet the next generation.
func (s *subscription) lost(ctx context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.rebalance()
	released := s.release(gone, 0)
	if s.beginCommit(ctx) {
		s.endCommit()
	}
	s.remember(released)
}

// rebalance says that a generation has ended. Commits do not begin from now on.
func (s *subscription) rebalance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.rebalancing() {
		s.generation = make(chan struct{})
	}
}

func (s *subscription) isRebalancing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rebalancing()
}

func (s *subscription) rebalancing() bool {
	select {
	case <-s.generation:
		return false
	default:
		return true
	}
}

// settled waits for a generation of the group; false if ctx ended first.
func (s *subscription) settled(ctx context.Context) bool {
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	select {
	case <-generation:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *subscription) remember(released []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range released {
		if h := p.uncommitted(); h != nil {
			s.had[p.id] = h
		}
	}
}

// release ends the delivery of partitions. They may come back later, so the client must
// not go on believing that they are paused.
func (s *subscription) release(gone map[string][]int32, drain time.Duration) []*partition {
	var ps []*partition
	s.mu.Lock()
	for _, id := range gone[s.topic] {
		if p, ok := s.partitions[id]; ok {
			ps = append(ps, p)
			delete(s.partitions, id)
		}
	}
	s.mu.Unlock()
	finish(ps, drain)
	s.client.ResumeFetchPartitions(gone)
	return ps
}

func (s *subscription) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := make([]*partition, 0, len(s.partitions))
	for _, p := range s.partitions {
		ps = append(ps, p)
	}
	return ps
}

// end drains all partitions, commits and leaves the group.
func (s *subscription) end(ctx context.Context) error {
	s.stop()
	ps := s.all()
	s.mu.Lock()
	clear(s.partitions)
	s.mu.Unlock()
	drain := s.cfg.Drain
	if s.assignment != nil {
		drain = 0 // nothing is committed, so an Ack would change nothing
	}
	finish(ps, drain)
	err := s.leave(ctx, ps)
	s.workers.Wait()
	return err
}

// leave commits for the last time, leaves the group and closes the client.
func (s *subscription) leave(ctx context.Context, ps []*partition) error {
	defer kafka.Close(s.client)
	if s.assignment != nil {
		return nil
	}
	// The context may have ended long ago: that is often why we are here.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	var errs []error
	if err := s.commit(ctx, ps); err != nil {
		errs = append(errs, fmt.Errorf("commit the last positions in topic %q of group %q: %w", s.topic, s.cfg.Group, err))
	}
	// Closing the client leaves the group as well, but waits for an absent broker.
	if err := s.client.LeaveGroupContext(ctx); err != nil {
		errs = append(errs, fmt.Errorf("leave group %q, which was reading topic %q: %w", s.cfg.Group, s.topic, err))
	}
	return errors.Join(errs...)
}

func (s *subscription) report(doing string, partition int32, offset int64, err error) {
	s.cfg.OnError(&SubscriptionError{
		Topic: s.topic, Group: s.cfg.Group, Partition: partition, Offset: offset, Doing: doing, Err: err,
	})
}

// pause waits for d; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
