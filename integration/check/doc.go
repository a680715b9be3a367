// Command check holds a whole installation's log, and the files of its projections, against
// the laws that Waybill promises: nothing lost, nothing twice, every command answered, no
// move that is in no table. It only reads, from any Kafka, while the installation runs.
//
//	go run ./integration/check -brokers localhost:9092 -db ./waybill-data/projections.db
//
// It prints each wrong with its topic, partition and offset, and exits with 0 only if there is
// none. Quiet installations can be looked at more closely: with -quiet every command has to be
// decided. Package integration/internal/audit says what the laws are.
package main
