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

// Owned says that a process has taken the shard. It ends the log that the new owner has
// to read before it decides anything.
type Owned struct {
	Member string    `json:"member"` // the process
	Token  string    `json:"token"`  // unique to this taking
	At     time.Time `json:"at"`
	// Format is the newest LogFormat that the process may write from here on; absent is the first.
	Format int `json:"format,omitempty"`
}
