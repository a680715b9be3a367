// Command cluster shows on a real Kafka what `go test ./...` shows on the embedded broker: it runs
// the suites of Go tests that need a Kafka (package internal/kafka/kafkatest) on the brokers that
// WAYBILL_TEST_BROKERS names, and fails if one fails, or if a package has none that ran there.
//
// It gets the Kafka from the scripts run of this directory and of integration/containers:
//
//   - brokers that WAYBILL_TEST_BROKERS names;
//   - else a container, through testcontainers-go, where a Docker engine answers: integration/containers;
//   - else Apache Kafka from Maven, started by the script kafka: this directory.
//
// The script run of either prefers its own way, and falls back to the other's where it cannot have
// that and is not told that it must (DOCKER=required). Scenarios that can be played on any Kafka
// follow, shared out between the two, in small: their flag -brokers takes the same brokers. With -share odd
// here and -share even there, as .ci/run has it, every suite runs in both ways, and every test of a
// long one in one of them.
//
// Tests in fake time have no real broker, and say so by being passed over. What the runner's tests
// show in fake time they show here in real time, beside each other, for they mostly wait.
package main
