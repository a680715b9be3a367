package embeddedtest

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
)

// OthersVariable is the environment variable that names the brokers, HOST:PORT,…, of a Kafka that is
// to take the place of the embedded broker, wherever a test can do without it.
const OthersVariable = "WAYBILL_TEST_BROKERS"

// Others are the brokers that the environment names; none if it names none. Package kafkatest gives
// tests a place on them.
func Others() []string {
	return strings.FieldsFunc(os.Getenv(OthersVariable), func(r rune) bool { return r == ',' || r == ' ' })
}

// New starts an in-memory cluster on a free loopback port, with more options after
// those every cluster of ours has, and closes it when the test ends.
func New(t testing.TB, more ...kfake.Opt) kafka.Config {
	t.Helper()
	c := start(t, more...)
	return kafka.Config{Brokers: c.ListenAddrs(), Embedded: true}
}

// Virtual starts an in-memory cluster on a network that exists only inside the
// process, as a testing/synctest bubble needs it: call it inside the bubble, with the
// bubble's T. The cluster is returned for its control functions and fault injection.
// It ends with the test; clients must be closed by then, or the bubble never ends.
func Virtual(t testing.TB, more ...kfake.Opt) (kafka.Config, *kfake.Cluster) {
	t.Helper()
	var network kfake.VirtualNetwork
	// A fixed port: the virtual network does not choose free ones, and each network
	// has only this cluster.
	c := start(t, append([]kfake.Opt{
		kfake.Ports(9092),
		kfake.ListenFn(network.Listen),
	}, more...)...)
	return kafka.Config{Brokers: c.ListenAddrs(), Dial: network.DialContext, Embedded: true}, c
}

func start(t testing.TB, more ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	if len(Others()) > 0 {
		t.Skip("it is about the embedded broker, or needs fake time: " + OthersVariable + " names another")
	}
	c, err := kfake.NewCluster(append(embedded.Options(), more...)...)
	if err != nil {
		t.Fatalf("start an in-memory cluster: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}
