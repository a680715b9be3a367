package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agent/services"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const (
	// reachTimeout is how long Kafka may take to answer for the first time: an agent that is started
	// while a broker is being restarted need not be started again. Somebody with a wrong address is told
	// of it after doubt.
	reachTimeout = time.Minute
	doubt        = 2 * time.Second
	// pingTimeout is how long it may take to answer whoever asks for readiness.
	pingTimeout = 2 * time.Second
	// closeTimeout is how long the end of the services may take: traces are exported.
	closeTimeout = 3 * time.Second
	// fetchers of a type, on one node of Kafka: more brought no more.
	fetchers = 4
	// headerTimeout keeps a client that never finishes its request from holding a connection.
	headerTimeout = 10 * time.Second
)

// program is an agent under way.
type program struct {
	agent   Agent
	cfg     config
	log     *slog.Logger
	kafka   kafka.Config
	metrics *metrics
	serving atomic.Bool
	watch   *kafka.Watch
}

func newProgram(a Agent, cfg config, env Env) (*program, error) {
	log, err := cfg.logger(env.Err)
	if err != nil {
		return nil, err
	}
	p := &program{
		agent: a, cfg: cfg, log: log, metrics: newMetrics(a.Name, a.Version),
		kafka: kafka.Config{Brokers: cfg.Brokers, Prefix: cfg.Prefix, ClientID: cfg.Name, Security: cfg.Kafka, Silence: new(kafka.Silence)},
	}
	probe, err := p.kafka.NewProbe()
	if err != nil {
		return nil, usagef("--brokers: %w", err)
	}
	rights := kafka.Log{Topics: p.kafka.Topics(), Askers: []string{schemas.AggregateOrchestration}, ConsumerGroup: cfg.ConsumerGroup}
	for _, t := range a.Types {
		rights.ActivityTypes = append(rights.ActivityTypes, t.Type)
	}
	p.watch = &kafka.Watch{Client: probe, Roles: []kafka.Role{kafka.RoleAgents}, Log: rights}
	return p, nil
}

// run starts everything, serves until ctx ends, and stops everything.
func (p *program) run(ctx context.Context) error {
	defer p.watch.Client.Close()
	ln, err := p.listen(ctx)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: p.routes(), ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	defer func() {
		server.Close() //nolint:errcheck // there is nothing left to lose
		<-ended        //nolint:errcheck // it says that the server was closed
	}()
	if err := p.reach(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	s, err := p.services(ctx)
	if err != nil {
		return err
	}
	defer p.close(s) //nolint:contextcheck // ctx has ended by then
	pool, err := p.pool(ctx, s)
	if err != nil {
		return err
	}
	p.log.Info("the agent is up", "name", p.cfg.Name, "types", strings.Join(pool.Types(), ","), "kafka", strings.Join(p.cfg.Brokers, ","), "listen", ln.Addr().String())
	p.serving.Store(true)
	err = pool.Serve(ctx, agent.Config{
		Name: p.cfg.Name, Kafka: p.kafka, ConsumerGroup: p.cfg.ConsumerGroup, Fetchers: fetchers, Grace: p.grace(), Log: s.Log, Tracer: s.Tracer, Redact: s.Secrets.Redact,
	})
	p.serving.Store(false)
	unfinished, ok := errors.AsType[*agent.UnfinishedError](err)
	if ok && ctx.Err() != nil {
		p.log.Warn("stopped with work under way; it is tried again when its lease runs out", "work", unfinished.Error())
		return nil
	}
	return err
}

// grace is the configured time; agent.Config takes zero for its default.
func (p *program) grace() time.Duration {
	if p.cfg.Grace == 0 {
		return -1
	}
	return time.Duration(p.cfg.Grace)
}

// reach waits for Kafka for a while: a wrong address is not retried for ever.
func (p *program) reach(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	began, told := time.Now(), false
	err := kafka.Await(limited, func(ctx context.Context) error {
		err := p.watch.Client.Ping(ctx)
		if err != nil && !told && time.Since(began) > doubt {
			told = true
			p.log.Warn("Kafka does not answer; it is waited for", "brokers", strings.Join(p.cfg.Brokers, ","), "at most", reachTimeout, "err", err)
		}
		return err
	})
	if err == nil {
		err = p.watch.Rights(limited)
	}
	if err != nil && ctx.Err() == nil {
		if denied(err) {
			return fmt.Errorf("refused by Kafka at %s: %w", strings.Join(p.cfg.Brokers, ","), err)
		}
		return unreachableError{fmt.Errorf("no answer from Kafka at %s: %w: is it running, and is --brokers right?", strings.Join(p.cfg.Brokers, ","), err)}
	}
	return nil
}

func (p *program) services(ctx context.Context) (*services.Services, error) {
	settings, err := json.Marshal(p.cfg.Settings)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return services.New(ctx, services.Config{
		Name: p.agent.Name, Version: p.agent.Version, Log: p.log,
		HTTP:     services.HTTPConfig{Timeout: time.Duration(p.cfg.HTTPTimeout), Tries: p.cfg.HTTPTries},
		Secrets:  secret.Config{Vault: p.cfg.Vault},
		Traces:   services.TracesConfig{Endpoint: p.cfg.OTLPEndpoint},
		Kafka:    p.kafka,
		Settings: settings,
	})
}

func (p *program) close(s *services.Services) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		p.log.Warn("the services did not end well", "error", err)
	}
}

func (p *program) pool(ctx context.Context, s *services.Services) (*agent.Pool, error) {
	pool := agent.NewPool(s.Log)
	for _, t := range p.agent.Types {
		processor, err := t.New(ctx, s)
		if err == nil && processor == nil {
			err = errors.New("its New returned none")
		}
		if err != nil {
			return nil, fmt.Errorf("make the processor of %s: %w", t.Type, err)
		}
		n := p.cfg.Concurrency[t.Type]
		pool.Register(t.Type, p.metrics.measure(t.Type, n, processor), n)
	}
	return pool, nil
}

func (p *program) listen(ctx context.Context) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", p.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usagef("%s is in use by another program: choose another address with --listen host:port (port 0 takes a free one)", p.cfg.Listen)
	case err != nil:
		return nil, usagef("--listen %s: %w", p.cfg.Listen, err)
	}
	return ln, nil
}

func (p *program) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !p.serving.Load() {
			answer(w, http.StatusServiceUnavailable, "the agent takes no work: it starts or stops")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
		defer cancel()
		if err := p.watch.Check(ctx); err != nil {
			answer(w, http.StatusServiceUnavailable, "Kafka: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", p.metrics.handler())
	return mux
}

func answer(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, line)
}
