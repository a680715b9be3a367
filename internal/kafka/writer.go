package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Writer holds the client of somebody who writes outside of transactions for as long as the
// process lives. A client that is once answered, when it asks a broker for its producer id, with an error that is none
// to try again after (UNKNOWN_SERVER_ERROR, while the broker's disk has trouble) keeps that
// answer for good and refuses every record from then on (franz-go 1.22.2, producer.go:
// doInitProducerID). Such a client is replaced. Safe for concurrent use.
type Writer struct {
	renew func() (*kgo.Client, error)

	mu     sync.Mutex
	client *kgo.Client
	closed bool
}

// NewWriter makes a Writer whose clients have the shared options and more. The caller closes it.
func (c Config) NewWriter(more ...kgo.Opt) (*Writer, error) {
	renew := func() (*kgo.Client, error) { return c.NewClient(more...) }
	cl, err := renew()
	if err != nil {
		return nil, fmt.Errorf("make a client for Kafka at %s: %w", strings.Join(c.Brokers, ","), err)
	}
	return &Writer{renew: renew, client: cl}, nil
}

// Client is the client to write with now.
func (w *Writer) Client() *kgo.Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.client
}

// known is how long a client may take to say whether it has a producer id. One that was told that
// it gets none says so at once.
const known = time.Second

// Failed is to be told of every record that a client of the Writer's could not write, and why: whoever
// tries again then finds a client that can.
func (w *Writer) Failed(ctx context.Context, client *kgo.Client, err error) {
	answer, ok := errors.AsType[*kerr.Error](err)
	if !ok || answer.Retriable {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), known)
	defer cancel()
	if _, _, err = client.ProducerID(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		return // it was the record's fault, or the topic's
	}
	w.replace(client)
}

func (w *Writer) replace(client *kgo.Client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.client != client {
		return // somebody else has
	}
	cl, err := w.renew()
	if err != nil {
		return // the options were good before
	}
	w.client = cl
	client.Close() // what was buffered has been refused
}

// Close closes the client.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.client.Close()
}
