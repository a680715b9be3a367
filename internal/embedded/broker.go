package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"
)

// DefaultListen is where the broker listens unless Config.Listen says otherwise.
const DefaultListen = "127.0.0.1:9092"

// Config says where the broker keeps its data and where it is reached. Dir is needed.
type Config struct {
	// Dir holds everything the broker knows. It is made if it is missing, and used by
	// one process at a time.
	Dir string
	// Listen is the address, host:port, that the broker listens on and tells clients
	// to connect to; empty means DefaultListen, port 0 a free port.
	Listen string
	// Fsync writes to the disk before anything is acknowledged, so that it survives
	// the death of the machine and not only of the process.
	Fsync bool
	// Logger takes the broker's warnings and errors; nil discards them.
	Logger *slog.Logger
	// ListenFn replaces net.Listen; tests in fake time hand in kfake's virtual network.
	ListenFn func(network, address string) (net.Listener, error)
}

// Broker is a running embedded broker. Its methods are safe for concurrent use.
type Broker struct {
	dir     string
	addr    string
	healed  Report
	cluster *kfake.Cluster
	groups  *groups // nil on a network of a test's own
	space   *space  // likewise
	log     *logger
	lock    *os.File

	close func() error
}

// Start opens the data directory, heals it if it was not closed cleanly, and serves it.
// Clients that connect during the healing wait for its end. The context bounds the
// start only; the broker runs until Close.
//
// A data directory that another process uses and an address that is taken are errors
// fit to be shown to the user.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Dir == "" {
		return nil, errors.New("the embedded broker needs a data directory")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory %s: %w", cfg.Dir, err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	b, err := startLocked(ctx, cfg, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return b, nil
}

func startLocked(ctx context.Context, cfg Config, lock *os.File) (*Broker, error) {
	ln, err := listen(ctx, cfg)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		dir:  cfg.Dir,
		addr: ln.Addr().String(),
		log:  &logger{to: cfg.Logger},
		lock: lock,
	}
	if b.log.to == nil {
		b.log.to = slog.New(slog.DiscardHandler)
	}
	if b.healed, err = prepare(ctx, cfg, b.log); err == nil {
		b.cluster, err = newCluster(cfg, ln, b.log)
	}
	if err == nil {
		whole(b.cluster)
	}
	if err == nil && cfg.ListenFn == nil {
		if b.groups, err = keepGroups(cfg.Dir, b.cluster, b.log); err != nil { //nolint:contextcheck // the broker outlives the context of its start
			b.cluster.Close()
		} else {
			b.space = watchSpace(cfg.Dir, b.cluster, b.log.to)
		}
	}
	if err != nil {
		ln.Close() //nolint:errcheck // whoever failed may have closed it
		return nil, fmt.Errorf("open data directory %s: %w", cfg.Dir, err)
	}
	b.close = sync.OnceValue(b.shutDown)
	// Reading the log leaves several times more behind than what the broker keeps of it.
	debug.FreeOSMemory()
	return b, nil
}

// listen takes the address before anything else is done, so that a start that cannot
// succeed fails at once.
func listen(ctx context.Context, cfg Config) (net.Listener, error) {
	address := cfg.Listen
	if address == "" {
		address = DefaultListen
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--kafka-listen %s: want host:port: %w", address, err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		return nil, fmt.Errorf("--kafka-listen %s: clients are told to connect to this address, so it must name one host", address)
	}
	fn := cfg.ListenFn
	if fn == nil {
		fn = func(network, address string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, network, address)
		}
	}
	ln, err := fn("tcp", address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another program: choose another address with --kafka-listen host:port (port 0 takes a free one)", address)
	}
	if err != nil {
		return nil, fmt.Errorf("--kafka-listen %s: %w", address, err)
	}
	return ln, nil
}

// prepare heals the data directory if it has to be.
func prepare(ctx context.Context, cfg Config, log *logger) (Report, error) {
	clean, err := takeCleanStop(cfg.Dir)
	if err == nil && clean {
		err = checkFiles(cfg.Dir)
	}
	if err != nil || clean {
		return Report{}, err
	}
	report, err := heal(ctx, cfg, log)
	if err != nil {
		return Report{}, fmt.Errorf("heal after an unclean stop: %w", err)
	}
	return report, nil
}

// newCluster starts a cluster on the data directory that serves ln, and closes ln with it.
func newCluster(cfg Config, ln net.Listener, log *logger) (*kfake.Cluster, error) {
	opts := append(Options(),
		kfake.DataDir(cfg.Dir),
		kfake.WithLogger(log),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return ln, nil }),
	)
	if cfg.Fsync {
		opts = append(opts, kfake.SyncWrites())
	}
	return kfake.NewCluster(opts...)
}

// Dir is the data directory.
func (b *Broker) Dir() string { return b.dir }

// Addr is the address, host:port, at which clients reach the broker.
func (b *Broker) Addr() string { return b.addr }

// Healed says what this start did about an unclean stop before it.
func (b *Broker) Healed() Report { return b.healed }

// Close stops the broker, saves everything and records that the stop was clean. An
// error means that the next start will heal. Calling it again returns the same.
func (b *Broker) Close() error { return b.close() }

// Err is why the broker takes no records for now: a *FullError. Nil: it does.
func (b *Broker) Err() error {
	if b.space == nil {
		return nil
	}
	return b.space.err()
}

func (b *Broker) shutDown() error {
	if b.space != nil {
		b.space.stop()
	}
	if b.groups != nil {
		b.groups.end()
	}
	b.log.keep()
	b.cluster.Close()
	err := b.log.kept()
	if err == nil {
		err = writeCleanStop(b.dir)
	}
	if err = errors.Join(err, b.lock.Close()); err != nil {
		return fmt.Errorf("close data directory %s: %w", b.dir, err)
	}
	return nil
}
