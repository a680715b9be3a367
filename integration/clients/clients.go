package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// record is one as the clients write and read them: kcat's own notation.
type record struct {
	Topic     string   `json:"topic,omitempty"`
	Partition *int32   `json:"partition,omitempty"` // none: as the client's partitioner has it
	Offset    int64    `json:"offset,omitempty"`
	Key       string   `json:"key"`
	Headers   []string `json:"headers"` // name, value, …
	Payload   string   `json:"payload"`
}

func (r *record) header(name string) string {
	for i := 0; i+1 < len(r.Headers); i += 2 {
		if r.Headers[i] == name {
			return r.Headers[i+1]
		}
	}
	return ""
}

// client is one of the three.
type client struct {
	name string
	// write publishes records, in order.
	write func(ctx context.Context, records []record) error
	// read is the program that prints the records of a topic, from its beginning on.
	read func(isolation, topic string) []string
}

func (s *scenario) clients() []client {
	brokers := strings.Join(s.cfg.Brokers, ",")
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", s.classpath, "Client", brokers}
	python := []string{"python3", "integration/clients/client.py", brokers}
	return []client{
		{
			"kcat", func(ctx context.Context, records []record) error { return kcatWrites(ctx, brokers, records) },
			func(isolation, topic string) []string {
				return []string{"kcat", "-C", "-q", "-u", "-J", "-o", "beginning", "-b", brokers, "-t", topic, "-X", "isolation.level=" + isolation}
			},
		},
		program("Java", java),
		program("Python", python),
	}
}

// program is a client of this directory.
func program(name string, command []string) client {
	return client{
		name,
		func(ctx context.Context, records []record) error {
			var lines bytes.Buffer
			for _, r := range records {
				if err := json.NewEncoder(&lines).Encode(r); err != nil {
					return err
				}
			}
			return writes(ctx, &lines, append(slices.Clone(command), "write"))
		},
		func(isolation, topic string) []string { return append(slices.Clone(command), "read", isolation, topic) },
	}
}

// kcatWrites runs kcat for each record, as somebody at a shell would.
func kcatWrites(ctx context.Context, brokers string, records []record) error {
	for _, r := range records {
		args := []string{"kcat", "-P", "-b", brokers, "-t", r.Topic, "-k", r.Key}
		for i := 0; i+1 < len(r.Headers); i += 2 {
			args = append(args, "-H", r.Headers[i]+"="+r.Headers[i+1])
		}
		if r.Partition != nil {
			args = append(args, "-p", strconv.Itoa(int(*r.Partition)))
		}
		if err := writes(ctx, strings.NewReader(r.Payload), args); err != nil {
			return err
		}
	}
	return nil
}

func writes(ctx context.Context, input io.Reader, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // a client of the scenario
	cmd.Stdin = input
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

// reader is a client that reads.
type reader struct {
	name string
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	records []record
	fault   error
}

// reader starts a program that prints records.
func (s *scenario) reader(ctx context.Context, name string, command []string) (*reader, error) {
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // a client of the scenario
	cmd.Stderr = s.Log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &reader{name: name, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		err := r.follow(out)
		r.fail(errors.Join(err, cmd.Wait()))
	}()
	return r, nil
}

func (r *reader) follow(out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var rec record
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		r.mu.Lock()
		r.records = append(r.records, rec)
		r.mu.Unlock()
	}
	return lines.Err()
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = err
}

// seen are the records up to now, by key.
func (r *reader) seen() map[string][]record {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := map[string][]record{}
	for _, rec := range r.records {
		m[rec.Key] = append(m[rec.Key], rec)
	}
	return m
}

// await waits until the reader has seen records of so many keys.
func (r *reader) await(ctx context.Context, keys int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readWithin, fmt.Errorf("not after %s", readWithin))
	defer cancel()
	for {
		n := len(r.seen())
		if n >= keys {
			return nil
		}
		if err := pause(ctx, r); err != nil {
			return fmt.Errorf("it has seen ends of %d jobs, not of %d: %w", n, keys, err)
		}
	}
}

// pause lets a moment pass, if the reader still runs.
func pause(ctx context.Context, r *reader) error {
	select {
	case <-r.done:
		return fmt.Errorf("it has ended by itself: %w", r.fault)
	default:
		return api.Pause(ctx, 20*time.Millisecond)
	}
}

// end stops the program.
func (r *reader) end() {
	r.stop()
	<-r.done
}
