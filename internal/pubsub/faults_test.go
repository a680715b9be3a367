package pubsub_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill/waybill/internal/pubsub"
)

// ledger checks what at-least-once in order means: whoever gets a message, everything
// before it in its partition has been handled by somebody.
type ledger struct {
	t       *testing.T
	mu      sync.Mutex
	handled map[int32]int64 // by partition, the offset before which everything was handled
	total   int
	repeats int
}

func (l *ledger) handle(msg *message.Message) {
	partition, _ := pubsub.MessagePartition(msg.Context())
	offset, _ := pubsub.MessageOffset(msg.Context())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch next := l.handled[partition]; {
	case offset > next:
		l.t.Errorf("partition %d: offset %d was delivered before %d was handled", partition, offset, next)
	case offset == next:
		l.handled[partition]++
		l.total++
	default:
		l.repeats++
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// work handles messages concurrently, each for a random time up to 20 ms; it nacks one in ten first.
func (l *ledger) work(messages <-chan *message.Message, dice *rand.Rand) {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for msg := range messages {
		takes, fails := time.Duration(dice.IntN(20))*time.Millisecond, dice.IntN(10) == 0
		handlers.Go(func() {
			<-time.After(takes)
			if fails {
				msg.Nack()
				return
			}
			l.handle(msg)
			msg.Ack()
		})
	}
}

func TestFaultsOfAllKindsLoseNoMessageAndNoOrder(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { provoke(t, rand.New(rand.NewPCG(seed, seed))) })
		})
	}
}

func provoke(t *testing.T, dice *rand.Rand) {
	t.Helper()
	b := newBroker(t, 6)
	p := b.publisher(pubsub.PublisherConfig{})
	ledger := &ledger{t: t, handled: make(map[int32]int64)}
	var workers sync.WaitGroup
	type member struct {
		*pubsub.Subscriber
		wire *broker
	}
	join := func() member {
		m := member{wire: behind(t, b.cluster, b.fake)}
		m.Subscriber = m.wire.unclosedSubscriber(pubsub.SubscriberConfig{Group: "g"})
		messages := m.wire.subscribe(m.Subscriber)
		hisDice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		workers.Go(func() { ledger.work(messages, hisDice) })
		return m
	}
	members := []member{join(), join(), join()}
	sent := 0
	for range 20 {
		sent += len(b.publish(p, fmt.Sprint(sent), 300))
		victim := dice.IntN(len(members))
		switch dice.IntN(3) {
		case 0:
			// The embedded broker never expires a member whose connection breaks while it
			// waits to join, so a wire is cut only between rebalances.
			if _, err := b.fake.WaitGroupStable(t.Context(), "g", -1); err != nil {
				t.Fatal(err)
			}
			members[victim].wire.goAwayFor(time.Duration(dice.IntN(15_000)) * time.Millisecond)
		case 1:
			leaving := members[victim]
			// A member whose wire is cut may fail to commit, and say so.
			workers.Go(func() { _ = leaving.Close() })
			members[victim] = join()
		case 2: // nothing happens
		}
		<-time.After(time.Duration(dice.IntN(3000)) * time.Millisecond)
	}
	until(t, "all messages handled", func() bool { return ledger.count() == sent })
	for _, m := range members {
		m.wire.comeBack()
		_ = m.Close()
	}
	workers.Wait()
	t.Logf("%d messages, %d repeated", sent, ledger.repeats)
}
