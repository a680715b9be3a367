package launch

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybill/waybill/consumers/agent"
)

// metrics are what /metrics shows.
type metrics struct {
	registry   *prometheus.Registry
	activities *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	running    *prometheus.GaugeVec
	slots      *prometheus.GaugeVec
}

func newMetrics(name, version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		activities: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_agent_activities_total", Help: "Attempts processed, by type and result.",
		}, []string{"type", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waybill_agent_activity_duration_seconds", Help: "Time a processor took for an attempt, by type.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 11),
		}, []string{"type"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waybill_agent_running", Help: "Attempts under way, by type.",
		}, []string{"type"}),
		slots: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waybill_agent_slots", Help: "How many attempts may be under way at once, by type.",
		}, []string{"type"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "waybill_agent_build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"agent": name, "version": version, "go": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.activities, m.duration, m.running, m.slots, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// measure counts what a processor does.
func (m *metrics) measure(typ string, slots int, p agent.Processor) agent.Processor {
	m.slots.WithLabelValues(typ).Set(float64(slots))
	running, duration := m.running.WithLabelValues(typ), m.duration.WithLabelValues(typ)
	return agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
		began := time.Now()
		running.Inc()
		result := "panic" // unless the processor returns
		defer func() {
			running.Dec()
			duration.Observe(time.Since(began).Seconds())
			m.activities.WithLabelValues(typ, result).Inc()
		}()
		r := p.Process(ctx, a)
		result = string(r.Kind())
		return r
	})
}
