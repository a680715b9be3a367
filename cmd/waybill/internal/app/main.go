package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/catalog"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/projections"
	"github.com/waybill/waybill/schemas"
)

const (
	// stopTimeout is how long everything together may take to stop.
	stopTimeout = 5 * time.Second
	// reachTimeout is how long Kafka may take to answer for the first time: a server that is started
	// while a broker is being restarted need not be started again. Somebody with a wrong address is told
	// of it after doubt.
	reachTimeout = time.Minute
	doubt        = 2 * time.Second
)

// Main is the program in one process. Make it with New, start it with Start, end it with
// Close; Run does both. Its other methods are safe for concurrent use between them.
type Main struct {
	cfg    Config
	data   *data
	broker *embedded.Broker
	kafka  kafka.Config
	member string
	proofs *callbacks.Proofs
	keys   *seal.Keyring // secrets cross the log sealed with these; nil where nobody hands any out

	watch       *kafka.Watch  // on what we may do; nil on the embedded broker, which asks nobody
	blobs       schemas.Blobs // where values are kept that are too large for a record
	db          *projections.DB
	pool        *agent.Pool
	definitions *catalog.Catalog
	metrics     *metrics
	checks      []check // what readiness consists of

	listener net.Listener
	web      *web
	parts    []*part        // in the order they were started
	closers  []func() error // likewise
	failed   chan error

	close sync.Once
	ended error
}

// New makes a Main; nothing is started or opened.
func New(cfg Config) *Main {
	return &Main{cfg: cfg, failed: make(chan error, 1), metrics: newMetrics(cfg.Version)}
}

// UnreachableError says that Kafka did not answer.
type UnreachableError struct {
	Brokers []string
	Err     error
}

// Error implements error.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no answer from Kafka at %s: %v: is it running, and is --brokers right?", strings.Join(e.Brokers, ","), e.Err)
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Run starts everything, runs until ctx ends or a part fails, and stops everything.
func (m *Main) Run(ctx context.Context) error {
	if err := m.Start(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // told to stop before it had started
		}
		return err
	}
	return errors.Join(m.Wait(ctx), m.Close())
}

// Wait waits until ctx ends, which is no error, or a part fails.
func (m *Main) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-m.failed:
		return err
	}
}

// Start starts every part and returns when requests are answered. ctx bounds the start
// only. Where it fails, what was started has been stopped again.
func (m *Main) Start(ctx context.Context) error {
	var err error
	if m.cfg, err = m.cfg.complete(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		m.openData, m.openKeys, m.listen, m.startBroker, m.prepareTopics,
		m.startProjections, m.startDefinitions, m.makeAgents, m.startMachines, m.startAgents, m.serve,
	} {
		if err = step(ctx); err == nil {
			select {
			case err = <-m.failed:
			default:
			}
		}
		if err != nil {
			return errors.Join(err, m.Close())
		}
	}
	m.cfg.Logger.Info("waybill is up", "api", m.URL(), "kafka", strings.Join(m.kafka.Brokers, ","),
		"data", m.data.dir, "roles", strings.Join(m.cfg.Roles, ","), "member", m.member)
	return nil
}

// Close stops everything that was started, last first, within five seconds, and says
// what did not stop. Calling it again returns the same.
func (m *Main) Close() error {
	m.close.Do(func() {
		deadline := time.After(stopTimeout)
		var errs []error
		for _, p := range m.parts {
			if p.alone {
				p.stop()
			}
		}
		for i := len(m.parts) - 1; i >= 0; i-- {
			errs = append(errs, m.parts[i].end(deadline))
		}
		for i := len(m.closers) - 1; i >= 0; i-- {
			errs = append(errs, m.closers[i]())
		}
		m.ended = errors.Join(errs...)
	})
	return m.ended
}

// URL is where the HTTP interface is reached.
func (m *Main) URL() string {
	scheme := "http"
	if m.cfg.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + reachable(m.listener.Addr())
}

// reachable names a host where the listener takes every address of this machine.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return a.String()
}

// Kafka says how to reach the log.
func (m *Main) Kafka() kafka.Config { return m.kafka }

// Data is the directory this process keeps its data in.
func (m *Main) Data() string { return m.data.dir }

func (m *Main) openData(context.Context) error {
	d, err := openData(m.cfg.Data)
	if err != nil {
		return err
	}
	m.data = d
	m.closers = append(m.closers, d.close)
	if m.member, err = d.member(); err != nil {
		return err
	}
	key := m.cfg.AddressKey
	if len(key) == 0 {
		if key, err = d.addressKey(); err != nil {
			return err
		}
	}
	m.proofs = callbacks.New(key)
	return nil
}

