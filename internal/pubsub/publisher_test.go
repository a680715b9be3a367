package pubsub_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
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

func TestAMessageArrivesAsItWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 4)
		sent := message.NewMessage("id-1", []byte("contents"))
		sent.Metadata.Set("colour", "blue")
		sent.Metadata.Set(pubsub.PartitionKey, "key-1")
		if err := b.publisher(pubsub.PublisherConfig{}).Publish(topic, sent); err != nil {
			t.Fatal(err)
		}
		got := receive(t, b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"})))
		if !got.Equals(sent) {
			t.Errorf("got %+v, want %+v", got, sent)
		}
		ctx := got.Context()
		if name, ok := pubsub.MessageTopic(ctx); !ok || name != topic {
			t.Errorf("topic %q, %t", name, ok)
		}
		if p, ok := pubsub.MessagePartition(ctx); !ok || p < 0 || p > 3 {
			t.Errorf("partition %d, %t", p, ok)
		}
		if o, ok := pubsub.MessageOffset(ctx); !ok || o != 0 {
			t.Errorf("offset %d, %t", o, ok)
		}
		if at, ok := pubsub.MessageTimestamp(ctx); !ok || time.Since(at).Abs() > time.Minute {
			t.Errorf("timestamp %s, %t", at, ok)
		}
		got.Ack()
		<-ctx.Done()
	})
}

func TestAContextOfNoMessageHasNoPlaceInTheLog(t *testing.T) {
	ctx := t.Context()
	_, hasTopic := pubsub.MessageTopic(ctx)
	_, hasPartition := pubsub.MessagePartition(ctx)
	_, hasOffset := pubsub.MessageOffset(ctx)
	_, hasTimestamp := pubsub.MessageTimestamp(ctx)
	if hasTopic || hasPartition || hasOffset || hasTimestamp {
		t.Error("it claims to have one")
	}
}

func TestTheUUIDOfACloudEventIsItsID(t *testing.T) {
	rec := &kgo.Record{
		Key: []byte("job-7"), Value: []byte(`{}`),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("e-1")}, {Key: "ce_type", Value: []byte("x.v1")}},
	}
	msg, err := pubsub.Headers{}.Unmarshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if msg.UUID != "e-1" || msg.Metadata.Get("ce_type") != "x.v1" || msg.Metadata.Get(pubsub.PartitionKey) != "job-7" {
		t.Errorf("read %+v", msg)
	}
	back, err := pubsub.Headers{}.Marshal(topic, msg)
	if err != nil {
		t.Fatal(err)
	}
	if string(back.Key) != "job-7" || len(back.Headers) != 2 {
		t.Errorf("written as key %q, headers %v: a reader of CloudEvents should find nothing foreign", back.Key, back.Headers)
	}
}

func TestARecordThatNamesNoIDIsNamedByItsPlace(t *testing.T) {
	rec := &kgo.Record{Topic: topic, Partition: 3, Offset: 42}
	first, _ := pubsub.Headers{}.Unmarshal(rec)
	again, _ := pubsub.Headers{}.Unmarshal(rec)
	if first.UUID != "parcels/3/42" || again.UUID != first.UUID {
		t.Errorf("got %q, then %q", first.UUID, again.UUID)
	}
	if _, has := first.Metadata[pubsub.PartitionKey]; has {
		t.Error("a record without a key has got one")
	}
}

func TestAnEmptyKeyIsNotNoKey(t *testing.T) {
	msg, _ := pubsub.Headers{}.Unmarshal(&kgo.Record{Key: []byte{}})
	rec, _ := pubsub.Headers{}.Marshal(topic, msg)
	if rec.Key == nil {
		t.Error("the key is gone")
	}
}

func TestConcurrentCallersShareBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 4)
		p := b.publisher(pubsub.PublisherConfig{})
		b.publish(p, "first", 1) // so that the client knows the topic
		requests := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
		const callers = 2000
		var publishing sync.WaitGroup
		for range callers {
			publishing.Go(func() {
				if err := p.Publish(topic, message.NewMessage("id", []byte("x"))); err != nil {
					t.Error(err)
				}
			})
		}
		publishing.Wait()
		if n := requests.Hits(); n > callers/4 {
			t.Errorf("%d messages took %d requests", callers, n)
		}
	})
}

