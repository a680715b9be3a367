// Command two shows that two processes share the work of one broker, and that one takes
// over from the other.
//
// It starts `waybill broker` and two `waybill serve --brokers`, has jobs of every kind
// asked for at both all the time, and kills one of the two. Then it checks:
//
//   - before, both had shards and decided events of jobs;
//   - every shard of the dead one went on in the other within twelve seconds, of which six
//     are the time after which the group gives a silent member up;
//   - every acknowledged job ended with the right result, with nothing missing and nothing
//     twice in its history, on the log, and among the completions.
//
// It prints the figures and the seed, and exits with 0 only if all of this was so.
package main
