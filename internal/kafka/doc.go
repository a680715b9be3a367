// Package kafka holds what every Kafka connection of the project shares: how a
// client is made, what the topics are called, and how a topic is laid out.
//
// Every client is a franz-go client. The defaults that matter are set here and
// nowhere else: readers are read_committed, an offset out of range is an error
// instead of a silent rewind, producers do not linger, and keys are placed by
// murmur2, as Java and franz-go clients do.
package kafka
