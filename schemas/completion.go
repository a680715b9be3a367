package schemas

import (
	"encoding/json"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
)

// Completion is the value of orchestration.completed.v1, .failed.v1 and .cancelled.v1: one
// for each run of an orchestration.
type Completion = orchestration.Completion

// Rejected is the value of command.rejected.v1: a command that was refused, and why.
type Rejected = Refused

// DecodeCompletion reads the value of an orchestration's end. It returns an
// *UnknownVersionError for every other type, CommandRejected included.
func DecodeCompletion(wireType string, data []byte) (Completion, error) {
	var c Completion
	return c, decodeKnown(wireType, data, &c, OrchestrationCompletions())
}

// TransferCompletion is the value of transfer.completed.v1, .terminated.v1 and .deprovisioned.v1.
type TransferCompletion = transfer.Completion

// DecodeTransferCompletion reads the value of a transfer's end.
func DecodeTransferCompletion(wireType string, data []byte) (TransferCompletion, error) {
	var c TransferCompletion
	return c, decodeKnown(wireType, data, &c, TransferCompletions())
}

// RoundCompletion is the value of negotiation.finalized.v1 and .terminated.v1: one for each round.
type RoundCompletion = negotiation.RoundCompletion

// WishCompletion is the value of negotiation.granted.v1 and .refused.v1: one for each wish for access.
type WishCompletion = negotiation.WaiterCompletion

// DecodeRoundCompletion reads the value of a round's end.
func DecodeRoundCompletion(wireType string, data []byte) (RoundCompletion, error) {
	var c RoundCompletion
	return c, decodeKnown(wireType, data, &c, []string{NegotiationFinalized, NegotiationTerminated})
}

// DecodeWishCompletion reads the value of the answer to a wish.
func DecodeWishCompletion(wireType string, data []byte) (WishCompletion, error) {
	var c WishCompletion
	return c, decodeKnown(wireType, data, &c, []string{NegotiationGranted, NegotiationRefused})
}

// DecodeRejected reads the value of command.rejected.v1.
func DecodeRejected(wireType string, data []byte) (Rejected, error) {
	var r Rejected
	return r, decodeKnown(wireType, data, &r, []string{CommandRejected})
}

// DecodeWork reads the value of work.requested.v1.
func DecodeWork(wireType string, data []byte) (machine.Work, error) {
	var w machine.Work
	return w, decodeKnown(wireType, data, &w, []string{WorkRequested})
}

// DecodeCancelWork reads the value of work.cancelled.v1.
func DecodeCancelWork(wireType string, data []byte) (machine.CancelWork, error) {
	var w machine.CancelWork
	return w, decodeKnown(wireType, data, &w, []string{WorkCancelled})
}

// DecodePosition reads the value of shard.position.v1.
func DecodePosition(wireType string, data []byte) (Position, error) {
	var p Position
	return p, decodeKnown(wireType, data, &p, []string{ShardPosition})
}

// DecodeOwned reads the value of shard.owned.v1.
func DecodeOwned(wireType string, data []byte) (Owned, error) {
	var o Owned
	return o, decodeKnown(wireType, data, &o, []string{ShardOwned})
}

// DecodeCheckpoint reads the value of shard.checkpoint.v1.
func DecodeCheckpoint(wireType string, data []byte) (Checkpoint, error) {
	var c Checkpoint
	return c, decodeKnown(wireType, data, &c, []string{ShardCheckpoint})
}

// Encode writes the value of a record whose type has no codec of its own: Work,
// CancelWork, Completion, Rejected, Position, Owned, Checkpoint, and what the machines send.
func Encode(v any) ([]byte, error) { return machine.Encode(v) }

// decodeKnown reads data into v where wireType is among the known ones.
func decodeKnown(wireType string, data []byte, v any, known []string) error {
	for _, k := range known {
		if k == wireType {
			if err := json.Unmarshal(data, v); err != nil {
				return undecodable(wireType, err)
			}
			return nil
		}
	}
	return &UnknownVersionError{Type: wireType, Known: known}
}
