package kafka

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// EmbeddedCluster is the cluster ID by which an embedded broker is known, in another process too.
const EmbeddedCluster = "waybill-embedded"

// Config says how to reach a Kafka cluster. The zero Config is unusable: Brokers is needed.
type Config struct {
	// Brokers are the bootstrap addresses, host:port.
	Brokers []string
	// Prefix is the first part of every topic name; empty means DefaultPrefix.
	Prefix string
	// ClientID names the process in the broker's logs.
	ClientID string
	// Dial replaces the network; tests hand in kfake's virtual network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Security says how the brokers are reached and who we are to them.
	Security Security
	// Silence is what the clients of a process tell each other of brokers that do not answer; nil: nothing.
	Silence *Silence
	// Embedded says that the broker is the embedded one, whose transactions can be
	// torn between partitions by a kill.
	Embedded bool
	// Extra options go last, so they win.
	Extra []kgo.Opt
}

// MetadataMinAge bounds how soon a client may ask for metadata again. A broker answers
// CONCURRENT_TRANSACTIONS right after a commit, and the client then waits for a metadata
// refresh: with the client's default of 5 s single commits took that long.
const MetadataMinAge = 10 * time.Millisecond

// unknownTopicRetries is how often a record may be told that its topic is not known before it fails:
// each time the client waits for MetadataMinAge at least. A broker that was just made the leader of a
// new topic's partitions tells of them before it takes records for them, and others learn of
// them later still; the client's own limit was over after 50 ms.
const unknownTopicRetries = 200

// retryBackoff is how long a client waits before it asks again for what has failed so often. The client's
// own goes up to 2.5 s, after which brokers that had moved everything elsewhere long ago were asked again:
// a group without its coordinator took 5 s more to come together.
func retryBackoff(fails int) time.Duration {
	const first, longest = 100 * time.Millisecond, time.Second
	backoff := longest
	if fails < 5 {
		backoff = min(first<<max(fails-1, 0), longest)
	}
	return time.Duration(float64(backoff) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // so that clients do not all come at once
}

// options are those every client starts from, followed by more.
func (c Config) options(more []kgo.Opt) ([]kgo.Opt, error) {
	unpacker, err := Unpacker()
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerLinger(0),
		kgo.MetadataMinAge(MetadataMinAge),
		kgo.UnknownTopicRetries(unknownTopicRetries),
		kgo.RetryBackoffFn(retryBackoff),
		// What a fetch brings takes several times its size in both ends of the connection, the
		// embedded broker's among them, and the next one is fetched meanwhile.
		kgo.FetchMaxBytes(4 << 20),
		kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.WithDecompressor(unpacker),
		kgo.ProducerBatchMaxBytes(MaxMessageBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	if c.ClientID != "" {
		opts = append(opts, kgo.ClientID(c.ClientID))
	}
	if c.Embedded {
		// It asks every client for measurements, packed, and throws them away.
		opts = append(opts, kgo.DisableClientMetrics())
	}
	dial := dialer(c.Dial)
	if c.Silence != nil {
		dial = c.Silence.dialer(dial)
		opts = append(opts, kgo.RequestTimeoutOverhead(requestTimeout))
	}
	secured, err := c.Security.options(dial)
	if err != nil {
		return nil, err
	}
	return slices.Concat(opts, secured, more, c.Extra), nil
}

// Pass lets a client go on behind a batch that nobody can unpack (Unpacker), before which
// it would stand for ever. Nothing of ours can lie in it: what we write is never that large.
func Pass(cl *kgo.Client, batch *kgo.ErrDecompressTooLarge) {
	cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{
		batch.Topic: {batch.Partition: {Epoch: batch.Epoch, Offset: batch.NextOffset}},
	})
}

// NewClient makes a client with the shared options and more. The caller closes it.
func (c Config) NewClient(more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := c.options(more)
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(opts...)
}

// Close closes a client that blocks rebalances while it works on what it has read. Closing reads what is
// left, which blocks them once more, and whoever was still waiting to leave the group would wait for
// ever (franz-go 1.22.2, client.go: close drains by PollFetches).
func Close(cl *kgo.Client) {
	cl.CloseAllowingRebalance()
	cl.AllowRebalance()
}
