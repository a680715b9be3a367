// Package sweeper removes large values that nobody refers to.
//
// Whoever brings a large value writes it before the command that refers to it. Where the
// command is refused, comes again, or is never written, the value is left without anybody who
// remembers it. Its orchestration claims what it refers to, by a record on the same
// partition, and removes that itself some time after its end; the sweeper follows the topic
// and removes what has not been claimed within that time.
//
// On real Kafka compaction frees the space of what was removed. The embedded broker would
// hold a whole topic in memory for that, so there the sweeper cuts off the front of each
// partition instead, up to the oldest value that is still there.
package sweeper
