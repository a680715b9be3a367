package kafka_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/kafka"
)

func TestATroubleThatGoesOnIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told kafka.Told
		lines := 0
		for range 60 {
			if !told.Again(errors.New("nobody answers")) {
				lines++
			}
			time.Sleep(time.Second) //nolint:forbidigo // fake time
		}
		if lines != 2 {
			t.Errorf("%d lines in a minute, want 2", lines)
		}
		if told.Again(errors.New("something else")) {
			t.Error("another trouble was not told")
		}
	})
}

func TestABrokerThatIsAwayIsAPassingFault(t *testing.T) {
	for _, err := range []error{&kgo.ErrFirstReadEOF{}, kerr.NotLeaderForPartition, errors.New("connection refused")} {
		if !kafka.Passing(err) {
			t.Errorf("%v does not pass", err)
		}
	}
	for _, err := range []error{nil, kerr.TopicAuthorizationFailed, kerr.CorruptMessage} {
		if want := err == kerr.CorruptMessage; kafka.Passing(err) != want { //nolint:errorlint // the very value
			t.Errorf("%v: passing is %v, want %v", err, !want, want)
		}
	}
}
