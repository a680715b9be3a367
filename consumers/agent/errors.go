package agent

import "errors"

var (
	// ErrStopped is the cause of a processor's context that ended because its agent stops.
	ErrStopped = errors.New("the agent is stopping")
	// ErrCancelled is the cause of a processor's context that ended because nobody wants
	// the result any more.
	ErrCancelled = errors.New("the work is no longer wanted")
)
