package pubsub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/pubsub"
)

func TestAWatcherSeesWhatIsWrittenFromNowOnToAllItsTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, _ := embeddedtest.Virtual(t)
		publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: cluster})
		if err != nil {
			t.Fatal(err)
		}
		defer closes(t, publisher)
		publish := func(topic, text string) {
			t.Helper()
			if err := publisher.Publish(topic, message.NewMessage(text, []byte(text))); err != nil {
				t.Fatal(err)
			}
		}
		initialize(t, cluster, "held", 2)
		initialize(t, cluster, "empty", 2)
		publish("held", "before")

		seen := make(chan string, 10)
		w, err := pubsub.NewWatcher(t.Context(), pubsub.WatcherConfig{
			Kafka: cluster, Topics: []string{"held", "empty", "later"},
			Handle: func(r *kgo.Record) { seen <- r.Topic + " " + string(r.Value) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if !w.Held("held") || w.Held("empty") || w.Held("later") {
			t.Errorf("held: %v, %v, %v; only the first topic holds anything", w.Held("held"), w.Held("empty"), w.Held("later"))
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.Run(ctx)
		}()
		for _, topic := range []string{"held", "empty"} {
			publish(topic, "now")
			if got := <-seen; got != topic+" now" {
				t.Errorf("saw %q", got)
			}
		}
		initialize(t, cluster, "later", 1)
		publish("later", "first")
		if got := <-seen; got != "later first" {
			t.Errorf("saw %q of a topic that was created meanwhile", got)
		}
		<-time.After(time.Minute)
		if len(seen) > 0 {
			t.Errorf("saw more: %q", <-seen)
		}
		stop()
		<-ended
	})
}