type refusing struct{ pubsub.Headers }

var errRefused = errors.New("unfit for the wire")

func (m refusing) Marshal(topic string, msg *message.Message) (*kgo.Record, error) {
	if msg.UUID == "unfit" {
		return nil, errRefused
	}
	return m.Headers.Marshal(topic, msg)
}

func TestPublishNamesEveryMessageThatFailedAndPublishesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		p := b.publisher(pubsub.PublisherConfig{Marshaler: refusing{}})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		late := parcel("late")
		late.SetContext(cancelled)
		huge := message.NewMessage("huge", make([]byte, 5<<20))
		err := p.Publish(topic, parcel("one"), parcel("unfit"), nil, huge, late, parcel("two"))
		for _, want := range []error{errRefused, kerr.MessageTooLarge, context.Canceled} {
			if !errors.Is(err, want) {
				t.Errorf("%v\nis not %v", err, want)
			}
		}
		for _, want := range []string{`"parcels"`, `"unfit"`, `"huge"`, `"late"`, "nil"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v\ndoes not say %s", err, want)
			}
		}
		messages := b.subscribe(b.subscriber(pubsub.SubscriberConfig{Start: pubsub.Earliest()}))
		for _, want := range []string{"one", "two"} {
			if got := receiveAndAck(t, messages); got.UUID != want {
				t.Errorf("got %s, want %s", got.UUID, want)
			}
		}
	})
}

func TestATopicThatDoesNotExistIsAnErrorThatNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 0)
		err := b.publisher(pubsub.PublisherConfig{}).Publish(topic, parcel("one"))
		var failed *pubsub.PublishError
		if !errors.As(err, &failed) || failed.Topic != topic || failed.UUID != "one" || !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAMessageOfThreeMegabytesPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 1)
		if err := b.publisher(pubsub.PublisherConfig{}).Publish(topic, message.NewMessage("large", make([]byte, 3<<20))); err != nil {
			t.Fatal(err)
		}
		got := receiveAndAck(t, b.subscribe(b.subscriber(pubsub.SubscriberConfig{Group: "g"})))
		if len(got.Payload) != 3<<20 {
			t.Errorf("got %d bytes", len(got.Payload))
		}
	})
}

func TestPublishOutlastsABrokerThatIsAwayForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		p := b.publisher(pubsub.PublisherConfig{})
		b.publish(p, "before", 1)
		b.goAwayFor(10 * time.Second)
		b.publish(p, "during", 10)
	})
}

func TestPublishGivesUpOnABrokerThatStaysAwayAndWorksOnceItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		p := b.publisher(pubsub.PublisherConfig{Timeout: 5 * time.Second})
		b.publish(p, "before", 1)
		b.goAway()
		began := time.Now()
		if err := p.Publish(topic, parcel("during")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s to give up", took)
		}
		b.comeBack()
		b.publish(p, "after", 10)
	})
}

func TestAMessageWhoseContextEndsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		p := b.publisher(pubsub.PublisherConfig{})
		b.publish(p, "before", 1)
		b.goAway()
		msg := parcel("during")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		msg.SetContext(ctx)
		began := time.Now()
		if err := p.Publish(topic, msg); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s to give up", took)
		}
		b.comeBack()
		b.publish(p, "after", 10)
	})
}

func TestClosingAPublisherWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, 2)
		p := b.publisher(pubsub.PublisherConfig{})
		b.goAwayFor(3 * time.Second)
		published := make(chan error, 1)
		go func() { published <- p.Publish(topic, parcel("one")) }()
		synctest.Wait()
		closes(t, p)
		if err := <-published; err != nil {
			t.Error(err)
		}
		closes(t, p)
		if err := p.Publish(topic, parcel("two")); !errors.Is(err, pubsub.ErrClosed) || !strings.Contains(err.Error(), topic) {
			t.Errorf("publishing on a closed publisher: %v", err)
		}
	})
}
