package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/pubsub"
)

func TestANackedMessageComesAgainBeforeAnyOtherOfItsPartitionAndEverLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 2)
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		var waits []time.Duration
		nacked := time.Time{}
		for range 10 {
			msg := receive(t, messages)
			if msg.UUID != "m-0" {
				t.Fatalf("%s came", msg.UUID)
			}
			if !nacked.IsZero() {
				waits = append(waits, time.Since(nacked))
			}
			nacked = time.Now()
			msg.Nack()
		}
		want := "[10ms 20ms 40ms 80ms 160ms 320ms 640ms 1s 1s]"
		if got := fmt.Sprint(waits); got != want {
			t.Errorf("waited %s, want %s", got, want)
		}
		receiveAndAck(t, messages)
		if got := receiveAndAck(t, messages); got.UUID != "m-1" {
			t.Errorf("then %s came", got.UUID)
		}
	})
}

func TestAPartitionWhoseReaderIsSlowDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		const n = 30_000 // on each, far beyond what is queued in memory
		for partition := range int32(2) {
			b.fill(partition, n)
		}
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		stuck := receive(t, messages)
		for range n {
			receiveAndAck(t, messages)
		}
		nothingComes(t, messages, time.Minute)
		next := int64(1)
		for stuck.Ack(); next < n; next++ {
			msg := receiveAndAck(t, messages)
			if o, _ := pubsub.MessageOffset(msg.Context()); o != next {
				t.Fatalf("offset %d came, want %d", o, next)
			}
		}
		nothingComes(t, messages, time.Minute)
	})
}

func TestALongBacklogOfOnePartitionIsReadWithoutABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 4)
		const n = 50_000
		b.fill(0, n)
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		began := time.Now()
		for range n {
			receiveAndAck(t, messages)
		}
		// In fake time only waiting counts: for a fetch of the other partitions, say.
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("%s were spent waiting", took)
		}
	})
}

func TestAMessageIsNeitherLostNorRepeatedWhenMembersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 8)
		p := b.publisher(pubsub.PublisherConfig{})
		var got tally
		var readers sync.WaitGroup
		join := func() *pubsub.Subscriber {
			s := b.subscriber(pubsub.SubscriberConfig{Group: "g", OnError: failsOnError(t)})
			messages := b.subscribe(s)
			readers.Go(func() { got.read(messages) })
			return s
		}
		sent := 0
		publish := func() {
			sent += len(b.publish(p, fmt.Sprintf("m%d", sent), 2000))
		}
		settle := func(members int) {
			t.Helper()
			if _, err := b.fake.WaitGroupStable(t.Context(), "g", members); err != nil {
				t.Fatal(err)
			}
		}
		publish()
		first := join()
		settle(1)
		publish()
		second := join()
		publish()
		settle(2)
		publish()
		third := join()
		publish()
		settle(3)
		closes(t, first)
		publish()
		settle(2)
		publish()
		closes(t, third)
		publish()
		until(t, "all messages read", func() bool { return got.distinct() == sent })
		closes(t, second)
		readers.Wait()
		if n := got.repeated(); n > 0 {
			t.Errorf("%d of %d messages came more than once", n, sent)
		}
		if n := b.committed("g"); n != int64(sent) {
			t.Errorf("%d of %d messages are committed", n, sent)
		}
	})
}

func TestAMemberThatDiesLeavesItsMessagesToTheOthersWithinItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		cut := behind(t, b.cluster, b.fake)
		dying := cut.subscribe(cut.subscriber(pubsub.SubscriberConfig{Group: "g", Drain: -1}))
		p := b.publisher(pubsub.PublisherConfig{})
		b.publish(p, "m", 3)
		receiveAndAck(t, dying)
		until(t, "the first is committed", func() bool { return b.committed("g") == 1 })
		lost := receive(t, dying)
		began := time.Now()
		cut.goAway()
		heir := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		if msg := receiveAndAck(t, heir); msg.UUID != lost.UUID {
			t.Errorf("%s came, want %s", msg.UUID, lost.UUID)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		cut.comeBack()
		// The dead member awakes: it has lost the partition, and its late Ack changes nothing.
		until(t, "the message's context has ended", func() bool { return lost.Context().Err() != nil })
		lost.Ack()
		if msg := receiveAndAck(t, heir); msg.UUID != "m-2" {
			t.Errorf("%s came, want m-2", msg.UUID)
		}
	})
}

