package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/schemas"
)

// The whole way over Kafka's protocol: a work record in, a claim and a report out, and a
// cancellation that reaches an agent without a free slot.
func TestAnAgentOnKafka(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := kafkatest.New(t)
	topics := cfg.Topics()
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet"})); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	defer stop()
	cancelled := make(chan error, 1)
	go func() {
		ended <- agent.Run(running, agent.Config{Name: "greeter", Type: "greet", Concurrency: 1, Kafka: cfg, Log: quiet},
			agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
				if a.Input.Empty() {
					<-ctx.Done()
					cancelled <- context.Cause(ctx)
				}
				return agent.Complete("hello " + a.Input.String("name"))
			}))
	}()

	endless, greeting := work("endless"), work("greeting")
	greeting.Input = []byte(`{"name":"world"}`)
	produce(ctx, t, cl, topics.Work("greet"), endless.ID, schemas.WorkRequested, endless)
	next(ctx, t, cl, schemas.WorkHeartbeat)
	produce(ctx, t, cl, topics.Work("greet"), greeting.ID, schemas.WorkRequested, greeting)
	produce(ctx, t, cl, topics.Work("greet"), endless.ID, schemas.WorkCancelled, machine.CancelWork{ID: "endless", Attempt: 1, Reason: "enough"})
	select {
	case <-cancelled:
	case <-ctx.Done():
		t.Fatal("the cancellation did not come")
	}
	report := next(ctx, t, cl, schemas.WorkComplete)
	if string(report.Key) != "job-greeting" || string(report.Value) != `{"workId":"greeting","attempt":1,"output":"hello world"}` {
		t.Fatalf("reported %s %s", report.Key, report.Value)
	}
	e, err := kafka.ParseCloudEvent(report)
	if err != nil || e.Source != "/agents/greeter" || e.Subject != "job-greeting" || e.Time.IsZero() {
		t.Fatalf("its envelope is %+v, %v", e, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestAnAgentWorksWhereThereAreNoShareGroups(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := embeddedtest.New(t, kfake.MaxVersions(kversion.V3_9_0()))
	topics := cfg.Topics()
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet"})); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	release := make(chan struct{})
	close(release)
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(running, agent.Config{Name: "greeter", Type: "greet", Kafka: cfg, Log: slog.New(slog.NewTextHandler(&log, nil))}, wait(release))
	}()
	produce(ctx, t, cl, topics.Work("greet"), "w", schemas.WorkRequested, work("w"))
	next(ctx, t, cl, schemas.WorkComplete)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "consumer group") {
		t.Errorf("nobody is told: %s", &log)
	}
}

func TestAnAgentMayBeThereBeforeItsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		cfg, _ := embeddedtest.Virtual(t)
		ended := make(chan error, 1)
		release := make(chan struct{})
		close(release)
		go func() {
			ended <- agent.Run(ctx, agent.Config{Name: "greeter", Type: "greet", Kafka: cfg, Log: quiet}, wait(release))
		}()
		<-time.After(time.Minute)
		topics := cfg.Topics()
		cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"greet"})); err != nil {
			t.Fatal(err)
		}
		produce(ctx, t, cl, topics.Work("greet"), "w", schemas.WorkRequested, work("w"))
		next(ctx, t, cl, schemas.WorkComplete)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}

func produce(ctx context.Context, t *testing.T, cl *kgo.Client, topic, key, wireType string, value any) {
	t.Helper()
	raw, err := schemas.Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: raw, Headers: kafka.CloudEvent{ID: key + wireType, Type: wireType, InputOffset: -1}.Headers()}
	if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// next is the next record of that type; others are passed over.
func next(ctx context.Context, t *testing.T, cl *kgo.Client, wireType string) *kgo.Record {
	t.Helper()
	for {
		fetches := cl.PollRecords(ctx, 1)
		if err := fetches.Err(); err != nil {
			t.Fatalf("no %s: %v", wireType, err)
		}
		for _, r := range fetches.Records() {
			if e, err := kafka.ParseCloudEvent(r); err == nil && e.Type == wireType {
				return r
			}
		}
	}
}
