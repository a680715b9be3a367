// Command edc runs jobs of `waybill serve` on real connectors of Eclipse Dataspace Components,
// which the script in connectors starts: one consumer, to whom Waybill speaks, and three
// providers. Whatever is counted is counted at the providers, never by Waybill.
//
//	bash integration/edc/run                  some three minutes
//	bash integration/edc/run -full            everything, in full numbers
//	bash integration/edc/run -only tree,push  some parts of it
//
// The flag -brokers has it played on any Kafka, each server with topics of its own.
package main
