// Command languages shows that an agent needs nothing of ours: the one of
// docs/agent-in-python, written in Python against a plain Kafka client (librdkafka), does
// the work of `waybill serve`.
//
// It starts two of them in one group. One leaves it to librdkafka where its records go
// (CRC32 of the key), the other places them as we do (murmur2). Then it checks:
//
//   - a hundred jobs are done, with the right outputs: with a retry, with activities that
//     an activity has spawned, with an input too large for a record, and with one that cannot
//     work; both agents took part;
//   - each history is whole, and each job was decided on the shard of its key, wherever
//     the reports had been put; of the second agent none had been put elsewhere;
//   - activities that last longer than their lease are kept by heartbeats; when one agent
//     is killed among them the other takes over what it held, as another attempt, and
//     repeats nothing else;
//   - work in a transaction that was rolled back is never taken;
//   - an agent that is told to stop stops, and finishes what it has begun.
//
// It prints the figures, and exits with 0 only if all of this was so.
package main
