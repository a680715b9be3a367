package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
	"github.com/waybill/waybill/schemas"
)

// Publishing is tried again after firstPause, then twice as long each time, up to lastPause.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// carry sees one attempt through: claim, acknowledge, process, report. The context claiming
// ends when the attempt is somebody else's to claim.
func (s *server) carry(ctx, claiming context.Context, sl *slots, r *run, msg *message.Message, w machine.Work) {
	given := false
	give := func() {
		if !given {
			given = true
			sl.give()
		}
	}
	defer give()
	b := &beats{server: s, work: w, began: time.Now()}
	// From the claim on the lease alone says that the work is being done.
	if s.claim(claiming, b, w) != nil {
		s.forget(w)
		msg.Nack()
		return
	}
	msg.Ack()
	s.note(w, true)

	result := goneResult()
	defer func() {
		s.note(w, false)
		switch s.worth(ctx, result) {
		case toReport:
			s.report(w, result)
		case toGiveBack:
			s.giveBack(s.reports, w) //nolint:contextcheck // the processor's has ended
		case toForget:
		}
	}()
	defer give()
	defer b.keep(ctx)()
	ctx, ended := s.trace(ctx, w)
	result = s.pool.carryOut(ctx, sl, r, w, b.now).redacted(s.cfg.Redact)
	ended(result)
}

// claim publishes the first heartbeat, as long as the offer holds.
func (s *server) claim(ctx context.Context, b *beats, w machine.Work) error {
	if !w.OfferedUntil.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, w.OfferedUntil)
		defer cancel()
	}
	return s.publishUntil(ctx, b.next, s.topics.Commands(w.Aggregate))
}

// worth is what a result is good for.
type worth int

const (
	toReport   worth = iota
	toForget         // nobody wants it any more
	toGiveBack       // it only says that the agent had to stop
)

func (s *server) worth(ctx context.Context, r Result) worth {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrCancelled):
		return toForget
	case errors.Is(cause, ErrStopped) && (r.kind == Retrying || r.kind == Failed):
		return toGiveBack
	}
	return toReport
}

// giveBack gives the claim back, so that another agent has the attempt at once and it costs
// nothing. Where that fails, the lease does the same, later and at the cost of an attempt.
func (s *server) giveBack(ctx context.Context, w machine.Work) {
	err := s.publishUntil(ctx, func() (*message.Message, error) {
		id := machine.ID("release", w.ID, strconv.Itoa(w.Attempt), s.cfg.Name, strconv.FormatInt(time.Now().UnixNano(), 10))
		return s.command(w, id, orchestration.Release{Report: orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}, Agent: s.cfg.Name})
	}, s.topics.Commands(w.Aggregate))
	if err != nil {
		s.mu.Lock()
		s.left[w.Type]++
		s.mu.Unlock()
	}
}

// report publishes the result until that is acknowledged or the agent is gone.
func (s *server) report(w machine.Work, r Result) {
	// It ends with an error only if the agent is gone; the lease says the rest.
	_ = s.publishUntil(s.reports, func() (*message.Message, error) {
		return s.command(w, r.ReportID(w.ID, w.Attempt), r.Command(orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}))
	}, s.topics.Commands(w.Aggregate))
}

// command makes a command to the aggregate that asked for the work.
func (s *server) command(w machine.Work, id string, c orchestration.Command) (*message.Message, error) {
	wireType, data, err := schemas.EncodeOrchestrationCommand(c)
	if err != nil {
		return nil, fmt.Errorf("report of work %s: %w", w.ID, err)
	}
	msg := message.NewMessage(id, data)
	e := kafka.CloudEvent{
		ID: id, Source: "/agents/" + url.PathEscape(s.cfg.Name), Type: wireType, Subject: w.AggregateID,
		Time: time.Now(), InputOffset: -1, TraceParent: w.TraceParent,
	}
	for _, h := range e.Headers() {
		msg.Metadata.Set(h.Key, string(h.Value))
	}
	msg.Metadata.Set(pubsub.PartitionKey, w.AggregateID)
	return msg, nil
}

// publishUntil publishes a message, made anew for each try, until that is acknowledged;
// the error says that ctx ended first, or that the message cannot be made.
func (s *server) publishUntil(ctx context.Context, compose func() (*message.Message, error), topic string) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		msg, err := compose()
		if err != nil {
			s.cfg.Log.ErrorContext(ctx, "cannot be published", "agent", s.cfg.Name, "topic", topic, "error", err)
			return err
		}
		msg.SetContext(ctx)
		if err = s.publisher.Publish(topic, msg); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.cfg.Log.WarnContext(ctx, "publishing is tried again", "agent", s.cfg.Name, "topic", topic, "pause", pause, "error", err)
		rest(ctx, pause)
	}
}

