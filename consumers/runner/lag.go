package runner

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

// lagInterval is how often the positions are shown to ordinary tools.
const lagInterval = 5 * time.Second

// lag commits the positions to a consumer group now and then, so that whatever shows the
// lag of groups shows the machines'. Nothing is ever decided by these offsets: the
// position records are the truth.
type lag struct {
	mu      sync.Mutex
	offsets kadm.Offsets
}

func (l *lag) set(topic string, partition int32, next int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.offsets == nil {
		l.offsets = make(kadm.Offsets)
	}
	l.offsets.AddOffset(topic, partition, next, -1)
}

func (l *lag) take() kadm.Offsets {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.offsets
	l.offsets = nil
	return o
}

// show commits what has changed until ctx ends. A failure is no fault of the machines: the
// next time says more.
func (l *lag) show(ctx context.Context, cfg kafka.Config, cl *kgo.Client) {
	tick := time.NewTicker(lagInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if o := l.take(); len(o) > 0 {
			_, _ = kadm.NewClient(cl).CommitOffsets(ctx, cfg.Topics().Group("machines"), o)
		}
	}
}
