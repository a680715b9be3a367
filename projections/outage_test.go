package projections

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// deaf is a connection to a broker that goes down: it takes a request and closes.
type deaf struct{ net.Conn }

func (d deaf) Read([]byte) (int, error) {
	_ = d.Close()
	return 0, io.EOF
}

func TestABrokerThatGoesDownWhileAReaderBeginsIsWaitedFor(t *testing.T) {
	c := newCluster(t)
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	var refused atomic.Int32
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil && refused.Add(1) <= 6 {
			return deaf{conn}, nil
		}
		return conn, err
	}
	db, stop := c.run(Config{Path: filepath.Join(t.TempDir(), "p.db")})
	defer stop()
	s.reach(db)
}

func TestABrokerThatClosesAConnectionOrDeniesSomethingDoesNotEndAReader(t *testing.T) {
	c := newCluster(t)
	cl, err := c.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	f := &follower{cl: cl}
	p := &partition{topic: c.Topics().Events("orchestration"), number: 1}
	for _, at := range []*partition{p, nil} {
		for _, passes := range []error{&kgo.ErrFirstReadEOF{}, kerr.TopicAuthorizationFailed, kerr.SaslAuthenticationFailed} {
			if err := f.broken(t.Context(), at, kgo.FetchTopicPartition{FetchPartition: kgo.FetchPartition{Err: passes}}); err != nil {
				t.Error(err)
			}
		}
	}
}

// A right that is missing at the start is a mistake of whoever starts it; one that is taken away later must not need
// a new start of everything when it is back.
func TestARightThatIsTakenAwayIsWaitedForOnceTheLogIsRead(t *testing.T) {
	user, admin, guard := embeddedtest.Guarded(t)
	c := clusterOf(t, admin)
	log := kafka.Log{Aggregates: aggregates}
	if err := openWith(t, Config{Kafka: user}).Run(limited(t)); !kafka.Denied(err) {
		t.Fatalf("it begins without any right: %v", err)
	}
	rights := log.Rights(kafka.RoleProjections)
	guard.Allow(rights...)
	s := newScript(t, 0)
	s.runChain("job", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	followed := *c
	followed.Config = user
	db, stop := followed.run(Config{Path: filepath.Join(t.TempDir(), "p.db")})
	defer stop()
	s.reach(db)

	guard.Take(rights...)
	s.runChain("later", chain(t))
	s.position(schemas.Position{})
	c.write(s.take(0)...)
	for ctx := limited(t); ; runtime.Gosched() {
		if _, err := db.Lag(ctx); kafka.Denied(err) {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("it may still read")
		}
	}
	guard.Allow(rights...)
	s.reach(db)
	if _, err := db.Job(t.Context(), "later", 0); err != nil {
		t.Error(err)
	}
}
