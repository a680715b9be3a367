package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/kafka"
)

// ShareSubscriberConfig says what a ShareSubscriber reads and how. Kafka and Group are needed.
type ShareSubscriberConfig struct {
	Kafka kafka.Config
	// Group is the share group that the subscriptions join.
	Group string
	// Wanted is called before each fetch and returns when another message is wanted; an
	// error ends the subscription. Nothing is taken from the broker before that, so that
	// it goes to a member that has its hands free. Without it, there is always one wanted.
	Wanted func(ctx context.Context) error
	// Unmarshaler makes messages of records; Headers unless set.
	Unmarshaler Unmarshaler
	// Backoff is how long to wait before something is taken again after messages that were
	// nacked, given how many there were in a row (from 1); 10 ms doubling up to 1 s unless set.
	Backoff func(nacks int) time.Duration
	// Refresh is how often to look for new partitions; 10 s unless set.
	Refresh time.Duration
	// OnError is told what goes wrong in a subscription that keeps trying. It is called
	// concurrently and must not block.
	OnError func(*SubscriptionError)
}

// ShareSubscriber is a message.Subscriber that is a member of a share group: the broker
// hands each record to whichever member asks for one, so there may be more members than
// partitions, and a slow member holds back nobody. It is safe for concurrent use.
//
// A subscription has one message out at a time. An Ack accepts the record; a Nack gives it
// back, to any member. The broker waits for the Ack no longer than its acquisition lock
// (30 s unless configured) and drops what came back five times: a handler should Ack
// early, and have another way to find what it lost. There is no order. In place of a batch that nobody can unpack comes
// one message that says so (HeaderUnpackable).
type ShareSubscriber struct {
	cfg  ShareSubscriberConfig
	open open[*shareSubscription]
}

var _ message.Subscriber = (*ShareSubscriber)(nil)

// NewShareSubscriber makes a ShareSubscriber. It connects to nothing yet.
func NewShareSubscriber(cfg ShareSubscriberConfig) (*ShareSubscriber, error) {
	if cfg.Group == "" {
		return nil, errors.New("a share subscriber needs a group")
	}
	if cfg.Wanted == nil {
		cfg.Wanted = func(ctx context.Context) error { return ctx.Err() }
	}
	if cfg.Unmarshaler == nil {
		cfg.Unmarshaler = Headers{}
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = defaultRefresh
	}
	if cfg.OnError == nil {
		cfg.OnError = func(*SubscriptionError) {}
	}
	return &ShareSubscriber{cfg: cfg}, nil
}

// shareFetchVersion is the first version of ShareFetch that takes no more records than it
// was asked for (Kafka 4.2).
const shareFetchVersion = 2

// shareFeature is the feature that has to be switched on in a cluster that knows features.
const shareFeature = "share.version"

// NoShareGroupsError says why a cluster's share groups cannot be used.
type NoShareGroupsError struct{ Reason string }

// Error implements error.
func (e *NoShareGroupsError) Error() string { return "no share groups: " + e.Reason }

// ConfigureShareGroup configures a group as a ShareSubscriber needs it, which does so itself:
// by default a share group would hand out what is not committed, and begin at the end of
// the topic. It returns a *NoShareGroupsError where the cluster has no share groups that
// can be used. Where this client may not configure them that is an error, and no reason to join a
// consumer group: others of the type may be in the share group, and the work would be done twice.
func ConfigureShareGroup(ctx context.Context, cfg kafka.Config, group string) error {
	// A client of its own, for one that reads joins its group by itself.
	client, err := cfg.NewClient()
	if err != nil {
		return fmt.Errorf("make a client to %v: %w", cfg.Brokers, err)
	}
	defer client.Close()
	if err := hasShareGroups(ctx, client); err != nil {
		return err
	}
	err = configureShareGroup(ctx, client, group)
	if err != nil {
		return kafka.Explain(fmt.Errorf("configure share group %q: %w", group, err))
	}
	return nil
}