func TestWhatWasNotAckedComesAgainToTheNextSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 3)
		s := b.subscriber(pubsub.SubscriberConfig{Group: "g"})
		messages := b.subscribe(s)
		receiveAndAck(t, messages)
		receive(t, messages)
		began := time.Now()
		closes(t, s)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("closing took %s", took)
		}
		closed(t, messages)
		if again := receiveAndAck(t, b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))); again.UUID != "m-1" {
			t.Errorf("%s came, want m-1", again.UUID)
		}
	})
}

func TestClosingWaitsForHandlersThatAreNearlyDone(t *testing.T) {
	for _, end := range []string{"by Close", "by the context"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, 4)
				b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 40)
				s := b.subscriber(pubsub.SubscriberConfig{Group: "g", OnError: failsOnError(t)})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				messages, err := s.Subscribe(ctx, topic)
				if err != nil {
					t.Fatal(err)
				}
				for range 4 {
					msg := receive(t, messages)
					time.AfterFunc(500*time.Millisecond, func() { msg.Ack() })
				}
				if cancel(); end == "by Close" {
					closes(t, s)
				}
				closed(t, messages)
				if n := b.committed("g"); n != 4 {
					t.Errorf("%d messages are committed, want the 4 that were acked while it closed", n)
				}
			})
		})
	}
}

func TestACancelledContextReachesTheMessagesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 2)
		type tenant struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), tenant{}, "blue"))
		messages, err := b.subscriber(pubsub.SubscriberConfig{Group: "g"}).Subscribe(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		msg := receive(t, messages)
		if msg.Context().Value(tenant{}) != "blue" {
			t.Error("the message does not know the values of the subscriber's context")
		}
		cancel()
		if msg.Context().Err() == nil {
			t.Error("the message's context goes on")
		}
		closed(t, messages)
	})
}

func TestClosingDoesNotNeedAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 4)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 100)
		s := b.subscriber(pubsub.SubscriberConfig{Group: "g"})
		messages := b.subscribe(s)
		other := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Start: pubsub.Earliest()}))
		until(t, "something waits for a reader", func() bool { return b.fake.GroupInfo("g") != nil })
		<-time.After(time.Minute)
		began := time.Now()
		closes(t, s)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("closing took %s", took)
		}
		closed(t, messages)
		receive(t, other)
	})
}

func TestClosingTwiceIsHarmlessAndSubscribingAfterwardsIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		for _, group := range []string{"", "g"} {
			s := b.subscriber(pubsub.SubscriberConfig{Group: group})
			messages := b.subscribe(s)
			var closing sync.WaitGroup
			for range 3 {
				closing.Go(func() { closes(t, s) })
			}
			closing.Wait()
			closes(t, s)
			closed(t, messages)
			if _, err := s.Subscribe(t.Context(), topic); !errors.Is(err, pubsub.ErrClosed) || !strings.Contains(err.Error(), topic) {
				t.Errorf("subscribing on a closed subscriber of group %q: %v", group, err)
			}
		}
	})
}

func TestClosingWhileTheBrokerIsAwaySaysWhatWasNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 2)
		s := b.unclosedSubscriber(pubsub.SubscriberConfig{Group: "g"})
		messages := b.subscribe(s)
		receiveAndAck(t, messages)
		b.goAway()
		began := time.Now()
		err := s.Close()
		if err == nil || !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), `"g"`) {
			t.Errorf("close: %v", err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("closing took %s", took)
		}
		closed(t, messages)
	})
}

