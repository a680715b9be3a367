package agent_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// A record that was too large for the dead letters was tried to be written there for ever, and one that was no work was
// taken by nobody.
func TestWhatNobodyCanReadAtTheHeadOfAWorkTopicBecomesADeadLetterAndTheWorkBehindItIsDone(t *testing.T) {
	for name, consumerGroup := range map[string]bool{"share group": false, "consumer group": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cfg := embeddedtest.New(t)
			topics := cfg.Topics()
			cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.DeadLetters()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.ProducerBatchCompression(kgo.GzipCompression()), kgo.ProducerBatchMaxBytes(96<<20))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if err := kafka.EnsureTopics(ctx, cl, topics.Specs(1, []string{"orchestration"}, []string{"greet"})); err != nil {
				t.Fatal(err)
			}
			large := &kgo.Record{
				Topic: topics.Work("greet"), Key: []byte("w"), Value: []byte(strings.Repeat(" ", 10<<20)),
				Headers: kafka.CloudEvent{ID: "w", Source: "test", Type: schemas.WorkRequested, InputOffset: -1}.Headers(),
			}
			bomb := &kgo.Record{Topic: topics.Work("greet"), Key: []byte("b"), Value: make([]byte, kafka.MaxUnpackedBytes+1)}
			if err := cl.ProduceSync(ctx, bomb).FirstErr(); err != nil { // a batch of its own, and the very first
				t.Fatal(err)
			}
			bare := &kgo.Record{Topic: topics.Work("greet"), Key: []byte("k"), Value: []byte("{")}
			if err := cl.ProduceSync(ctx, large, bare).FirstErr(); err != nil {
				t.Fatal(err)
			}
			running, stop := context.WithCancel(ctx)
			ended, done := make(chan error, 1), make(chan struct{}, 1)
			go func() {
				ended <- agent.Run(running, agent.Config{Name: "greeter", Type: "greet", Concurrency: 1, Brokers: cfg.Brokers, Log: quiet, ConsumerGroup: consumerGroup},
					agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result {
						done <- struct{}{}
						return agent.Complete(nil)
					}))
			}()
			letters := make(map[string]map[string]string) // by offset
			for len(letters) < 3 {
				fetches := cl.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatalf("after %v: %v", letters, err)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					h := make(map[string]string)
					for _, x := range r.Headers {
						h[x.Key] = string(x.Value)
					}
					at := h[schemas.DeadLetterOffset]
					letters[at] = h
					if whole := at == strconv.FormatInt(bare.Offset, 10); whole != (h[schemas.DeadLetterPartial] == "") {
						t.Errorf("that of offset %s has the headers %v", at, h)
					}
					if h[schemas.DeadLetterTopic] != large.Topic || h[schemas.DeadLetterError] == "" || h[schemas.DeadLetterID] == "" {
						t.Errorf("a dead letter has the headers %v", h)
					}
				})
			}
			produce(ctx, t, cl, topics.Work("greet"), "good", schemas.WorkRequested, work("good"))
			select {
			case <-done:
			case <-ctx.Done():
				t.Fatal("the work behind them was not done")
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
