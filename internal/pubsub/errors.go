package pubsub

import (
	"errors"
	"fmt"
)

// ErrClosed is what a Publisher or Subscriber answers after its Close.
var ErrClosed = errors.New("closed")

// PublishError says which message could not be published, and where to. Publish joins
// one of them per message that failed. A message whose outcome is unknown (the broker
// went away before it answered) is among them, so publishing it again may store it twice.
type PublishError struct {
	Topic string
	UUID  string
	Err   error
}

// Error implements error.
func (e *PublishError) Error() string {
	return fmt.Sprintf("publish message %q to topic %q: %v", e.UUID, e.Topic, e.Err)
}

// Unwrap gives the cause.
func (e *PublishError) Unwrap() error { return e.Err }

// SubscriptionError says what went wrong in a subscription that goes on nevertheless.
// Partition and Offset are -1 where the fault does not concern a single one.
type SubscriptionError struct {
	Topic     string
	Group     string
	Partition int32
	Offset    int64
	Doing     string
	Err       error
}

// Error implements error.
func (e *SubscriptionError) Error() string {
	where := fmt.Sprintf("topic %q", e.Topic)
	if e.Partition >= 0 {
		where += fmt.Sprintf(" partition %d", e.Partition)
	}
	if e.Offset >= 0 {
		where += fmt.Sprintf(" offset %d", e.Offset)
	}
	if e.Group != "" {
		where += fmt.Sprintf(" (group %q)", e.Group)
	}
	return fmt.Sprintf("%s: %s: %v", e.Doing, where, e.Err)
}

// Unwrap gives the cause.
func (e *SubscriptionError) Unwrap() error { return e.Err }
