package agent

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill/waybill/domain/machine"
)

// traced is a context in the trace that the work came with. It costs nothing where there is none.
func traced(ctx context.Context, w machine.Work) context.Context {
	if w.TraceParent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": w.TraceParent})
}

// trace begins the span of an attempt. The function it returns ends it.
func (s *server) trace(ctx context.Context, w machine.Work) (context.Context, func(Result)) {
	ctx, span := s.cfg.Tracer.Start(traced(ctx, w), "activity "+w.Type, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("waybill.job.id", w.AggregateID),
		attribute.String("waybill.activity.id", w.ActivityID),
		attribute.String("waybill.activity.type", w.Type),
		attribute.String("waybill.work.id", w.ID),
		attribute.Int("waybill.attempt", w.Attempt),
		attribute.String("messaging.system", "kafka"),
		attribute.String("messaging.destination.name", s.topics.Work(w.Type)),
	))
	return ctx, func(r Result) {
		span.SetAttributes(attribute.String("waybill.result", string(r.Kind())))
		if err := r.Err(); err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
