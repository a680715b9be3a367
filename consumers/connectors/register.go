package connectors

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
	"github.com/waybill/waybill/consumers/connectors/plain"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/seal"
)

// The types of work.
const (
	CatalogType              = "catalog"
	NegotiationRequestType   = "negotiation-request"
	NegotiationPollType      = "negotiation-poll"
	NegotiationTerminateType = "negotiation-terminate"
	EDRRequestType           = "edr-request"
	EDRPollType              = "edr-poll"
	EDRRefreshType           = "edr-refresh"
	EDREndType               = "edr-end"
	TransferRequestType      = "transfer-request"
	TransferPollType         = "transfer-poll"
	TransferTerminateType    = "transfer-terminate"
	TransferSuspendType      = "transfer-suspend"
	TransferResumeType       = "transfer-resume"
	FetchType                = "fetch"
)

// Concurrencies, by their names in Surroundings.Concurrency beside those of the types.
const (
	// RequestsName is how many requests that start something (catalogs, negotiations, processes)
	// this process has under way at once, of all types together.
	RequestsName = "connectors"
	// DefaultRequests is the one of RequestsName, DefaultConcurrency that of a type: mostly they
	// wait for the other side.
	DefaultRequests    = 128
	DefaultConcurrency = 128
)

// Surroundings are what a process has for these agents.
type Surroundings struct {
	Secrets     *secret.Store
	Seals       *seal.Keyring        // nil: what has to be sealed or opened fails
	Callbacks   *callbacks.Addresses // nil: nobody reaches us, so everything is polled
	Allow       []string             // hosts that may be fetched from, beside those of connectors
	Limits      outbound.Limits      // of a document
	Concurrency map[string]int       // by type of work, or RequestsName
}

// set are the agents of one process.
type set struct {
	speakers map[string]*speaker
	seals    *seal.Keyring
	asks     chan struct{} // a place for each request that starts something
}

// speaker speaks through one connector.
type speaker struct {
	name      string
	adapter   adapter.Adapter
	contracts adapter.Contracts // nil: it knows none
	first     time.Duration
	most      time.Duration
	callbacks *callbacks.Addresses
}

// Types lists the types of work that Register registers: fetch alone where no connector knows
// contracts, for nobody asks for the rest then but processes that are configured otherwise, whose
// work is not ours to fail.
func Types(cfg Config) []string {
	if !slices.ContainsFunc(cfg.Connectors, func(k Connector) bool { return k.Adapter == AdapterEDC }) {
		return []string{FetchType}
	}
	return slices.Sorted(maps.Keys((&set{}).agents()))
}

// Register registers the agents of Types, for all configured connectors.
func Register(pool *agent.Pool, cfg Config, in Surroundings) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	s := &set{speakers: map[string]*speaker{}, seals: in.Seals, asks: make(chan struct{}, cmp.Or(in.Concurrency[RequestsName], DefaultRequests))}
	hosts, err := outbound.New(in.Allow)
	if err != nil {
		return err
	}
	none := Connector{Adapter: AdapterHTTP}
	for _, k := range append([]Connector{none}, cfg.Connectors...) {
		if s.speakers[k.Name], err = k.speaker(hosts, in); err != nil {
			return fmt.Errorf("connector %s: %w", k.Name, err)
		}
	}
	agents := s.agents()
	for _, typ := range Types(cfg) {
		pool.Register(typ, agents[typ], in.concurrency(typ))
	}
	return nil
}

func (in Surroundings) concurrency(typ string) int {
	return cmp.Or(in.Concurrency[typ], DefaultConcurrency)
}

