// Package kafkatest gives a test any Kafka, so that what must hold on each is one test: the
// embedded broker, in memory, or, where WAYBILL_TEST_BROKERS names brokers, that one.
//
//	cfg := kafkatest.New(t)
//
// On a Kafka of others every test has a prefix of its own, and what it makes below that is
// removed again: topics, and the offsets of groups. What is about the embedded broker itself, or
// needs fake time, which no broker of others has, uses embeddedtest, which passes the test over
// where brokers are named: nothing would be learned from it.
package kafkatest