func TestABrokerThatIsAwayLosesNothing(t *testing.T) {
	for _, test := range []struct {
		group   string
		away    time.Duration
		repeats int // at most: what the handlers of four partitions had in hand
	}{
		{"", 4 * time.Second, 0},
		{"", time.Minute, 0},
		{"g", 4 * time.Second, 4},
		{"g", time.Minute, 4},
	} {
		t.Run(fmt.Sprintf("group %q, %s", test.group, test.away), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, 4)
				p := b.publisher(pubsub.PublisherConfig{})
				sent := len(b.publish(p, "before", 4000))
				var got tally
				var reader sync.WaitGroup
				s := b.subscriber(pubsub.SubscriberConfig{Group: test.group, Start: pubsub.Earliest()})
				messages := b.subscribe(s)
				reader.Go(func() { got.read(messages) })
				until(t, "reading is under way", func() bool { return got.distinct() > 2000 })
				b.goAway()
				<-time.After(test.away)
				b.comeBack()
				sent += len(b.publish(p, "after", 1000))
				until(t, "all messages read", func() bool { return got.distinct() == sent })
				closes(t, s)
				reader.Wait()
				if n := got.repeated(); n > test.repeats {
					t.Errorf("%d messages came more than once, at most %d should", n, test.repeats)
				}
			})
		})
	}
}

func TestAFailedCommitIsReportedAndMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 1)
		b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: 1})
		var reported collector
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g", OnError: reported.add}))
		receiveAndAck(t, messages)
		until(t, "the commit succeeds", func() bool { return b.committed("g") == 1 })
		if err := reported.first(); !errors.Is(err, kerr.GroupAuthorizationFailed) || !strings.Contains(err.Error(), topic) {
			t.Errorf("reported: %v", err)
		}
	})
}

func TestPartitionsAndTopicsThatAreCreatedLaterAreRead(t *testing.T) {
	for _, start := range []struct {
		name string
		cfg  pubsub.SubscriberConfig
	}{
		{"in a group", pubsub.SubscriberConfig{Group: "g"}},
		{"from the newest", pubsub.SubscriberConfig{Start: pubsub.Newest()}},
		{"from the earliest", pubsub.SubscriberConfig{Start: pubsub.Earliest()}},
	} {
		t.Run(start.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, 0)
				messages := b.subscribe(b.subscriber(start.cfg))
				nothingComes(t, messages, time.Minute)
				b.create(topic, 1)
				b.fill(0, 1)
				receiveAndAck(t, messages)
				b.grow(3)
				began := time.Now()
				b.fill(2, 1)
				if n, _ := pubsub.MessagePartition(receiveAndAck(t, messages).Context()); n != 2 {
					t.Errorf("partition %d", n)
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestASubscriptionWithoutAGroupBeginsWhereItIsTold(t *testing.T) {
	for _, test := range []struct {
		name  string
		start pubsub.Start
		want  []int64
	}{
		{"by default with what is new", pubsub.Start{}, []int64{5, 6}},
		{"with what is new", pubsub.Newest(), []int64{5, 6}},
		{"with the oldest", pubsub.Earliest(), []int64{0, 1, 2, 3, 4, 5, 6}},
		{"at an offset", pubsub.From(map[string]map[int32]int64{topic: {0: 3}}), []int64{3, 4, 5, 6}},
		{"with the oldest where it is told nothing", pubsub.From(nil), []int64{0, 1, 2, 3, 4, 5, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, 1)
				p := b.publisher(pubsub.PublisherConfig{})
				b.publish(p, "old", 5)
				messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Start: test.start}))
				b.publish(p, "new", 2)
				for _, want := range test.want {
					if o, _ := pubsub.MessageOffset(receiveAndAck(t, messages).Context()); o != want {
						t.Errorf("offset %d, want %d", o, want)
					}
				}
				nothingComes(t, messages, time.Minute)
			})
		})
	}
}

func TestANewGroupBeginsWithTheOldestUnlessToldOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		p := b.publisher(pubsub.PublisherConfig{})
		b.publish(p, "old", 1)
		all := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "all"}))
		if msg := receiveAndAck(t, all); msg.UUID != "old-0" {
			t.Errorf("%s came", msg.UUID)
		}
		news := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "news", Start: pubsub.Newest()}))
		nothingComes(t, news, time.Minute)
		b.publish(p, "new", 1)
		if msg := receiveAndAck(t, news); msg.UUID != "new-0" {
			t.Errorf("%s came", msg.UUID)
		}
	})
}

func TestAStaticMemberComesBackWithoutARebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		p := b.publisher(pubsub.PublisherConfig{})
		cfg := pubsub.SubscriberConfig{Group: "g", InstanceID: "blue"}
		s := b.subscriber(cfg)
		messages := b.subscribe(s)
		b.publish(p, "m", 1)
		receiveAndAck(t, messages)
		before := b.fake.GroupInfo("g").Epoch
		closes(t, s)
		b.publish(p, "n", 1)
		began := time.Now()
		if msg := receiveAndAck(t, b.subscribe(b.subscriber(cfg))); msg.UUID != "n-0" {
			t.Errorf("%s came", msg.UUID)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		if after := b.fake.GroupInfo("g").Epoch; after != before {
			t.Errorf("the group went from generation %d to %d", before, after)
		}
	})
}

func TestAMemberThatHoldsAMessageForTooLongGivesItsPartitionUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		b.fill(0, 1)
		b.fill(1, 1)
		first := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		held := []*message.Message{receive(t, first), receive(t, first)}
		second := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"}))
		again := receiveAndAck(t, second)
		ended := 0
		for _, msg := range held {
			if msg.Context().Err() != nil {
				ended++
				if msg.UUID != again.UUID {
					t.Errorf("the context of %s has ended, but %s moved", msg.UUID, again.UUID)
				}
			}
		}
		if ended != 1 {
			t.Errorf("%d contexts have ended, want that of the partition that moved", ended)
		}
	})
}

type stubborn struct{ pubsub.Headers }

var errStubborn = errors.New("illegible")

func (u stubborn) Unmarshal(rec *kgo.Record) (*message.Message, error) {
	switch string(rec.Value) {
	case "m-0":
		return nil, errStubborn
	case "m-1":
		return &message.Message{}, nil // one that could never be acked
	}
	return u.Headers.Unmarshal(rec)
}

func TestWhatCannotBeDecodedIsHandedOnAndThePartitionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 3)
		var handed []string
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{
			Group: "g", Unmarshaler: stubborn{}, OnError: failsOnError(t),
			Undecodable: func(_ context.Context, rec *kgo.Record, err error) error {
				handed = append(handed, fmt.Sprintf("%d: %v", rec.Offset, err))
				return nil
			},
		}))
		if msg := receiveAndAck(t, messages); msg.UUID != "m-2" {
			t.Errorf("%s came", msg.UUID)
		}
		if len(handed) != 2 || handed[0] != "0: illegible" {
			t.Errorf("handed on: %q", handed)
		}
	})
}

func TestWhatCannotBeDecodedIsReportedAndStopsItsPartitionWhereNobodyTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.publish(b.publisher(pubsub.PublisherConfig{}), "m", 3)
		var reported collector
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{
			Group: "g", Unmarshaler: stubborn{}, OnError: reported.add,
		}))
		nothingComes(t, messages, time.Minute)
		err := reported.first()
		if !errors.Is(err, errStubborn) || err.Topic != topic || err.Partition != 0 || err.Offset != 0 || err.Group != "g" {
			t.Errorf("reported: %v", err)
		}
		if want := `decode: topic "parcels" partition 0 offset 0 (group "g"): illegible`; err.Error() != want {
			t.Errorf("reported %q, want %q", err, want)
		}
	})
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	for _, cfg := range []pubsub.SubscriberConfig{
		{Group: "g", Start: pubsub.From(nil)},
		{InstanceID: "blue"},
	} {
		if _, err := pubsub.NewSubscriber(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestSubscribingWithoutAGroupToABrokerThatIsAwayEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		b.goAway()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := b.subscriber(pubsub.SubscriberConfig{}).Subscribe(ctx, topic); err == nil {
			t.Error("it claims to have subscribed")
		}
	})
}