func hasShareGroups(ctx context.Context, client *kgo.Client) error {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("ask the broker what it can do: %w", err)
	}
	for _, f := range resp.SupportedFeatures {
		if f.Name == shareFeature && !finalized(resp) {
			return &NoShareGroupsError{"the cluster's feature " + shareFeature + " is off"}
		}
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == kmsg.ShareFetch.Int16() && k.MaxVersion >= shareFetchVersion {
			return nil
		}
	}
	return &NoShareGroupsError{"the broker is older than Kafka 4.2"}
}

func finalized(resp *kmsg.ApiVersionsResponse) bool {
	for _, f := range resp.FinalizedFeatures {
		if f.Name == shareFeature && f.MaxVersionLevel > 0 {
			return true
		}
	}
	return false
}

// shareSession is how long the broker waits for a silent member. What lies on its partitions, where no
// other member reads them, waits as long; by default that is 45 s.
const shareSession = 10 * time.Second

func configureShareGroup(ctx context.Context, client *kgo.Client, group string) error {
	err := setOnGroup(ctx, client, group, "share.isolation.level", "read_committed", "share.auto.offset.reset", "earliest")
	if err != nil {
		return err
	}
	err = setOnGroup(ctx, client, group, "share.session.timeout.ms", strconv.FormatInt(shareSession.Milliseconds(), 10))
	if errors.Is(err, kerr.InvalidConfig) || errors.Is(err, kerr.InvalidRequest) {
		return nil // brokers allow no less than their group.share.min.session.timeout.ms, 45 s unless it is set
	}
	return err
}

