package agents

// Forbidden is shown to tests.
var Forbidden = forbidden

// RetryAfter is shown to tests.
var RetryAfter = retryAfter

// Locked is shown to tests.
var Locked = locked
