package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/standin"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

const (
	newAccessTransfers = 1000  // of T1
	reuseTransfers     = 10000 // of T2
	reuseAssets        = 10
	wishes             = 2000 // of T3
	underWay           = 400  // transfers at once
	transferParallel   = 100  // negotiations of one provider at once
	wishType           = "bench-wishes"
	standInConnector   = "bench"
)

// withProviders measures on an engine with a stand-in connector that takes no time, and a provider
// with so many assets.
func withProviders(ctx context.Context, b *bench, assets int, measure func(e *engine, provider string, c *standin.Connector) (Figures, error)) (f Figures, err error) {
	p := standin.ProviderConfig{Name: "provider"}
	for i := range assets {
		p.Assets = append(p.Assets, standin.Asset{ID: assetID(i), Document: []byte(`{"value":"` + assetID(i) + `"}`)})
	}
	c, err := standin.Start(ctx, standin.Config{Providers: []standin.ProviderConfig{p}})
	if err != nil {
		return f, err
	}
	defer c.Close()
	address := c.Provider(p.Name).Address(standin.Protocol2025)
	with := *b
	with.connectors = connectors.Config{Connectors: []connectors.Connector{{
		Name: standInConnector, Adapter: connectors.AdapterEDC, Match: []string{address}, ManagementURL: c.ManagementURL(),
		Protocol: standin.Protocol2025, Parallelism: transferParallel,
	}}}
	e, err := with.engine(ctx)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	return measure(e, address, c)
}

func assetID(n int) string { return "asset-" + strconv.Itoa(n) }

// newAccess is T1: each transfer needs a negotiation of its own.
func newAccess(ctx context.Context, b *bench) (Figures, error) {
	return withProviders(ctx, b, newAccessTransfers, func(e *engine, provider string, c *standin.Connector) (Figures, error) {
		f, err := e.transfers(ctx, "new", provider, newAccessTransfers, newAccessTransfers)
		if n := len(c.Negotiations()); err == nil && n != newAccessTransfers {
			err = fmt.Errorf("%d negotiations for %d assets", n, newAccessTransfers)
		}
		return f, err
	})
}

// reusedAccess is T2: the access is there when the clock starts.
func reusedAccess(ctx context.Context, b *bench) (Figures, error) {
	return withProviders(ctx, b, reuseAssets, func(e *engine, provider string, c *standin.Connector) (Figures, error) {
		if _, err := e.transfers(ctx, "first", provider, reuseAssets, reuseAssets); err != nil {
			return Figures{}, err
		}
		f, err := e.transfers(ctx, "again", provider, reuseTransfers, reuseAssets)
		if n := len(c.Negotiations()); err == nil && n != reuseAssets {
			err = fmt.Errorf("%d negotiations for %d assets", n, reuseAssets)
		}
		return f, err
	})
}

// manyWishes is T3: one job acquires the same asset again and again, at once.
func manyWishes(ctx context.Context, b *bench) (Figures, error) {
	return withProviders(ctx, b, 1, func(e *engine, provider string, c *standin.Connector) (Figures, error) {
		o := definition.Orchestration{Type: wishType}
		with, err := json.Marshal(map[string]string{"provider": provider, "assetId": assetID(0)})
		if err != nil {
			return Figures{}, err
		}
		for i := range wishes {
			o.Activities = append(o.Activities, definition.Activity{ID: "a" + strconv.Itoa(i), Type: definition.Acquire, With: with})
		}
		raw, err := json.Marshal(o)
		if err != nil {
			return Figures{}, err
		}
		if _, err := e.client.Do(ctx, "PUT", "/v1/definitions/orchestrations/"+wishType, nil, raw, nil); err != nil {
			return Figures{}, fmt.Errorf("put %s: %w", wishType, err)
		}
		began := time.Now()
		if err := e.one(ctx, "wishes", wishType); err != nil {
			return Figures{}, err
		}
		took := seconds(began)
		if n := len(c.Negotiations()); n != 1 {
			return Figures{}, fmt.Errorf("%d negotiations for one asset", n)
		}
		return Figures{Seconds: took}, nil
	})
}

// transfers starts n transfers of so many assets and waits until all have completed.
func (e *engine) transfers(ctx context.Context, prefix, provider string, n, assets int) (Figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel(nil)
	ready := make(chan struct{})
	ended := make(chan struct{}, n)
	cfg := completions.Config{Kafka: e.main.Kafka(), Ready: func() { close(ready) }, Rejected: func(r schemas.Rejected) error {
		return fmt.Errorf("a command was refused: %w", &r.Refusal)
	}}
	running.Go(func() {
		if err := completions.SubscribeTransfers(ctx, cfg, func(t completions.Transfer) error {
			switch {
			case len(t.ID) < len(prefix) || t.ID[:len(prefix)] != prefix:
			case t.Name != schemas.TransferCompleted:
				return fmt.Errorf("transfer %s ended %s: %s", t.ID, t.State, t.Reason)
			default:
				ended <- struct{}{}
			}
			return nil
		}); err != nil {
			cancel(err)
		}
	})
	select {
	case <-ready:
	case <-ctx.Done():
		return Figures{}, context.Cause(ctx)
	}
	c := startClock()
	places := make(chan struct{}, underWay) // taken by those under way
	e.initiate(ctx, cancel, &running, places, prefix, provider, n, assets)
	for range n {
		select {
		case <-ended:
			<-places
		case <-ctx.Done():
			return Figures{}, context.Cause(ctx)
		case <-time.After(patience):
			return Figures{}, fmt.Errorf("no transfer has ended for %s", patience)
		}
	}
	took, cpu := c.read()
	return Figures{
		PerSecond: float64(n) / took,
		note:      fmt.Sprintf("each took %s ms of CPU, the connector's and the provider's included, %.0f %% of the cores", number(cpu*1000/float64(n)), share(cpu, took)),
	}, nil
}

// initiate publishes the starts from several submitters, each when it has a place.
func (e *engine) initiate(ctx context.Context, cancel context.CancelCauseFunc, running *sync.WaitGroup, places chan<- struct{}, prefix, provider string, n, assets int) {
	var next atomic.Int64
	for range submitters {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				select {
				case places <- struct{}{}:
				case <-ctx.Done():
					return
				}
				cmd, err := producers.TransferCommand(jobID(prefix, i), "", transfer.Initiate{Provider: provider, AssetID: assetID(i % assets)})
				if err == nil {
					_, err = e.publisher.Publish(ctx, cmd)
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
}
