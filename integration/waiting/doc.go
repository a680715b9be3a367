// Command waiting measures what orchestrations cost that wait for somebody outside.
//
// It starts `waybill serve`, starts many orchestrations of one activity each that waits, and
// completes all of them over HTTP. Then it checks:
//
//   - while all of them wait, the process holds less than 200 MB of memory more than before the
//     first, all that starting them in a few seconds has left unused in it included;
//   - every one of them ends COMPLETED, with the output that it was completed with.
//
// The flag -brokers has it played on any Kafka. It prints the figures, and exits with 0 only if all of this was so.
package main
