package services

import (
	"context"
	"fmt"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TracesConfig says where traces go. Without an Endpoint, and without OpenTelemetry's own
// environment variables that name one, nothing is exported.
type TracesConfig struct {
	// Endpoint is the URL of an OTLP receiver that speaks HTTP, http://localhost:4318.
	Endpoint string
	// Exporter replaces the OTLP exporter.
	Exporter sdk.SpanExporter
}

// tracerName is what spans say they were made by.
const tracerName = "github.com/waybill/waybill/consumers/agent"

func newTracer(ctx context.Context, cfg Config) (trace.Tracer, func(context.Context) error, error) {
	exporter := cfg.Traces.Exporter
	if exporter == nil {
		if !cfg.Traces.wanted() {
			return noop.NewTracerProvider().Tracer(tracerName), func(context.Context) error { return nil }, nil
		}
		var opts []otlptracehttp.Option
		if cfg.Traces.Endpoint != "" {
			opts = append(opts, otlptracehttp.WithEndpointURL(cfg.Traces.Endpoint))
		}
		var err error
		if exporter, err = otlptracehttp.New(ctx, opts...); err != nil {
			return nil, nil, fmt.Errorf("export of traces: %w", err)
		}
	}
	self := resource.NewSchemaless(
		attribute.String("service.name", cfg.Name), attribute.String("service.version", cfg.Version),
	)
	merged, err := resource.Merge(resource.Environment(), self)
	if err != nil {
		merged = self // two versions of the naming: the agent's own names will do
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(merged))
	return provider.Tracer(tracerName), provider.Shutdown, nil
}

func (c TracesConfig) wanted() bool {
	return c.Endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}
