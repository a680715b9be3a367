package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// shards is how many partitions the topics have that commands go to.
const shards = 8

// anyPartition leaves the choice to the client's own partitioner.
const anyPartition = -1

// command is a record for the commands topic, whatever is wrong with it.
type command struct {
	id, typ   string // headers; an empty one is left out
	subject   string // likewise
	key       []byte // nil: none
	value     []byte // nil: none
	partition int32
}

func (c *command) headers() [][2]string {
	h := [][2]string{{"ce_specversion", "1.0"}, {"ce_source", "/outsiders"}, {"content-type", "application/json"}}
	for _, x := range [][2]string{{"ce_id", c.id}, {"ce_type", c.typ}, {"ce_subject", c.subject}} {
		if x[1] != "" {
			h = append(h, x)
		}
	}
	return h
}

// client is whoever writes commands and reads answers. What it reads has the header's
// ce_id and ce_type, key and value.
type client interface {
	name() string
	write(ctx context.Context, c command) error
	read(ctx context.Context, topic string) ([]audit.Record, error)
}

// newClient is kcat where it is installed. A value is handed to it in a file.
func newClient(cfg kafka.Config, file string) client {
	commands := cfg.Topics().Commands(schemas.AggregateOrchestration)
	if bin, err := exec.LookPath("kcat"); err == nil {
		return &kcat{bin, strings.Join(cfg.Brokers, ","), commands, file}
	}
	return &plain{cfg.Brokers, commands}
}

type kcat struct{ bin, brokers, commands, file string }

func (k *kcat) name() string { return "kcat" }

func (k *kcat) write(ctx context.Context, c command) error {
	args := []string{"-P", "-b", k.brokers, "-t", k.commands, "-X", "message.max.bytes=10000000", "-X", "acks=all"}
	for _, h := range c.headers() {
		args = append(args, "-H", h[0]+"="+h[1])
	}
	if c.partition != anyPartition {
		args = append(args, "-p", strconv.Itoa(int(c.partition)))
	}
	var input string
	switch {
	case c.value == nil: // of an empty file kcat makes no record, of a line with nothing but a key one without a value
		args = append(args, "-Z", "-K", unitSeparator)
		input = string(c.key) + unitSeparator + "\n"
	case c.key != nil:
		args = append(args, "-k", string(c.key), k.file)
	default:
		args = append(args, k.file)
	}
	if err := os.WriteFile(k.file, c.value, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, k.bin, args...) //nolint:gosec // found in PATH
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("kcat has not written %s: %w: %s", c.id, err, out)
	}
	return nil
}

// separators that no JSON and no header of ours has.
const unitSeparator, recordSeparator = "\x1f", '\x1e'

func (k *kcat) read(ctx context.Context, topic string) ([]audit.Record, error) {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, k.bin, "-C", "-q", "-e", "-o", "beginning", "-b", k.brokers, "-t", topic, //nolint:gosec // found in PATH
		"-X", "isolation.level=read_committed", "-X", "fetch.message.max.bytes=10000000",
		"-f", strings.Join([]string{"%p", "%o", "%k", "%h", "%s"}, unitSeparator)+string(recordSeparator))
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kcat has not read %s: %w: %s", topic, err, errs.String())
	}
	var records []audit.Record
	in := bufio.NewReader(bytes.NewReader(out))
	for {
		line, err := in.ReadString(recordSeparator)
		if err != nil {
			return records, nil //nolint:nilerr // the end
		}
		f := strings.SplitN(strings.TrimSuffix(line, string(recordSeparator)), unitSeparator, 5)
		if len(f) < 5 {
			return nil, fmt.Errorf("kcat has read %q from %s", line, topic)
		}
		partition, err := strconv.ParseInt(f[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("kcat: %w", err)
		}
		r := audit.Record{Partition: int32(partition), Key: f[2], Value: f[4]}
		for h := range strings.SplitSeq(f[3], ",") {
			switch key, value, _ := strings.Cut(h, "="); key {
			case "ce_id":
				r.ID = value
			case "ce_type":
				r.Type = value
			}
		}
		records = append(records, r)
	}
}

// plain does what kcat does, with the library that everything here is written with.
type plain struct {
	brokers  []string
	commands string
}

func (p *plain) name() string { return "no kcat: a plain client with its partitioner" }

func (p *plain) write(ctx context.Context, c command) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(p.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(10_000_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	r := &kgo.Record{Topic: p.commands, Key: c.key, Value: c.value, Partition: c.partition}
	if c.partition == anyPartition {
		r.Partition = int32(crc32.ChecksumIEEE(c.key) % shards)
	}
	for _, h := range c.headers() {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return cl.ProduceSync(ctx, r).FirstErr()
}

func (p *plain) read(ctx context.Context, topic string) ([]audit.Record, error) {
	return audit.Read(ctx, p.brokers, topic)
}
