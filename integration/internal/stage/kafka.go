package stage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
)

// clearing is how long removing what a scenario has left on a Kafka of others may take.
const clearing = 30 * time.Second

// Kafka is where the log of a scenario is that can be played on any: with the embedded broker, or on
// that of others.
type Kafka struct {
	brokers *string
	prefix  string
}

// NewKafka registers -brokers. On a Kafka of others the topics of each run have a prefix of their own.
func NewKafka(scenario string) *Kafka {
	return &Kafka{
		brokers: flag.String("brokers", os.Getenv(cluster.BrokersVariable), "host:port,… of a Kafka to play on instead of the embedded broker"),
		prefix:  scenario + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36),
	}
}

// Apart is the same Kafka with topics apart, for a server that has its log alone.
func (k *Kafka) Apart(name string) *Kafka {
	return &Kafka{brokers: k.brokers, prefix: k.prefix + "." + name}
}

// Others says whether it is that of others.
func (k *Kafka) Others() bool { return *k.brokers != "" }

// Config is how to reach it; embedded is where the embedded broker listens.
func (k *Kafka) Config(embedded string) kafka.Config {
	if k.Others() {
		return kafka.Config{Brokers: strings.Split(*k.brokers, ","), Prefix: k.prefix}
	}
	return kafka.Config{Brokers: []string{embedded}, Prefix: kafka.DefaultPrefix, Embedded: true}
}

// Args are what `waybill serve` has to be told.
func (k *Kafka) Args(embedded string) []string {
	if k.Others() {
		return []string{"--brokers", *k.brokers, "--prefix", k.prefix, "--create-topics"}
	}
	return []string{"--kafka-listen", embedded}
}

// Seal is what else servers have to be told that keep secrets on a log which is not theirs alone: where the
// key lies, a file in dir, which it makes. One with the embedded broker makes a key of its own.
func Seal(dir string) ([]string, error) {
	path := filepath.Join(dir, "seal.keys")
	if _, err := os.Stat(path); err == nil {
		return []string{"--seal-keys-file", path}, nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return []string{"--seal-keys-file", path}, os.WriteFile(path, []byte("k1:"+base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
}

// String says where it is, for the first line that a scenario prints.
func (k *Kafka) String() string {
	if k.Others() {
		return "Kafka at " + *k.brokers
	}
	return "the embedded broker"
}

// Clear removes what the scenario has left on a Kafka of others.
func (k *Kafka) Clear(ctx context.Context) error {
	if !k.Others() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearing)
	defer cancel()
	return kafkatest.Clear(ctx, k.Config(""))
}
