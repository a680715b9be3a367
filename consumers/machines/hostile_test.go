package machines_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// viaEDC speaks with every provider through one connector.
type viaEDC struct{}

func (viaEDC) Find(provider string) (connectors.Route, error) {
	return connectors.Route{Provider: provider, Connector: "edc", Adapter: connectors.AdapterEDC, CounterPartyID: "them"}, nil
}

// newTransfers is the machines of transfers and negotiations on one shard, without an agent.
func newTransfers(t *testing.T) (p *process, r *runner.Runner) {
	t.Helper()
	cfg, _ := embeddedtest.Virtual(t)
	ctx, cancel := context.WithCancel(t.Context())
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(ctx, cl, cfg.Topics().Specs(1, []string{schemas.AggregateTransfer, schemas.AggregateNegotiation}, nil)); err != nil {
		t.Fatal(err)
	}
	sub, err := cfg.NewClient(kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeTopics(cfg.Topics().Completions(schemas.AggregateTransfer), cfg.Topics().Completions(schemas.AggregateNegotiation)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	settings := func(string) negotiation.Config { return negotiation.Config{Refresh: true} }
	r, err = runner.New(runner.Config{
		Kafka: cfg, Shards: 1, Member: "m", Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Machines: []runner.Binding{machines.Transfer(viaEDC{}), machines.Negotiation(viaEDC{}, settings)},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &process{t: t, cfg: cfg, cl: cl, sub: sub}, r
}

// goesOn checks that the shard still decides.
func (p *process) goesOn(r *runner.Runner) {
	p.t.Helper()
	p.decided()
	p.send("transfer", "last", schemas.TransferInitiate, `{"provider":"http://p:1","assetId":"doc"}`)
	p.send("transfer", "last", schemas.TransferTerminate, `{"reason":"seen"}`)
	for {
		if _, value := p.answer(); strings.Contains(value, `"last"`) {
			break
		}
	}
	if err := r.Ready(); err != nil {
		p.t.Error(err)
	}
}

const (
	key  = "edc http://p:1"
	wish = `{"provider":"http://p:1","assetId":"doc","need":"edr","waiter":"w"}`
)

// completes reports on the n-th task of the negotiation, which has that name.
func (p *process) completes(n int, name, output string) {
	p.decided()
	work := task.WorkID("negotiation", key, name, strconv.Itoa(n))
	p.send("negotiation", key, schemas.WorkComplete, fmt.Sprintf(`{"workId":%q,"attempt":1,"output":%s}`, work, output))
}

// What is legal in a command, and doubles or multiplies in what is made of it, must not stop a shard: its
// records could never be written.
func TestNothingThatFitsACommandStopsAShard(t *testing.T) {
	for name, attack := range map[string]func(p *process){
		"an input that grows when it is quoted": func(p *process) {
			p.send("transfer", "t", schemas.TransferInitiate, `{"provider":"http://p:1","assetId":"doc","properties":{"x":"`+strings.Repeat("<", 900<<10)+`"}}`)
			p.send("transfer", "t", schemas.TransferGranted, `{"negotiation":"`+key+`","round":1,"negotiationId":"n","assetId":"doc","agreementId":"a","edr":{"processId":"p","data":{"$sealed":"k.AAAA"}}}`)
		},
		"a policy that grows when it is quoted": func(p *process) {
			p.send("negotiation", key, schemas.NegotiationAcquire, wish)
			p.completes(1, "catalog doc", `{"offers":[{"assetId":"doc","offerId":"o","policy":{"x":"`+strings.Repeat("<", 900<<10)+`"}}]}`)
		},
		"names as long as a command": func(p *process) {
			for _, w := range []string{"a", "b", "c", "d", "e", "f"} {
				p.send("negotiation", key, schemas.NegotiationAcquire, `{"provider":"http://p:1","assetId":"doc","need":"edr","waiter":"`+strings.Repeat(w, 1000<<10)+`"}`)
			}
			p.completes(1, "catalog doc", `{"offers":[]}`)
		},
		"a type of more assets than an answer holds": func(p *process) {
			p.send("negotiation", key, schemas.NegotiationAcquire, `{"provider":"http://p:1","assetType":"x","need":"edr","waiter":"w"}`)
			var offers strings.Builder
			for i := range 20_000 {
				fmt.Fprintf(&offers, `,{"assetId":"%d","unacceptable":"x"}`, i)
			}
			p.completes(1, "listing x", `{"offers":[`+offers.String()[1:]+`]}`)
		},
		"an EDR that is good for ever": func(p *process) {
			p.send("negotiation", key, schemas.NegotiationAcquire, wish)
			p.completes(1, "catalog doc", `{"offers":[{"assetId":"doc","offerId":"o","policy":{}}]}`)
			p.completes(2, "negotiation-request doc", `{"negotiationId":"n"}`)
			p.completes(3, "negotiation-poll doc", `{"state":"FINALIZED","agreementId":"a"}`)
			p.completes(4, "edr-request doc", `{}`)
			p.completes(5, "edr-poll doc", `{"state":"STARTED","edr":{"$sealed":"k.AAAA"},"expiresAt":"9999-12-31T23:59:59Z"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, r := newTransfers(t)
				attack(p)
				p.goesOn(r)
			})
		})
	}
}
