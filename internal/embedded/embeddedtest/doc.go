// Package embeddedtest gives tests a Kafka cluster.
//
// New is for ordinary tests: an in-memory cluster on a free loopback port. Virtual
// is for tests inside a testing/synctest bubble: no network at all, so that fake
// time runs, and the cluster itself to inject faults. Both end with the test.
// CutLastMarker makes the data directory of a stopped broker look as if the broker
// had been killed in the middle of a commit.
package embeddedtest
