package schemas_test

import (
	"testing"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// The records of one pull transfer whose access is there already, but for those of its job: see the
// mark of 2,000 of them in a second.

func pullEvents() []transfer.Event {
	all := transferEvents()
	initiated := all[schemas.TransferInitiated].(transfer.Initiated)
	initiated.Way, initiated.Destination, initiated.Manifest, initiated.Retry = transfer.Pull, nil, nil, nil
	granted := all[schemas.TransferAccessGranted].(transfer.AccessGranted)
	ended := all[schemas.TransferEnded].(transfer.Ended)
	ended.Spawn, ended.Error = ended.Spawn[:1], nil
	requested := taskEvents()[schemas.TaskRequested]
	return []transfer.Event{
		initiated, all[schemas.TransferAcquiring], granted,
		transfer.Worked{Event: requested},
		transfer.Worked{Event: taskEvents()[schemas.TaskClaimed]},
		transfer.Moved{Moves: sampleMoves[:1]},
		ended,
	}
}

func BenchmarkTransferEvents(b *testing.B) {
	b.Run("encode", func(b *testing.B) {
		events := pullEvents()
		b.ReportAllocs()
		for b.Loop() {
			for _, e := range events {
				if _, _, err := schemas.EncodeTransferEvent(e); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		type record struct {
			wireType string
			data     []byte
		}
		var records []record
		for _, e := range pullEvents() {
			wireType, data, err := schemas.EncodeTransferEvent(e)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, record{wireType, data})
		}
		b.ReportAllocs()
		for b.Loop() {
			for _, r := range records {
				if _, err := schemas.DecodeTransferEvent(r.wireType, r.data); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkTransferCommands(b *testing.B) {
	initiate := transferCommands()[schemas.TransferInitiate].(transfer.Initiate)
	initiate.Manifest, initiate.Retry, initiate.Destination = nil, nil, nil
	granted := transferCommands()[schemas.TransferGranted].(transfer.Granted)
	for name, c := range map[string]transfer.Command{"initiate": initiate, "granted": granted} {
		wireType, data, err := schemas.EncodeTransferCommand(c)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = schemas.EncodeTransferCommand(c)
			}
		})
		b.Run("decode "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := schemas.DecodeTransferCommand(wireType, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNegotiation(b *testing.B) {
	wireType, data, err := schemas.EncodeNegotiationCommand(negotiationCommands()[schemas.NegotiationAcquire])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode acquire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := schemas.DecodeNegotiationCommand(wireType, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	served := negotiationEvents()[schemas.NegotiationServed].(negotiation.Served)
	b.Run("encode served", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = schemas.EncodeNegotiationEvent(served)
		}
	})
	moved := negotiationEvents()[schemas.NegotiationMoved]
	b.Run("encode moved", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, _ = schemas.EncodeNegotiationEvent(moved)
		}
	})
	movedType, movedData, _ := schemas.EncodeNegotiationEvent(moved)
	b.Run("decode moved", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = schemas.DecodeNegotiationEvent(movedType, movedData)
		}
	})
}
