package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/kafka"
)

func TestAWriterWritesOnAfterABrokerHasRefusedItsProducerID(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	w, err := kafka.Config{Brokers: cluster.ListenAddrs()}.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(topic string) error {
		cl := w.Client()
		err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr()
		w.Failed(t.Context(), cl, err)
		return err
	}
	f := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.UnknownServerError, Count: 1, TopLevel: true})
	defer f.Remove()
	if err := write("t"); err == nil {
		t.Fatal("it wrote without a producer id")
	}
	if err := write("t"); err != nil {
		t.Errorf("the next one: %v", err)
	}
	before := w.Client()
	if err := write("nowhere"); err == nil {
		t.Fatal("it wrote to a topic that is not there")
	}
	if w.Client() != before {
		t.Error("a client was replaced for what is wrong with a topic")
	}
}
