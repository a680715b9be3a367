// Command containers runs a command with a real Kafka, which it has in a container while that lasts:
//
//	containers go test ./...
//
// The image is Apache Kafka's own, unless WAYBILL_TEST_KAFKA_IMAGE names another; the command finds
// the brokers in WAYBILL_TEST_BROKERS, its code is the program's, and the container goes with it.
// The script run next to it has the suites of Go tests run so, which otherwise have the embedded
// broker, and says at the start which Kafka it got and how.
package main