// setOnGroup sets names and values on a group.
func setOnGroup(ctx context.Context, client *kgo.Client, group string, settings ...string) error {
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	for c := range slices.Chunk(settings, 2) {
		set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		set.Name, set.Value = c[0], &c[1] // the operation's zero is set
		res.Configs = append(res.Configs, set)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

// Subscribe delivers the topic's messages to the channel it returns, one at a time. A
// topic that does not exist, and a broker that is away, are waited for. When ctx ends, or
// the ShareSubscriber is closed, the message that is out is given back unless it was acked,
// the subscription leaves the group and closes the channel. The contexts of the messages
// descend from ctx and end with their Ack or Nack, at the latest a little before the broker
// hands the record to somebody else.
func (s *ShareSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if topic == "" {
		return nil, errors.New("subscribe: the topic's name is empty")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("subscribe to topic %q: %w", topic, err)
	}
	sub := &shareSubscription{cfg: s.cfg, topic: topic, ctx: ctx, out: make(chan *message.Message), lifetime: lifetime{done: make(chan struct{})}}
	sub.reading, sub.stop = context.WithCancel(ctx)
	if !s.open.remember(sub) {
		sub.stop()
		return nil, fmt.Errorf("subscribe to topic %q: %w", topic, ErrClosed)
	}
	go func() { //nolint:contextcheck // the subscription has its own, which descends from ctx
		sub.run()
		s.open.forget(sub)
	}()
	return sub.out, nil
}

// Close ends all subscriptions and returns when they have ended, with what kept them from
// leaving their group. Closing again waits likewise and returns the same.
func (s *ShareSubscriber) Close() error { return s.open.close() }

// shareSubscription is a member of the group, with a client of its own.
type shareSubscription struct {
	cfg    ShareSubscriberConfig
	topic  string
	client *kgo.Client
	out    chan *message.Message

	ctx     context.Context // the subscriber's
	reading context.Context // ends with it, or when stop is called

	lifetime
}

func (s *shareSubscription) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumeTopics(s.topic),
		kgo.ShareGroup(s.cfg.Group),
		// The client accepts by itself what was polled before, and fetches ahead unless told
		// not to: so it is let have one record at a time, when one is wanted.
		kgo.ShareMaxRecords(1),
		kgo.ShareMaxRecordsStrict(),
		kgo.ShareAckCallback(s.acknowledged),
		kgo.FetchMaxWait(fetchWait),
		kgo.MetadataMaxAge(s.cfg.Refresh),
		kgo.MetadataMinAge(impatience),
		// A share group has no use for it, and the client refuses the shared "none".
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
}

// acknowledged is told what became of acknowledgements. One that comes too late means that
// somebody else has the record as well.
func (s *shareSubscription) acknowledged(_ *kgo.Client, results kgo.ShareAckResults) {
	for _, r := range results {
		if r.Err != nil && s.reading.Err() == nil {
			s.report("acknowledge", r.Partition, -1, r.Err)
		}
	}
}

func (s *shareSubscription) run() {
	defer close(s.out)
	defer s.stop()
	if !s.prepare() {
		return
	}
	var unpacks *standsIn
	if unpacks, s.err = newStandsIn(); s.err != nil {
		return
	}
	if s.client, s.err = s.cfg.Kafka.NewClient(append(s.options(), kgo.WithDecompressor(unpacks))...); s.err != nil {
		return
	}
	s.read()
	s.err = s.leave()
}

// prepare configures the group before it is joined. False: the subscription has ended.
func (s *shareSubscription) prepare() bool {
	for faults := 1; ; faults++ {
		err := ConfigureShareGroup(s.reading, s.cfg.Kafka, s.cfg.Group)
		if err == nil {
			return true
		}
		if s.reading.Err() == nil {
			s.report("configure the group", -1, -1, err)
		}
		if !pause(s.reading, backoff(faults)) {
			return false
		}
	}
}

func (s *shareSubscription) read() {
	nacks, faults := 0, 0
	for {
		if err := s.cfg.Wanted(s.reading); err != nil {
			return
		}
		fetches := s.client.PollRecords(s.reading, 1)
		if s.reading.Err() != nil || fetches.IsClientClosed() {
			return
		}
		if err := fetches.Err(); err != nil {
			s.report("fetch", -1, -1, err)
			faults++
			if !pause(s.reading, backoff(faults)) {
				return
			}
			continue
		}
		faults = 0
		for _, rec := range fetches.Records() {
			if s.deliver(rec) {
				rec.Ack(kgo.AckAccept)
				nacks = 0
				continue
			}
			rec.Ack(kgo.AckRelease)
			nacks++
			if !pause(s.reading, s.cfg.Backoff(nacks)) {
				return
			}
		}
	}
}

// handover is how much of its lock a message leaves unused: acknowledging takes time.
const handover = 2 * time.Second

// deliver hands a record over and says whether it was acked.
func (s *shareSubscription) deliver(rec *kgo.Record) bool {
	msg, err := s.cfg.Unmarshaler.Unmarshal(rec)
	if err == nil && (msg == nil || msg.Acked() == nil || msg.Nacked() == nil) {
		err = errForeignMessage
	}
	if err != nil {
		s.report("decode", rec.Partition, rec.Offset, err)
		return false
	}
	ctx, cancel := context.WithCancel(s.ctx)
	if until := rec.AcquisitionDeadline(); !until.IsZero() {
		ctx, cancel = context.WithDeadline(s.ctx, until.Add(-handover))
	}
	defer cancel()
	msg.SetContext(recordContext{ctx, rec})
	select {
	case s.out <- msg:
	case <-ctx.Done():
		return false
	case <-s.reading.Done():
		return false
	}
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
	case <-ctx.Done():
	case <-s.reading.Done():
		return s.last(msg)
	}
	return false
}

// last gives the message that is out when the subscription ends a moment to be acked.
func (s *shareSubscription) last(msg *message.Message) bool {
	timer := time.NewTimer(lastMoment)
	defer timer.Stop()
	select {
	case <-msg.Acked():
		return true
	case <-msg.Nacked():
	case <-timer.C:
	}
	return false
}

// lastMoment is short: whoever handles the message learns of the end in the same way.
const lastMoment = 50 * time.Millisecond

// leave gives back what is out, leaves the group and closes the client.
func (s *shareSubscription) leave() error {
	defer s.client.Close()
	// The context may have ended long ago: that is often why we are here.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), farewell)
	defer cancel()
	err := s.client.LeaveGroupContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // the group gives a silent member up by itself, and what it had goes to others
	}
	if err != nil {
		return fmt.Errorf("leave share group %q, which was reading topic %q: %w", s.cfg.Group, s.topic, err)
	}
	return nil
}

func (s *shareSubscription) report(doing string, partition int32, offset int64, err error) {
	s.cfg.OnError(&SubscriptionError{
		Topic: s.topic, Group: s.cfg.Group, Partition: partition, Offset: offset, Doing: doing, Err: err,
	})
}
