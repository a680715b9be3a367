package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/consumers/catalog"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/consumers/sweeper"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/redact"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/producers/intake"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/projections/query"
	"github.com/waybill/waybill/schemas"
)

// aggregates lists the aggregate types whose topics are needed.
func aggregates() []string {
	return []string{schemas.AggregateOrchestration, schemas.AggregateDefinition, schemas.AggregateTransfer, schemas.AggregateNegotiation}
}

// ActivityTypes lists the activity types that agents of ours carry out.
func ActivityTypes(c connectors.Config) []string {
	types := []string{
		agents.NoopType, agents.AggregateType, agents.CallbackType, agents.LookupType,
		agents.HTTPType, agents.ExecType, agents.TerraformType, agents.KafkaType,
	}
	return append(append(types, connectors.Types(c)...), provisioners.Types()...)
}

func (m *Main) activityTypes() []string {
	return slices.AppendSeq(ActivityTypes(m.cfg.Connectors), maps.Keys(m.cfg.Agents))
}

// Topics are the topics below a prefix that a server needs.
func Topics(prefix string, embedded bool, activityTypes ...string) kafka.Log {
	return kafka.Log{
		Topics: kafka.Topics{Prefix: prefix, Embedded: embedded}, Aggregates: aggregates(), ActivityTypes: activityTypes,
		Askers: []string{schemas.AggregateOrchestration, schemas.AggregateTransfer, schemas.AggregateNegotiation},
	}
}

func (m *Main) startProjections(ctx context.Context) error {
	if !m.cfg.has(RoleProjections) {
		return nil
	}
	db, err := projections.Open(ctx, projections.Config{Path: m.data.database(), Kafka: m.kafka, Retention: m.cfg.Remember})
	if err != nil {
		return err
	}
	m.db = db
	m.closers = append(m.closers, db.Close)
	m.checks = append(m.checks, check{name: "projections", err: db.Err, more: m.lag})
	m.metrics.gauge("waybill_projection_lag_records", "Offsets of the log that are not yet in the projection; NaN where that is unknown.", m.lagRecords)
	m.begin(ctx, "projections", db.Run)
	return nil
}

// lagTimeout is how long the ends of the log may take to be told.
const lagTimeout = 2 * time.Second

func (m *Main) lagNow() ([]projections.Lag, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
	defer cancel()
	return m.db.Lag(ctx)
}

// lag is what readiness shows of the projection.
func (m *Main) lag() map[string]any {
	lags, err := m.lagNow()
	if err != nil {
		return map[string]any{"lag": nil, "lagError": err.Error()}
	}
	var behind []projections.Lag
	total := int64(0)
	for _, l := range lags {
		if n := l.Records(); n > 0 {
			total += n
			behind = append(behind, l)
		}
	}
	return map[string]any{"lag": total, "behind": behind}
}

func (m *Main) lagRecords() float64 {
	lags, err := m.lagNow()
	if err != nil {
		return math.NaN()
	}
	total := int64(0)
	for _, l := range lags {
		total += l.Records()
	}
	return float64(total)
}

// makeAgents makes the agents of this process. They take work from the topics (startAgents)
// and from the machines of this process (startMachines).
func (m *Main) makeAgents(ctx context.Context) error {
	if !m.cfg.has(RoleAgents) {
		return nil
	}
	m.pool = agent.NewPool(m.cfg.Logger)
	m.pool.KeepLarge(m.blobs)
	cfg := agents.Config{Results: m.data.resultsDir(), Allow: m.cfg.Allow, CallbackKey: m.cfg.CallbackKey}
	if err := agents.Register(m.pool, cfg); err != nil {
		return usage("--allow: %w", err)
	}
	if err := m.makeOutside(ctx); err != nil {
		return err
	}
	for typ, processor := range m.cfg.Agents {
		m.pool.Register(typ, processor, agent.DefaultConcurrency)
	}
	return nil
}

// makeOutside makes the agents that speak with the outside, as far as they are configured.
func (m *Main) makeOutside(ctx context.Context) error {
	settings := m.cfg.Outside
	settings.Allow = append(slices.Clone(settings.Allow), m.cfg.Allow...)
	in, err := m.surroundings()
	if err != nil {
		return err
	}
	m.pool.Redact(func(text string) string { return redact.Text(in.Secrets.Redact(text)) })
	if err := m.makeProviders(in); err != nil {
		return err
	}
	made, err := settings.RegisterConfigured(ctx, m.pool, in)
	for _, p := range made {
		if k, ok := p.(*agents.Kafka); ok {
			m.closers = append(m.closers, func() error { k.Close(); return nil })
			m.begin(ctx, "kafka replies", func(ctx context.Context) error { k.Keep(ctx); return nil })
		}
	}
	if err != nil {
		return usage("agents: %w", err)
	}
	return nil
}

