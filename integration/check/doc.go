// Command check holds a whole installation's log, and the files of its projections, against
// the laws that Waybill promises: nothing lost, nothing twice, every command answered, no
// move that is in no table. It only reads, from any Kafka, while the installation runs.
//
//	go run ./integration/check -brokers kafka-1:9092,kafka-2:9092
//	go run ./integration/check -embedded -db ./waybill-data/projections.db     of `waybill serve` on this machine
//
// It prints each wrong with its topic, partition and offset, and exits with 0 only if there is
// none. Quiet installations can be looked at more closely: with -quiet every command has to be
// decided. Package integration/internal/audit says what the laws are.
package main
