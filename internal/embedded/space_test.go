package embedded

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/kafka"
)

func TestWhatIsWrittenWaitsWhileTheDiskIsNearlyFull(t *testing.T) {
	cluster, err := kfake.NewCluster(Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cl, err := kafka.Config{Brokers: cluster.ListenAddrs()}.NewClient(kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	free := uint64(1 << 30)
	s := &space{dir: "here", cluster: cluster, log: slog.New(slog.DiscardHandler), free: func(string) (uint64, uint64, error) { return free, 10 << 30, nil }}
	refused := make(chan struct{}, 1000)
	cluster.ControlKey(0, func(req kmsg.Request) (kmsg.Response, error, bool) { // sees each before the space does
		cluster.KeepControl()
		refused <- struct{}{}
		return nil, nil, false
	})
	write := func() <-chan error {
		done := make(chan error, 1)
		cl.Produce(t.Context(), kgo.StringRecord("x"), func(_ *kgo.Record, err error) { done <- err })
		return done
	}
	s.look()
	if err := <-write(); err != nil || s.err() != nil {
		t.Fatal(err, s.err())
	}
	for range 2 { // it may happen again
		for len(refused) > 0 { // whatever was written is answered
			<-refused
		}
		free = 10 << 20
		s.look()
		if full, ok := errors.AsType[*FullError](s.err()); !ok || full.Free != free {
			t.Fatalf("with %d bytes left it says %v", free, s.err())
		}
		done := write()
		<-refused
		<-refused // the client tries again
		select {
		case err := <-done:
			t.Fatalf("written on a full disk: %v", err)
		default:
		}
		free = reserve + 1
		s.look()
		if s.err() == nil {
			t.Fatal("it takes records again with hardly any room")
		}
		free = 1 << 30
		s.look()
		if err := <-done; err != nil || s.err() != nil {
			t.Fatal(err, s.err())
		}
	}
}
