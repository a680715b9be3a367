//go:build simulation

package runner_test

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/pubsub"
)

// workTopics is the simplest subscriber and publisher that agents can do with: a group of
// processes reads what is new on the work topics. What gets lost is offered again.
type workTopics struct {
	cl      *kgo.Client
	prefix  kafka.Topics
	mu      sync.Mutex
	readers map[string]chan *message.Message
}

func readWork(cfg kafka.Config, types ...string) (*workTopics, error) {
	w := &workTopics{prefix: cfg.Topics(), readers: map[string]chan *message.Message{}}
	var topics []string
	for _, t := range types {
		topics = append(topics, w.prefix.Work(t))
	}
	var err error
	w.cl, err = cfg.NewClient(
		kgo.ConsumerGroup(w.prefix.Group("test")), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.DisableAutoCommit(),
	)
	return w, err
}

// run hands records to their readers until ctx ends.
func (w *workTopics) run(ctx context.Context) {
	for ctx.Err() == nil {
		for _, r := range w.cl.PollRecords(ctx, 10).Records() {
			w.mu.Lock()
			out := w.readers[r.Topic]
			w.mu.Unlock()
			if out == nil {
				continue // it is offered again
			}
			e, err := kafka.ParseCloudEvent(r)
			if err != nil {
				continue
			}
			m := message.NewMessage(e.ID, r.Value)
			for _, h := range r.Headers {
				m.Metadata.Set(h.Key, string(h.Value))
			}
			m.SetContext(ctx)
			select {
			case out <- m:
			case <-ctx.Done():
				return
			}
			select {
			case <-m.Acked():
			case <-m.Nacked():
			case <-ctx.Done():
				return
			}
		}
	}
}

// Subscribe implements message.Subscriber.
func (w *workTopics) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, out := make(chan *message.Message), make(chan *message.Message)
	w.mu.Lock()
	w.readers[topic] = in
	w.mu.Unlock()
	go func() {
		defer close(out)
		for {
			select {
			case m := <-in:
				select {
				case out <- m:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// Publish implements message.Publisher.
func (w *workTopics) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		r := &kgo.Record{Topic: topic, Key: []byte(m.Metadata.Get(pubsub.PartitionKey)), Value: m.Payload}
		for k, v := range m.Metadata {
			if k != pubsub.PartitionKey {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
			}
		}
		if err := w.cl.ProduceSync(m.Context(), r).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}

// Close implements both.
func (w *workTopics) Close() error {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.cl.LeaveGroupContext(gone) // nobody waits for the answer
	w.cl.Close()
	return nil
}
