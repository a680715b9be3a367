package kafka_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/internal/kafka"
)

func TestABrokerThatIsJustBeingStartedIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := kafka.Await(t.Context(), func(context.Context) error {
			if time.Since(began) < 3*time.Second {
				return errors.New("connection refused")
			}
			return nil
		})
		if err != nil || time.Since(began) > 4*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestWhyABrokerDoesNotAnswerIsSaidInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refused := errors.New("connection refused")
		err := kafka.Await(ctx, func(ctx context.Context) error {
			if deadline, _ := ctx.Deadline(); time.Until(deadline) > 300*time.Millisecond {
				return refused
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, refused) {
			t.Errorf("%v; want why, not only that time was over", err)
		}
	})
}
