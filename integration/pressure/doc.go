// Command pressure pushes jobs into `waybill serve` as hard as it can while something behind the
// intake is slower than it:
//
//   - agents: work takes its time, and more is asked for than they do;
//   - the view: another program holds the SQLite file;
//   - Kafka: the broker is stopped (SIGSTOP) for a while, in the middle of it;
//   - machines: somebody publishes commands to Kafka, past the intake, faster than they are decided.
//
// Of each it checks:
//
//   - the server's memory stays under a limit, which is printed with the most that was seen;
//   - whoever pushes is answered 202 or, once there is no room, 503 with Retry-After, and nothing else (Kafka takes everything);
//     the metrics say for what there was no room;
//   - every job that was accepted ends COMPLETED, once: the log is held against its laws afterwards.
//
// Then it puts what nobody can read at the head of every topic, and checks that a job ends in every shard all the same, that
// the server takes no more of the processor than when it is idle, that dead letters can be replayed, and that an event
// which nobody knows stops its partition alone, by name.
//
// It prints the figures, and exits with 0 only if all of this was so. With -real it does the same on
// Apache Kafka, and -brokers names one that is there already; then Kafka is not paused.
package main
