package pubsub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// WatcherConfig says what a Watcher looks at. Kafka, Topics and Handle are needed.
type WatcherConfig struct {
	Kafka  kafka.Config
	Topics []string
	// Handle is given each record, one after the other, and one in place of a batch that nobody can unpack
	// (HeaderUnpackable). It must not block: all topics wait meanwhile.
	Handle func(*kgo.Record)
	// Refresh is how often to look for new topics and partitions; 10 s unless set.
	Refresh time.Duration
	// OnError is told what goes wrong while the Watcher keeps trying. It must not block.
	OnError func(*SubscriptionError)
}

// Watcher reads what is written to many topics from now on, with one client for all of them:
// a Subscriber has one for each, whose idle connections, buffers and polls cost more than what
// they bring. It acknowledges nothing, repeats nothing and remembers nothing.
type Watcher struct {
	cfg    WatcherConfig
	client *kgo.Client
	known  map[string]map[int32]bool
	held   map[string]bool

	mu   sync.Mutex
	next map[string]map[int32]int64 // what comes next
}

// watchWait bounds how long a fetch waits. Nobody waits for it: what arrives ends it, and the
// partitions seldom change.
const watchWait = 5 * time.Second

// NewWatcher makes a Watcher that will see all that is committed after it has returned. Topics
// that do not exist yet are read from their beginning once they do. Whoever makes one has to
// call Run, which closes it, or Close.
func NewWatcher(ctx context.Context, cfg WatcherConfig) (*Watcher, error) {
	if cfg.Refresh == 0 {
		cfg.Refresh = defaultRefresh
	}
	if cfg.OnError == nil {
		cfg.OnError = func(*SubscriptionError) {}
	}
	client, err := cfg.Kafka.NewClient(
		kgo.FetchMaxWait(watchWait),
		kgo.MetadataMinAge(impatience),
		// Whatever happened to the log: to repeat is allowed, to leave out is not.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return nil, fmt.Errorf("make a client to %v: %w", cfg.Kafka.Brokers, err)
	}
	w := &Watcher{cfg: cfg, client: client, known: make(map[string]map[int32]bool), held: make(map[string]bool), next: make(map[string]map[int32]int64)}
	if err := w.locate(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return w, nil
}

// locate finds where to begin, and which topics hold anything already.
func (w *Watcher) locate(ctx context.Context) error {
	adm := kadm.NewClient(w.client)
	ends, err := adm.ListCommittedOffsets(ctx, w.cfg.Topics...)
	if err != nil {
		return fmt.Errorf("find the ends of the topics to watch: %w", err)
	}
	starts, err := adm.ListStartOffsets(ctx, w.cfg.Topics...)
	if err != nil {
		return fmt.Errorf("find the beginnings of the topics to watch: %w", err)
	}
	found := make(map[string]map[int32]kgo.Offset)
	for topic, partitions := range ends {
		for p, end := range partitions {
			switch {
			case errors.Is(end.Err, kerr.UnknownTopicOrPartition) && p < 0:
				continue
			case end.Err != nil:
				// One topic must not keep the others from being watched: it is looked for again, and
				// what it holds is unknown.
				w.report("find the end", topic, p, end.Err)
				w.held[topic] = true
				continue
			}
			w.add(found, topic, p, kgo.NewOffset().At(end.Offset))
			w.pass(topic, p, end.Offset)
			if start, ok := starts.Lookup(topic, p); !ok || start.Err != nil || start.Offset < end.Offset {
				w.held[topic] = true
			}
		}
	}
	w.client.AddConsumePartitions(found)
	return nil
}

func (w *Watcher) add(found map[string]map[int32]kgo.Offset, topic string, p int32, from kgo.Offset) {
	if w.known[topic] == nil {
		w.known[topic] = make(map[int32]bool)
	}
	if w.known[topic][p] {
		return
	}
	w.known[topic][p] = true
	if found[topic] == nil {
		found[topic] = make(map[int32]kgo.Offset)
	}
	found[topic][p] = from
}

// Held says whether a topic held anything when the Watcher was made, which it does not see, or
// may have.
func (w *Watcher) Held(topic string) bool { return w.held[topic] }

// pass notes that what lies before an offset has been handed over, or is never going to be.
func (w *Watcher) pass(topic string, p int32, next int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next[topic] == nil {
		w.next[topic] = make(map[int32]int64)
	}
	w.next[topic][p] = next
}

// Passed says whether a record has been handed over, or was there before the Watcher. Else it will
// be. Safe for concurrent use.
func (w *Watcher) Passed(topic string, partition int32, offset int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return offset < w.next[topic][partition]
}

// Close lets go of the connections.
func (w *Watcher) Close() { w.client.Close() }

// Run hands over what is written until ctx ends, and closes the Watcher.
func (w *Watcher) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.discover(ctx)
	}()
	defer w.client.Close()
	defer func() { <-done }()
	for {
		fetches := w.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		failed := false
		fetches.EachError(func(topic string, p int32, err error) {
			if packed, ok := errors.AsType[*kgo.ErrDecompressTooLarge](err); ok {
				kafka.Pass(w.client, packed)
				w.cfg.Handle(standIn(packed))
				w.pass(topic, p, packed.NextOffset)
				return
			}
			failed = true
			w.report("watch", topic, p, err)
		})
		fetches.EachRecord(func(r *kgo.Record) {
			w.cfg.Handle(r)
			w.pass(r.Topic, r.Partition, r.Offset+1)
		})
		if failed {
			pause(ctx, impatience)
		}
	}
}

// discover adds topics and partitions that are created while the Watcher runs.
func (w *Watcher) discover(ctx context.Context) {
	adm := kadm.NewClient(w.client)
	for {
		wait := w.cfg.Refresh
		if len(w.known) < len(w.cfg.Topics) {
			wait = min(wait, impatience)
		}
		if !pause(ctx, wait) {
			return
		}
		topics, err := adm.ListTopics(ctx, w.cfg.Topics...)
		if err != nil {
			if ctx.Err() == nil {
				w.report("look for new partitions", "", -1, err)
			}
			continue
		}
		found := make(map[string]map[int32]kgo.Offset)
		for topic, detail := range topics {
			for p := range detail.Partitions {
				w.add(found, topic, p, kgo.NewOffset().AtStart())
			}
		}
		if len(found) > 0 {
			w.client.AddConsumePartitions(found)
		}
	}
}

func (w *Watcher) report(doing, topic string, partition int32, err error) {
	w.cfg.OnError(&SubscriptionError{Topic: topic, Partition: partition, Offset: -1, Doing: doing, Err: err})
}
