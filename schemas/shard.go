package schemas

import (
	"time"

	"github.com/waybill/waybill/domain/machine"
)

// Wire names of the records by which the owner of a shard keeps its books. They stand
// among the events (and, for ShardOwned, the commands) of an aggregate type's
// partition, under the key ShardKey.
const (
	ShardPosition = "shard.position.v1"
	ShardOwned    = "shard.owned.v1"
	ShardKey      = "~shard"
)

// Wire names of what stands on the snapshots topics, under the same key: the parts of a checkpoint,
// whose values are bytes that only the machines read, and the record that ends it.
const (
	ShardSnapshot   = "shard.snapshot.v1"
	ShardCheckpoint = "shard.checkpoint.v1"
)

// Position closes every transaction that has events or has consumed commands. A new
// owner goes on at the last one.
type Position struct {
	// Txn numbers the shard's transactions of this aggregate type from 1.
	Txn int64 `json:"txn"`
	// Followed is the last transaction whose effects (work, commands to others,
	// completions) are certainly on the log as well.
	Followed int64 `json:"followed"`
	// Next is the offset of the first command on the shard's commands partition that has
	// not been decided.
	Next int64     `json:"next"`
	At   time.Time `json:"at"`
	// Refused are the commands this transaction refused, with their answers.
	Refused []Refused `json:"refused,omitempty"`
	// Settled are the commands it accepted that changed nothing, reports and heartbeats left out.
	Settled []Settled `json:"settled,omitempty"`
}

// Refused is a command that was refused, and the value of command.rejected.v1.
type Refused struct {
	CommandID   string `json:"commandId"`
	CommandType string `json:"commandType"`
	AggregateID string `json:"aggregateId"`
	Hash        string `json:"hash,omitempty"` // fingerprint of the command's body
	Run         int    `json:"run,omitempty"`
	machine.Refusal
}

// Settled is an accepted command that changed nothing.
type Settled struct {
	CommandID   string `json:"commandId"`
	AggregateID string `json:"aggregateId"`
	Hash        string `json:"hash,omitempty"`
}

// Mark is a position record, as it is found again.
type Mark struct {
	Offset int64     `json:"offset"`
	Txn    int64     `json:"txn"`
	At     time.Time `json:"at"`
}

// Checkpoint ends the parts of a checkpoint: what the machines of a shard and an aggregate type hold in
// memory. A new owner goes on from there instead of from the first event. Parts and end have the
// same ce_subject, and the parts are numbered by ce_sequence.
type Checkpoint struct {
	Number int64 `json:"number"`
	// Base is the checkpoint, holding everything, whose changes this one and those between have: its own
	// number if it is such a one. Previous is the one that it goes on from; 0: none.
	Base     int64 `json:"base"`
	Previous int64 `json:"previous,omitempty"`
	// Parts and Bytes are how much there must be, and Checksum is its SHA-256 in hex.
	Parts    int    `json:"parts"`
	Bytes    int64  `json:"bytes"`
	Checksum string `json:"checksum"`
	// From is the position from which on the events have to be folded in. What an aggregate has of them
	// already is told by its sequence, and is no newer than To.
	From Mark `json:"from"`
	To   Mark `json:"to"`
	// Followed is the last transaction whose effects were certainly on the log.
	Followed int64     `json:"followed"`
	Last     time.Time `json:"last"` // no decision is made before
	// How many there are of each: aggregates with their state, ended ones, IDs of commands.
	Aggregates int `json:"aggregates"`
	Ended      int `json:"ended"`
	Remembered int `json:"remembered"`
	// Format is that of the owner who wrote it; absent is the first. Where the checkpoint stands for events,
	// the owner's own record of it is not read.
	Format int `json:"format,omitempty"`
}

// Full says that the checkpoint holds everything.
func (c Checkpoint) Full() bool { return c.Base == c.Number }

// Owned says that a process has taken the shard. It ends the log that the new owner has
// to read before it decides anything.
type Owned struct {
	Member string    `json:"member"` // the process
	Token  string    `json:"token"`  // unique to this taking
	At     time.Time `json:"at"`
	// Format is the newest LogFormat that the process may write from here on; absent is the first.
	Format int `json:"format,omitempty"`
}