// startBroker starts the embedded broker unless there is another, and finds out which
// kind the other is: an embedded one in another process tears transactions all the same.
func (m *Main) startBroker(ctx context.Context) error {
	m.kafka = kafka.Config{Brokers: m.cfg.Brokers, Prefix: m.cfg.Prefix, ClientID: "waybill-" + m.member, Security: m.cfg.Security}
	if len(m.cfg.Brokers) == 0 {
		b, err := embedded.Start(ctx, embedded.Config{
			Dir: m.data.brokerDir(), Listen: m.cfg.KafkaListen, Fsync: m.cfg.Fsync, Logger: m.cfg.Logger,
		})
		if err != nil {
			return &UsageError{err}
		}
		m.broker = b
		m.closers = append(m.closers, b.Close)
		m.checks = append(m.checks, check{name: "broker", err: b.Err})
		logHealed(m.cfg.Logger, b)
		m.kafka.Brokers, m.kafka.Embedded = []string{b.Addr()}, true
		return nil
	}
	m.kafka.Silence = new(kafka.Silence)
	id, err := m.clusterID(ctx)
	m.kafka.Embedded = id == kafka.EmbeddedCluster
	return err
}

// logHealed says what an unclean stop has cost.
func logHealed(log *slog.Logger, b *embedded.Broker) {
	if h := b.Healed(); h.Unclean {
		log.Info("the last stop was not clean; the broker's data is whole again", "aborted", h.Aborted, "dropped bytes", h.DroppedBytes, "took", h.Took)
	}
}

// watchRights checks that this process may do what its roles do, now and whenever readiness is asked for.
func (m *Main) watchRights(ctx context.Context, log kafka.Log) error {
	probe, err := m.kafka.NewProbe()
	if err != nil {
		return fmt.Errorf("make a client for Kafka: %w", err)
	}
	m.closers = append(m.closers, func() error { probe.Close(); return nil })
	m.watch = &kafka.Watch{Client: probe, Log: log}
	for _, role := range m.cfg.Roles {
		m.watch.Roles = append(m.watch.Roles, kafka.Role(role))
	}
	m.checkKafka(m.watch.Check) //nolint:contextcheck // readiness is asked for long after the start
	return m.watch.Rights(ctx)
}

func (m *Main) checkKafka(ask func(context.Context) error) {
	m.checks = append(m.checks, check{name: "kafka", err: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
		defer cancel()
		return ask(ctx)
	}})
}

func (m *Main) clusterID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	cl, err := m.kafka.NewClient()
	if err != nil {
		return "", usage("--brokers: %w", err)
	}
	defer cl.Close()
	var brokers kadm.Metadata
	began, told := time.Now(), false
	err = kafka.Await(ctx, func(ctx context.Context) (err error) {
		brokers, err = kadm.NewClient(cl).BrokerMetadata(ctx)
		if err != nil && !told && time.Since(began) > doubt {
			told = true
			m.cfg.Logger.Warn("Kafka does not answer; it is waited for", "brokers", strings.Join(m.kafka.Brokers, ","), "at most", reachTimeout, "err", err)
		}
		return err
	})
	if _, access := errors.AsType[*kafka.AccessError](err); access {
		return "", fmt.Errorf("refused by Kafka at %s: %w", strings.Join(m.kafka.Brokers, ","), err)
	}
	if err != nil {
		return "", &UnreachableError{m.kafka.Brokers, err}
	}
	return brokers.Cluster, nil
}

func (m *Main) prepareTopics(ctx context.Context) error {
	store := blobs.New(m.kafka)
	m.blobs = schemas.Blobs{Store: store, Max: m.cfg.MaxPayload}
	m.closers = append(m.closers, func() error { store.Close(); return nil })
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	cl, err := m.kafka.NewClient()
	if err != nil {
		return fmt.Errorf("make a client for Kafka: %w", err)
	}
	defer cl.Close()
	if err = m.fitTopics(ctx, cl); errors.Is(err, context.DeadlineExceeded) {
		return &UnreachableError{m.kafka.Brokers, err}
	}
	return err
}

// fitTopics sees to it that the topics are there and as they should be. On a Kafka of others nothing is
// created by the way: how many partitions and replicas there are is chosen once.
func (m *Main) fitTopics(ctx context.Context, cl *kgo.Client) error {
	log := Topics(m.cfg.Prefix, m.kafka.Embedded, m.activityTypes()...)
	specs := log.Specs(m.cfg.Shards, log.Aggregates, log.ActivityTypes)
	if m.kafka.Embedded {
		return kafka.EnsureTopics(ctx, cl, specs)
	}
	if m.cfg.CreateTopics {
		if err := kafka.EnsureTopics(ctx, cl, specs); err != nil {
			return err
		}
	}
	if err := m.watchRights(ctx, log); err != nil {
		return err
	}
	if !m.cfg.has(RoleMachines) { // whose topics they are
		return nil
	}
	states, err := kafka.InspectOnly(ctx, cl, specs)
	if err != nil {
		return kafka.Explain(err)
	}
	for _, s := range states {
		for _, d := range s.Differences {
			if d.Note && d.Setting == "replication" {
				m.cfg.Logger.Warn("a topic has few copies", "topic", s.Name, "difference", d.String())
			}
		}
	}
	return kafka.Unfit(states)
}
