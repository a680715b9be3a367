package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// breath is how long Await waits before it asks again.
	breath = 250 * time.Millisecond
	// doubt is how long Await goes on when it is not let in: a broker that starts, or a right that was
	// given a moment ago, may take as long.
	doubt = 3 * time.Second
)

// admission is how long Admitted waits for the first answer.
const admission = 5 * time.Second

// Admitted is an *AccessError where the brokers do not let us in, which a client that reads or writes tries
// again for ever, without a word. Brokers that are away are no error: they are waited for.
func (c Config) Admitted(ctx context.Context) error {
	if c.Embedded {
		return nil
	}
	cl, err := c.NewProbe()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, admission)
	defer cancel()
	err = Await(ctx, cl.Ping)
	if _, access := errors.AsType[*AccessError](err); access {
		return fmt.Errorf("refused by Kafka at %s: %w", strings.Join(c.Brokers, ","), err)
	}
	return nil
}

// Await asks until there is an answer or ctx ends: a broker that is started at the same time as
// whoever asks refuses connections for a moment. Its error is that of the last question which
// ctx did not cut short. It does not wait long to be let in where it is not: that is an *AccessError.
func Await(ctx context.Context, ask func(context.Context) error) error {
	var last error
	var refused time.Time
	for {
		err := Explain(ask(ctx))
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			last = err
		}
		if _, access := errors.AsType[*AccessError](err); !access {
			refused = time.Time{}
		} else if refused.IsZero() {
			refused = time.Now()
		} else if time.Since(refused) > doubt {
			return err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(breath):
		}
	}
}