// makeProviders makes the agents that speak with providers, by way of connectors or without, and
// that look after what is pushed.
func (m *Main) makeProviders(in agents.Surroundings) error {
	err := connectors.Register(m.pool, m.cfg.Connectors, connectors.Surroundings{
		Secrets: in.Secrets, Seals: m.keys, Callbacks: in.Callbacks, Allow: m.cfg.Allow,
		Concurrency: m.cfg.Outside.Concurrency,
	})
	if err != nil {
		return usage("connectors: %w", err)
	}
	err = provisioners.Register(m.pool, provisioners.Config{
		Provisioners: m.cfg.Provisioners, Keys: m.keys, Secrets: in.Secrets, Addresses: in.Callbacks, Allow: m.cfg.Allow, MaxBytes: m.cfg.MaxPayload,
	})
	if err != nil {
		return usage("provisioners: %w", err)
	}
	return nil
}

// negotiations are the settings of access through one of our connectors.
func (m *Main) negotiations(connector string) negotiation.Config {
	i := slices.IndexFunc(m.cfg.Connectors.Connectors, func(k connectors.Connector) bool { return k.Name == connector })
	if i < 0 {
		return negotiation.Config{}
	}
	return m.cfg.Connectors.Connectors[i].Negotiations()
}

// surroundings are what this process has for its agents.
func (m *Main) surroundings() (agents.Surroundings, error) {
	store, err := secret.NewStore(secret.Config{Vault: m.cfg.Vault})
	if err != nil {
		return agents.Surroundings{}, usage("vault: %w", err)
	}
	in := agents.Surroundings{Secrets: store, Kafka: m.kafka, Dir: m.data.dir, Log: m.cfg.Logger}
	public := m.cfg.PublicURL
	if public == "" && m.cfg.has(RoleAPI) {
		public = m.URL()
	}
	if public != "" {
		in.Callbacks = m.proofs.At(public)
	}
	if len(m.cfg.AddressKey) > 0 {
		in.Proofs = m.proofs
	}
	return in, nil
}

// startDefinitions keeps the definitions in force at hand for machines and API.
func (m *Main) startDefinitions(ctx context.Context) error {
	m.definitions = catalog.New(m.kafka)
	if !m.cfg.has(RoleMachines) && !m.cfg.has(RoleAPI) {
		return nil // nobody asks, and who has no other role needs no right to read them
	}
	m.begin(ctx, "definitions", m.definitions.Run)
	return nil
}

// leastUnclaimed is how long a large value that nobody refers to is left at least: the command that
// refers to it may be on its way.
const leastUnclaimed = 24 * time.Hour

func (m *Main) startMachines(ctx context.Context) error {
	if !m.cfg.has(RoleMachines) {
		return nil
	}
	routes, err := connectors.NewRoutes(m.cfg.Connectors)
	if err != nil {
		return usage("connectors: %w", err)
	}
	cfg := runner.Config{
		Kafka: m.kafka, Shards: m.cfg.Shards, Member: m.member, Logger: m.cfg.Logger, KeepHistory: m.cfg.KeepHistory, Remember: m.cfg.Remember,
		// HTTP is told before, and whoever it has let in must not be refused here: keys spread unevenly, and
		// what is undecided, as far as the view shows, has not been counted.
		MaxLive: int(2*m.cfg.MaxLive/int64(m.cfg.Shards) + 2*m.cfg.MaxBacklog),
		Machines: []runner.Binding{
			machines.Orchestration(m.definitions, routes, m.cfg.KeepBlobs), machines.Definition(m.definitions),
			machines.Transfer(routes), machines.Negotiation(routes, m.negotiations),
		},
	}
	if m.pool != nil {
		cfg.Local = machines.Local(m.pool)
	}
	r, err := runner.New(cfg)
	if err != nil {
		return err
	}
	m.checks = append(m.checks, check{name: RoleMachines, err: r.Ready, more: func() map[string]any {
		more := map[string]any{"shards": r.Owned()}
		if lacking := r.Lacking(); len(lacking) > 0 {
			more["lackingWorkTopics"] = lacking
		}
		return more
	}})
	m.metrics.gauge("waybill_shards_owned", "Shards that this process decides.", func() float64 { return float64(len(r.Owned())) })
	m.begin(ctx, RoleMachines, r.Run)
	m.begin(ctx, "blobs", func(ctx context.Context) error {
		return sweeper.Run(ctx, sweeper.Config{Kafka: m.kafka, Age: max(m.cfg.KeepBlobs, leastUnclaimed), Logger: m.cfg.Logger})
	}).alone = true
	return nil
}

