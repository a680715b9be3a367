package agents

// Locked is shown to tests.
var Locked = locked
