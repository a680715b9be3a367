package outbound

// Forbidden is shown to tests.
var Forbidden = forbidden
