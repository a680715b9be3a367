package kafka

import (
	"context"
	"errors"
	"time"
)

// breath is how long Await waits before it asks again.
const breath = 250 * time.Millisecond

// Await asks until there is an answer or ctx ends: a broker that is started at the same time as
// whoever asks refuses connections for a moment. Its error is that of the last question which
// ctx did not cut short.
func Await(ctx context.Context, ask func(context.Context) error) error {
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(breath):
		}
	}
}
