// Command upgrade shows what happens while a fleet goes from one release to the next, whose log the
// old one cannot read: the next one is this very tree with schemas.LogFormat raised and nothing else
// changed (build tag waybill_next_format).
//
// It starts `waybill broker` and two `waybill serve --brokers` of the old release, has jobs of every kind
// asked for all the time, and then
//
//   - starts one of the new release: old and new share the work;
//   - stops the old ones one after the other, each of them replaced by a new one on its data directory;
//   - starts an old one again: it must decide nothing on a shard that a new one has had, and say so in its
//     readiness, while the new ones go on; stopped, it leaves its shards to them.
//
// Every acknowledged job must end with the right result, with nothing missing and nothing twice in
// its history, on the log, and among the completions, and the projections of the new ones must be
// what the log says.
//
// It prints the figures and the seed, and exits with 0 only if all of this was so.
package main
