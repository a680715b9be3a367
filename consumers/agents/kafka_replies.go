package agents

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// correlation is all that a report on a reply has to know, so that nothing about it needs
// to be remembered.
type correlation struct {
	work    string
	attempt int
	job     string
}

// correlationMark begins every correlation id of ours: others may read and write the
// topics of replies as well.
const correlationMark = "waybill"

func correlationOf(a agent.Activity) correlation { return correlation{a.ID, a.Attempt, a.JobID} }

func (c correlation) signed() string {
	return correlationMark + " " + c.work + " " + strconv.Itoa(c.attempt) + " " + c.job
}

// text is the correlation id: the work's ID, what else there is to know, and its proof.
func (c correlation) text(p *callbacks.Proofs) string {
	if p == nil {
		return c.signed()
	}
	// The proof stands before the job's id, which may have spaces in it.
	return strings.Join([]string{correlationMark, c.work, strconv.Itoa(c.attempt), p.Of(c.signed()), c.job}, " ")
}

// readCorrelation reads a correlation id; false means that it is none of ours.
func readCorrelation(s string, p *callbacks.Proofs) (c correlation, ok bool) {
	parts := 4
	if p != nil {
		parts = 5
	}
	l := strings.SplitN(s, " ", parts)
	if len(l) != parts || l[0] != correlationMark {
		return c, false
	}
	n, err := strconv.Atoi(l[2])
	c = correlation{l[1], n, l[parts-1]}
	return c, err == nil && n > 0 && c.work != "" && c.job != "" && utf8.ValidString(s) && (p == nil || p.Proves(c.signed(), l[3]))
}

// Run reads replies and reports them until ctx ends. A reply is reported before it is
// acknowledged, under the same ID each time, so that none is lost and a repeat is known.
func (k *Kafka) Run(ctx context.Context) error {
	if len(k.cfg.Replies) == 0 {
		<-ctx.Done()
		return nil
	}
	cl, err := k.reached.NewClient(
		kgo.ConsumerGroup(k.cfg.Own.Topics().Group("agents", KafkaType, "replies")),
		kgo.ConsumeTopics(k.cfg.Replies...), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		// A group that is new has to see what was answered before it was there.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer kafka.Close(cl)
	// What has been read is still reported and acknowledged when ctx ends.
	finish, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(replyGrace, cancel) })()
	for {
		fetches := cl.PollRecords(ctx, 500)
		if ctx.Err() != nil {
			return nil
		}
		k.unread(ctx, cl, fetches)
		if err := k.reportAll(finish, fetches.Records()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("report replies: %w", err)
		}
		if err := cl.CommitRecords(finish, fetches.Records()...); err != nil && ctx.Err() == nil {
			// They are read again by whoever has the partition then, and known to be repeats.
			k.cfg.Log.WarnContext(ctx, "replies were not acknowledged", "error", err)
		}
		cl.AllowRebalance()
	}
}

// unread deals with what cannot be read: a batch that nobody can unpack is nobody's answer, and everything else may pass.
func (k *Kafka) unread(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) {
	failed := false
	fetches.EachError(func(topic string, partition int32, err error) {
		if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](err); ok {
			kafka.Pass(cl, packed)
		} else {
			failed = true
		}
		if !k.told.Again(err) {
			k.cfg.Log.WarnContext(ctx, "replies cannot be read", "topic", topic, "partition", partition, "error", kafka.Explain(err))
		}
	})
	if failed {
		pause(ctx, unreadPause) //nolint:errcheck // whoever calls looks at the context
	}
}

// unreadPause keeps an error that comes at once each time from taking a processor.
const unreadPause = 250 * time.Millisecond

// replyGrace is how long reports and their acknowledgement may take when it has to stop.
const replyGrace = time.Second

// Keep runs, and runs again after what ended it, until ctx ends.
func (k *Kafka) Keep(ctx context.Context) {
	for {
		err := k.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		k.cfg.Log.ErrorContext(ctx, "replies are not read; it is tried again", "pause", replyPause, "error", err)
		if pause(ctx, replyPause) != nil {
			return
		}
	}
}

// replyPause keeps a fault that stays from filling the log.
const replyPause = 5 * time.Second

// reportAll reports replies and returns when the reports are on the log.
func (k *Kafka) reportAll(ctx context.Context, replies []*kgo.Record) error {
	var reports []*kgo.Record
	for _, r := range replies {
		report, err := k.report(ctx, r)
		switch {
		case errors.Is(err, errUnwritten):
			return err
		case err != nil: // trying again would meet the same, and hold back every reply behind it
			k.cfg.Log.ErrorContext(ctx, "a reply cannot be reported", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
		case report != nil:
			reports = append(reports, report)
		}
	}
	if len(reports) == 0 {
		return nil
	}
	cl := k.reports.Client()
	err := cl.ProduceSync(ctx, reports...).FirstErr()
	k.reports.Failed(ctx, cl, err)
	return err
}

// errUnwritten says that what is too large for a report could not be written beside it just now.
var errUnwritten = errors.New("the reply cannot be kept")

// report is the command that a reply makes; nil where it is a reply to somebody else.
func (k *Kafka) report(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
	c, fault, ours := correlation{}, "", false
	for _, h := range r.Headers {
		switch h.Key {
		case k.cfg.Correlation:
			c, ours = readCorrelation(string(h.Value), k.cfg.Proofs)
		case k.cfg.ErrorHeader:
			fault = string(h.Value)
		}
	}
	if !ours {
		return nil, nil
	}
	result := agent.Complete(replyOutput(r))
	if fault != "" {
		result = agent.Fatal(fmt.Errorf("%s answers: %s", r.Topic, fault)).AtStep("reply")
	}
	result, err := result.Packed(ctx, schemas.Blobs{Store: k.store}, c.job)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnwritten, err)
	}
	typ, value, err := schemas.EncodeOrchestrationCommand(result.Command(orchestration.Report{WorkID: c.work, Attempt: c.attempt}))
	if err != nil {
		return nil, err
	}
	id := result.ReportID(c.work, c.attempt)
	e := kafka.CloudEvent{ID: id, Source: "/agents/" + KafkaType, Type: typ, Subject: c.job, Time: time.Now(), InputOffset: -1}
	return &kgo.Record{
		Topic: k.cfg.Own.Topics().Commands(schemas.AggregateOrchestration), Key: []byte(c.job), Value: value, Headers: e.Headers(),
	}, nil
}
