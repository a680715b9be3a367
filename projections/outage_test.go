package projections

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

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

func TestABrokerThatClosesAConnectionDoesNotEndAReader(t *testing.T) {
	c := newCluster(t)
	cl, err := c.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	f := &follower{cl: cl}
	p := &partition{topic: c.Topics().Events("orchestration"), number: 1}
	for _, at := range []*partition{p, nil} {
		if err := f.broken(t.Context(), at, kgo.FetchTopicPartition{FetchPartition: kgo.FetchPartition{Err: &kgo.ErrFirstReadEOF{}}}); err != nil {
			t.Error(err)
		}
	}
}