// agentsIdle is after how long without work of a type its membership is given up: most types have
// none for days, or it is done without a record, by the process that decided it.
const agentsIdle = time.Minute

// agentGrace leaves the parts that stop after the agents enough of the time to stop.
const agentGrace = 1500 * time.Millisecond

func (m *Main) startAgents(ctx context.Context) error {
	if m.pool == nil {
		return nil
	}
	m.begin(ctx, RoleAgents, func(ctx context.Context) error {
		err := m.pool.Serve(ctx, agent.Config{Name: m.member, Kafka: m.kafka, Idle: agentsIdle, Grace: agentGrace, Log: m.cfg.Logger})
		var unfinished *agent.UnfinishedError
		if ctx.Err() != nil && errors.As(err, &unfinished) {
			m.cfg.Logger.Info("agents stopped with work under way; it is tried again", "work", unfinished.Error())
			return nil
		}
		return err
	})
	return nil
}

// serve lets requests in.
func (m *Main) serve(context.Context) error {
	mux := http.NewServeMux()
	m.commonRoutes(mux)
	if m.cfg.has(RoleAPI) {
		if err := m.apiRoutes(mux); err != nil { //nolint:contextcheck // readiness is asked for long after the start
			return err
		}
	}
	m.web.answer(m.metrics.measure(mux))
	return nil
}

func (m *Main) apiRoutes(mux *http.ServeMux) error {
	publisher, err := producers.New(m.kafka, producers.MaxPayload(m.cfg.MaxPayload))
	if err != nil {
		return err
	}
	m.closers = append(m.closers, func() error { publisher.Close(); return nil })
	if m.watch == nil {
		m.checkKafka(publisher.Ping)
	}
	routes, err := connectors.NewRoutes(m.cfg.Connectors)
	if err != nil {
		return usage("connectors: %w", err)
	}
	in, err := intake.New(intake.Config{
		Publisher: publisher, Reads: newReads(m.db, m.definitions), Proofs: m.proofs, Keys: m.keys, MaxPayload: m.cfg.MaxPayload, Logger: m.cfg.Logger,
		Limits: intake.Limits{Backlog: m.cfg.MaxBacklog, Live: m.cfg.MaxLive}, Shards: m.cfg.Shards,
		Rejected: func(reason string) { m.metrics.rejected.WithLabelValues(reason).Inc() },
		Connector: func(provider string) (string, error) {
			route, err := routes.Find(provider)
			return route.Connector, err
		},
	})
	if err != nil {
		return fmt.Errorf("intake: %w", err)
	}
	in.Routes(mux)
	m.metrics.gauge("waybill_commands_behind", "Commands of the shard that is most behind which are not decided, as far as this process knows.", func() float64 { return float64(in.Behind()) })
	own, err := builtInDefinitions()
	if err != nil {
		return err
	}
	query.Routes(mux, query.Config{
		DB: m.db, Blobs: m.blobs, BuiltIn: func(kind string) []query.BuiltIn { return own[kind] },
		Keys: m.keys, Guarded: m.cfg.Token != "", Logger: m.cfg.Logger,
	})
	m.pageRoutes(mux)
	document(mux, "/openapi.json", schemas.OpenAPI())
	document(mux, "/asyncapi.json", schemas.AsyncAPI())
	return nil
}

// builtInDefinitions are the definitions that nobody has to put, by kind, as they are shown.
func builtInDefinitions() (map[string][]query.BuiltIn, error) {
	orchestrations, activities := definition.BuiltIns()
	own := make(map[string][]query.BuiltIn, 2)
	add := func(kind, typ string, d any) error {
		raw, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("built-in definition %s: %w", definition.Key(kind, typ), err)
		}
		own[kind] = append(own[kind], query.BuiltIn{Type: typ, Definition: raw})
		return nil
	}
	for i := range orchestrations {
		if err := add(definition.KindOrchestration, orchestrations[i].Type, &orchestrations[i]); err != nil {
			return nil, err
		}
	}
	for i := range activities {
		if err := add(definition.KindActivity, activities[i].Type, &activities[i]); err != nil {
			return nil, err
		}
	}
	return own, nil
}
