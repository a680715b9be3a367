package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

// crowdSize is how many jobs a crowd has.
const crowdSize = 40

// crowd is many jobs at once at one provider that does badly.
type crowd struct {
	name string
	jobs int // crowdSize
	// retries of one request; zero is the default.
	retries int
	same    bool // all want one document
	fail    bool // some may fail, with a reason
	set     func(p *place)
	// meanwhile is done again and again until all have ended.
	meanwhile func(p *place)
	// negotiations is how many there may be at most.
	negotiations int
}

func crowds() []*crowd {
	return []*crowd{
		{name: "stock connectors end one negotiation in twenty by themselves", negotiations: 2 * crowdSize, set: func(p *place) { p.edc.Stock(.05) }},
		// What looks for a request before it asks again makes three, of which each may fail: some
		// give up, and soon.
		{name: "half of all requests fail", jobs: mostAtOnce, retries: 4, fail: true, negotiations: 3 * mostAtOnce, set: func(p *place) {
			p.edc.OnRequest(standin.AnyRequest, standin.Refuse(503), standin.When{Share: .5})
			p.edc.OnRequest(standin.Document, standin.Refuse(503), standin.When{Share: .5})
		}},
		{name: "one reply in five is lost", negotiations: crowdSize, set: func(p *place) {
			p.edc.OnRequest(standin.AnyRequest, standin.LoseReply(), standin.When{Share: .2})
		}},
		{name: "no callback arrives", negotiations: crowdSize, set: func(p *place) { p.edc.OnCallback("", standin.Lose(), standin.When{}) }},
		{
			name: "the token that all use dies again and again", same: true, negotiations: 1,
			set:       func(p *place) { p.edc.OnRequest(standin.Document, standin.Slow(20*time.Millisecond), standin.When{}) },
			meanwhile: func(p *place) { p.provider.KillTokens(p.asset) },
		},
	}
}

// gather makes a place for a crowd: a connector with a provider that has a document for each job.
func (s *scenario) gather(ctx context.Context, i int, c *crowd) error {
	p := &place{cell: &cell{row: "crowd", column: c.name, want: completes}, s: s, asset: "crowd-0", id: "crowd-" + strconv.Itoa(i), retries: c.retries}
	provider := standin.ProviderConfig{Name: "provider"}
	for n := range crowdSize {
		provider.Assets = append(provider.Assets, standin.Asset{
			ID: "crowd-" + strconv.Itoa(n), Policies: []standin.Policy{standin.Region("eu")}, Document: []byte(`{"value": "seen"}`),
		})
	}
	edc, err := standin.Start(ctx, standin.Config{APIKey: key, Providers: []standin.ProviderConfig{provider}})
	if err != nil {
		return err
	}
	p.edc, p.provider = edc, edc.Provider("provider")
	s.gathered = append(s.gathered, p)
	return nil
}

// crowded plays one crowd: each of its jobs completes, whatever it met.
func (s *scenario) crowded(ctx context.Context, p *place, c *crowd) error {
	began := time.Now()
	c.set(p)
	stop := make(chan struct{})
	if c.meanwhile != nil {
		go func() {
			for tick := time.NewTicker(look); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
					c.meanwhile(p)
				}
			}
		}()
	}
	defer close(stop)
	var failed atomic.Int32
	members := make([]*place, cmp.Or(c.jobs, crowdSize))
	for n := range members {
		member := *p
		member.id = fmt.Sprintf("%s-%d", p.id, n)
		if !c.same {
			member.asset = "crowd-" + strconv.Itoa(n)
		}
		members[n] = &member
	}
	if err := atOnce(members, func(m *place) error {
		if err := s.submit(ctx, m, m.id); err != nil {
			return err
		}
		j, err := s.end(ctx, m, m.id)
		switch {
		case err != nil:
			s.complain("%s: %v", c.name, err)
		case j.State != string(completes) && (!c.fail || j.Error == nil || explained(m, *j.Error) != ""):
			s.complain("%s: job %s ended %s: %+v", c.name, m.id, j.State, j.Error)
		case j.State != string(completes):
			failed.Add(1)
		}
		return nil
	}); err != nil {
		return err
	}
	p.took = time.Since(began)
	n := p.edc.Counts().Providers["provider"]
	if n.Negotiations > c.negotiations || n.Most.Negotiations > mostAtOnce {
		s.complain("%s: %d negotiations, up to %d at once; want at most %d and %d", c.name, n.Negotiations, n.Most.Negotiations, c.negotiations, mostAtOnce)
	}
	fmt.Printf("  %-60s %4d negotiations, %d failed, %5.1f s\n", c.name, n.Negotiations, failed.Load(), p.took.Seconds())
	return nil
}

// mostAtOnce is how many negotiations of one provider are under way at once.
const mostAtOnce = 5
