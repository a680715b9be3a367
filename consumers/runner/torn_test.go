package runner_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// durable is a broker in a data directory, in fake time.
func durable(t *testing.T, dir string) (kafka.Config, func()) {
	t.Helper()
	var network kfake.VirtualNetwork
	b, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Listen: "127.0.0.1:9092", ListenFn: network.Listen})
	if err != nil {
		t.Fatal(err)
	}
	return kafka.Config{Brokers: []string{b.Addr()}, Dial: network.DialContext, Embedded: true}, func() {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A kill in the middle of the embedded broker's last commit leaves it whole in some
// partitions and open in others. Whatever the transaction was for, a new owner makes it whole.
func TestATornLastTransactionIsMadeWhole(t *testing.T) {
	register := func(p *agent.Pool) {
		p.Register("noop", quick{}, 4)
		p.Register("again", again{}, 4)
		p.Register("slow", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return agent.Complete(nil) }), 4)
	}
	for name, c := range map[string]struct {
		typ    string // of the orchestration
		wrong  bool   // the start is refused
		end    string
		events int // at least; an offer more, where local work was lost
	}{
		"of a command":                  {typ: "chain", end: "orchestration.completed", events: 8},
		"of a timer":                    {typ: "again", end: "orchestration.completed", events: 8},
		"of a local agent's result":     {typ: "slow", end: "orchestration.completed", events: 4},
		"of a refused command's answer": {typ: "missing", wrong: true, end: "command.rejected"},
	} {
		for cut, topics := range map[string]func(kafka.Topics) []string{
			"in what follows from it": func(n kafka.Topics) []string { return []string{n.Completions(aggregate)} },
			"everywhere": func(n kafka.Topics) []string {
				return []string{n.Completions(aggregate), n.Events(aggregate)}
			},
		} {
			t.Run(name+", cut "+cut, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir := t.TempDir()
					run := func(act func(f *fleet)) {
						cfg, stop := durable(t, dir)
						f := fleetOn(t, cfg, nil, 1, quickPlans(t))
						f.checkpoint = 1 << 20 // the last transaction is the one that is torn
						m := f.join("a", register)
						f.owns(m, 1)
						act(f)
						m.gate.kill() // what it would still write down on a clean stop is lost
						m.stop()
						f.cl.Close()
						stop()
					}
					ended := func(f *fleet) {
						f.until("the end", func() bool {
							l, _ := f.completions("job")
							return slices.Equal(l, []string{c.end})
						})
						if n := len(f.history("job")); n < c.events || n > c.events+1 {
							t.Errorf("%d events, want %d, or an offer more", n, c.events)
						}
					}
					run(func(f *fleet) {
						f.sendAs("c1", "job", schemas.OrchestrationStart, `{"type":"`+c.typ+`"}`)
						ended(f)
					})
					for _, topic := range topics(kafka.Topics{}) {
						embeddedtest.CutLastMarker(t, dir, topic, 0)
					}
					run(ended)
					run(func(f *fleet) { // and it stays so
						ended(f)
						f.sendAs("c1", "job", schemas.OrchestrationStart, `{"type":"`+c.typ+`"}`)
						f.sendAs("c2", "other", schemas.OrchestrationStart, `{"type":"chain"}`)
						f.ends("other", "completed")
						ended(f)
					})
				})
			})
		}
	}
}
