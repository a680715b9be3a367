package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Passing says that an error goes away by itself: the broker's own word for it, or a fault of
// the connection. A broker that goes down closes connections in the middle of the first answer,
// which the client takes for a mistake in how it was set up, and tells.
func Passing(err error) bool {
	if err == nil {
		return false
	}
	answer, ok := errors.AsType[*kerr.Error](err)
	return !ok || answer.Retriable
}

// Denied says that the brokers do not let us in, or not do something, which whoever starts gives up for. Whoever
// runs goes on once the right, or the password, is there again: until then readiness names it (Watch).
func Denied(err error) bool {
	_, denied := errors.AsType[*AccessError](Explain(err))
	return denied
}