// rest waits, no longer than ctx lasts.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// beats are the heartbeats of one attempt.
type beats struct {
	*server
	work  machine.Work
	began time.Time
	n     atomic.Int64
}

func (b *beats) next() (*message.Message, error) {
	// A heartbeat is no repeat of another, not even of one before the agent was started again.
	id := machine.ID("heartbeat", b.work.ID, strconv.Itoa(b.work.Attempt), b.cfg.Name,
		strconv.FormatInt(b.began.UnixNano(), 10), strconv.FormatInt(b.n.Add(1), 10))
	return b.command(b.work, id, orchestration.Heartbeat{
		Report: orchestration.Report{WorkID: b.work.ID, Attempt: b.work.Attempt}, Agent: b.cfg.Name,
	})
}

// now publishes a heartbeat and returns when it is on the log.
func (b *beats) now(ctx context.Context) error {
	msg, err := b.next()
	if err != nil {
		return err
	}
	msg.SetContext(ctx)
	if err := b.publisher.Publish(b.topics.Commands(b.work.Aggregate), msg); err != nil {
		return fmt.Errorf("heartbeat of work %s: %w", b.work.ID, err)
	}
	return context.Cause(ctx)
}

// keep publishes heartbeats, three to a lease, until the function it returns is called.
func (b *beats) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	interval := b.lease() / 3
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// One that fails is made good by the next; two fit into the lease.
			if err := b.within(ctx, interval); err != nil && ctx.Err() == nil {
				b.cfg.Log.WarnContext(ctx, "a heartbeat failed", "agent", b.cfg.Name, "error", err)
			}
		}
	}()
	return func() {
		cancel()
		<-stopped
	}
}

func (b *beats) within(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return b.now(ctx)
}

func (b *beats) lease() time.Duration {
	if b.work.HeartbeatTimeout <= 0 {
		return defaultLease
	}
	// Below this the heartbeats would be most of the work.
	return max(time.Duration(b.work.HeartbeatTimeout)*time.Millisecond, 30*time.Millisecond)
}

// bury moves a record that cannot be read to the dead letters, and then acknowledges it.
func (s *server) bury(ctx context.Context, msg *message.Message, why error) {
	s.cfg.Log.ErrorContext(ctx, "a work record cannot be read; it goes to the dead letters", "agent", s.cfg.Name, "id", msg.UUID, "error", why)
	err := s.publishUntil(ctx, func() (*message.Message, error) { return deadLetter(msg, why), nil }, s.topics.DeadLetters()) //nolint:contextcheck // the message's own says where it lay
	if err != nil {
		msg.Nack()
		return
	}
	msg.Ack()
}

// maxLetterBytes is up to which size a record is kept whole among the dead letters; the rest of what a
// record may have is for what surrounds it.
const maxLetterBytes = kafka.MaxMessageBytes - 64<<10

// deadLetter is the record as it came, with where it came from and what is wrong. Of one that came compressed, and is
// too large for a record here, only that is kept: it would be tried to be written for ever.
func deadLetter(msg *message.Message, why error) *message.Message {
	dead := msg.Copy()
	ctx := msg.Context()
	size := len(msg.Payload)
	for k, v := range msg.Metadata {
		size += len(k) + len(v)
	}
	if msg.Metadata.Get(pubsub.HeaderUnpackable) != "" {
		dead.Metadata = message.Metadata{schemas.DeadLetterPartial: "true"}
	}
	if size > maxLetterBytes {
		dead = message.NewMessage("", nil)
		dead.Metadata = message.Metadata{schemas.DeadLetterPartial: "true"}
		why = fmt.Errorf("%w (the record has %d bytes, over the limit of %d: it is not kept here whole)", why, size, maxLetterBytes)
	}
	topic, ok := pubsub.MessageTopic(ctx)
	if ok { // else it comes from somebody else's Subscriber, which does not say where it lay
		partition, _ := pubsub.MessagePartition(ctx)
		offset, _ := pubsub.MessageOffset(ctx)
		at := [...]string{topic, strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10)}
		dead.Metadata.Set(schemas.DeadLetterTopic, at[0])
		dead.Metadata.Set(schemas.DeadLetterPartition, at[1])
		dead.Metadata.Set(schemas.DeadLetterOffset, at[2])
		dead.Metadata.Set(schemas.DeadLetterID, machine.ID("deadletter", at[0], at[1], at[2]))
	}
	dead.Metadata.Set(schemas.DeadLetterError, clip(why.Error()))
	dead.Metadata.Set(schemas.DeadLetterTime, time.Now().UTC().Format(time.RFC3339Nano))
	return dead
}
