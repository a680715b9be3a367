package services

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/internal/kafka"
)

// Services are handed to whoever makes a processor. All of them are safe for concurrent use.
type Services struct {
	Name    string       // of the agent
	HTTP    *http.Client // with timeouts and retries, see HTTPConfig; requests carry the trace
	Secrets *secret.Store
	Log     *slog.Logger // prints no secret
	Tracer  trace.Tracer // does nothing unless traces are exported
	Kafka   kafka.Config // where the log is, for agents that write commands of their own

	settings json.RawMessage
	closers  []func(context.Context) error
}

// Config says how the services are made. Only Name is needed.
type Config struct {
	Name    string
	Version string       // of the agent, shown in traces
	Log     *slog.Logger // slog.Default unless set
	HTTP    HTTPConfig
	Secrets secret.Config
	Traces  TracesConfig
	Kafka   kafka.Config
	// Settings are the agent's own, a JSON object.
	Settings json.RawMessage
}

// New makes the services. Close ends them.
func New(ctx context.Context, cfg Config) (*Services, error) {
	if cfg.Name == "" {
		return nil, errors.New("services: Config.Name is missing")
	}
	secrets, err := secret.NewStore(cfg.Secrets)
	if err != nil {
		return nil, err
	}
	log := cmp.Or(cfg.Log, slog.Default())
	s := &Services{
		Name: cfg.Name, HTTP: NewHTTPClient(cfg.HTTP), Secrets: secrets, Kafka: cfg.Kafka,
		Log: slog.New(&redacting{log.Handler(), secrets.Redact}), settings: cfg.Settings,
	}
	tracer, stop, err := newTracer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.Tracer = tracer
	s.closers = append(s.closers, stop, func(context.Context) error { s.HTTP.CloseIdleConnections(); return nil })
	return s, nil
}

// Settings decodes the agent's own settings into v, a pointer. A setting that v does not
// have is an error, and so is what v says of itself where it has a method Check() error.
func (s *Services) Settings(v any) error {
	if len(s.settings) > 0 {
		if err := yaml.UnmarshalStrict(s.settings, v); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	if c, ok := v.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
	}
	return nil
}

// Close lets the services end: what was traced is exported, within the time of ctx.
func (s *Services) Close(ctx context.Context) error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c(ctx))
	}
	return errors.Join(errs...)
}