func (k Connector) speaker(hosts *outbound.Hosts, in Surroundings) (*speaker, error) {
	s := &speaker{
		name: k.Name, callbacks: in.Callbacks,
		first: cmp.Or(time.Duration(k.Poll.First), DefaultFirstPoll), most: cmp.Or(time.Duration(k.Poll.Most), DefaultMostPoll),
	}
	s.most = max(s.first, s.most)
	limits := in.Limits
	// A provider may make the document first: who gives it time gives it time to begin.
	limits.Timeout, limits.Stall = cmp.Or(time.Duration(k.Timeout), limits.Timeout), cmp.Or(time.Duration(k.Timeout), limits.Stall)
	if k.Adapter == AdapterHTTP {
		match, err := patterns(k.Match)
		if err != nil {
			return nil, err
		}
		s.adapter = plain.New(plain.Config{
			Hosts: hosts.Or(func(u *url.URL) bool { return fit(match, u) }), Limits: limits, Concurrency: in.concurrency(FetchType),
		})
		return s, nil
	}
	if k.CallbackURL != "" && s.callbacks != nil {
		s.callbacks = s.callbacks.CalledAt(k.CallbackURL)
	}
	endpoints, err := outbound.New(append(slices.Clone(k.AllowEndpoints), in.Allow...))
	if err != nil {
		return nil, err
	}
	s.contracts = edc.New(edc.Config{
		Name: k.Name, ManagementURL: k.ManagementURL, APIKey: k.APIKey, Secrets: in.Secrets, Protocol: k.Protocol,
		Refresh: k.Refresh == RefreshTractusX, Accepted: k.AcceptedPolicies, Endpoints: endpoints,
		Timeout: time.Duration(k.Timeout), Limits: limits, Concurrency: DefaultConcurrency,
	})
	s.adapter = s.contracts
	return s, nil
}

// agents are the processors by type of work.
func (s *set) agents() map[string]agent.Processor {
	return map[string]agent.Processor{
		CatalogType:              s.asking(catalog),
		NegotiationRequestType:   s.asking(negotiate),
		NegotiationPollType:      s.speaking(pollNegotiation),
		NegotiationTerminateType: s.speaking(endNegotiation),
		EDRRequestType:           s.asking(s.start),
		EDRPollType:              s.speaking(s.pollEDR),
		EDRRefreshType:           s.speaking(s.refreshEDR),
		EDREndType:               s.speaking(endEDR),
		TransferRequestType:      s.asking(s.start),
		TransferPollType:         s.speaking(pollTransfer),
		TransferTerminateType:    s.speaking(terminate),
		TransferSuspendType:      s.speaking(tell(adapter.Suspend)),
		TransferResumeType:       s.speaking(tell(adapter.Resume)),
		FetchType:                agent.ProcessorFunc(s.fetch),
	}
}

// where is what the input of every work says.
type where struct {
	Connector      string             `json:"connector"`
	Provider       string             `json:"provider"`
	CounterPartyID string             `json:"counterPartyId"`
	Callback       *callbacks.Subject `json:"callback"`
}

func (w where) party() adapter.Party {
	return adapter.Party{Provider: w.Provider, ID: w.CounterPartyID}
}

// job is one piece of work, with whom it is about and who speaks with them.
type job struct {
	agent.Activity
	*speaker
	where
}

// callback is the address at which the connector may report about the work; "" for none.
func (j job) callback() string {
	if j.Callback == nil || j.callbacks == nil {
		return ""
	}
	return j.callbacks.Connector(*j.Callback)
}

// repeat says that somebody may have done this already.
func (j job) repeat() bool { return j.Attempt > 1 || j.Offer > 1 }

// speaking makes an agent of what speaks through a connector that knows contracts.
func (s *set) speaking(do func(ctx context.Context, j job) agent.Result) agent.Processor {
	return agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
		j := job{Activity: a}
		if err := a.Input.Decode(&j.where); err != nil {
			return agent.Fatal(err).AtStep(adapter.StepAddress)
		}
		var err error
		if j.speaker, err = s.speaker(j.Connector); err != nil {
			return agent.Fatal(err).AtStep(adapter.StepAddress)
		}
		if j.contracts == nil {
			return agent.Fatal(fmt.Errorf("%s is spoken with by adapter %s, which knows no contracts", j.Provider, AdapterHTTP)).AtStep(adapter.StepAddress)
		}
		return do(ctx, j)
	})
}

// asking is speaking for what starts something: of that only so much is under way at once.
func (s *set) asking(do func(ctx context.Context, j job) agent.Result) agent.Processor {
	return s.speaking(func(ctx context.Context, j job) agent.Result {
		select {
		case s.asks <- struct{}{}:
		case <-ctx.Done():
			return agent.Retry(fmt.Errorf("too much is asked for at once: %w", context.Cause(ctx)))
		}
		defer func() { <-s.asks }()
		return do(ctx, j)
	})
}

func (s *set) speaker(connector string) (*speaker, error) {
	k, ok := s.speakers[connector]
	if !ok {
		return nil, fmt.Errorf("this agent has no connector %q: add it to connectors in its configuration", connector)
	}
	return k, nil
}
