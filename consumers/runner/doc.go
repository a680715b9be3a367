// Package runner runs the domain's state machines over their shards, exactly once.
//
// Shard s is partition s of every aggregate type's commands, events and completions.
// Whoever the group of the shards topic names takes it: initialises the shard's
// transactional ID, which fences every earlier owner, writes an owned record, reads the
// events up to that record, and then decides. One transaction holds what many commands
// led to:
//
//	commands ─┐                      ┌─ events, closed by a position record
//	reports  ─┼─> decide, evolve ──> ┤  work, commands to others, completions
//	timers   ─┘   (in memory)        └─ (what follows from the events)
//
// Any error of the shard's client is treated as being fenced: the shard is dropped with
// all that is in memory, and taken again if the group still says so. State is never
// repaired by hand: the log is the state.
//
// A broker that is alone and is killed may leave a transaction open in some partitions which it
// takes for ended (hanging.go): whoever takes the shard ends it as it was decided.
//
// The embedded broker can tear its last transaction between partitions. There, what
// follows from the events is written with the next transaction, and a new owner derives
// what may be missing; Config.Kafka.Embedded is the one switch.
package runner
