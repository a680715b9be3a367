package schemas_test

import (
	"time"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/schemas"
)

var (
	sampleReply = negotiation.Reply{Aggregate: "orchestration", ID: "job-1", ActivityID: "n2", WorkID: "w-1", Attempt: 2}
	sampleWish  = negotiation.Wish{
		Waiter: "t-1", AssetID: "asset-1", AssetType: "type-1", Need: negotiation.NeedEDR, CounterPartyID: "provider1", Deadline: noon,
		Reply: &sampleReply, CommandID: "c-1", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	sampleOffer = negotiation.Offer{
		AssetID: "asset-1", OfferID: "o:1:2", Policy: raw(`{"@type":"odrl:Set","odrl:permission":[]}`), Formats: []string{"HttpData-PULL"},
		Constraints: "region eq eu", Unacceptable: "no accepted policy takes membership",
	}
	sampleRoundMoves = []negotiation.Move{{State: negotiation.PhaseAgreed, Code: 850, Inferred: true}, {State: negotiation.PhaseFinalized, Code: 1200, Inferred: true}}
	sampleExpiry     = noon.Add(time.Hour)
	sampleEDRState   = negotiation.EDRState{ProcessID: "p-1", ExpiresAt: &sampleExpiry, State: negotiation.EDRValid}
	sampleOfferState = negotiation.OfferState{ID: "n-0", AssetID: "asset-1", NegotiationID: "n-1", AgreementID: "a-1", EDR: &sampleEDRState, Error: &sampleFault}
)

// negotiationEvents has one event of each type of a negotiation, with every field set; those about its
// work are the same as a transfer's.
func negotiationEvents() map[string]negotiation.Event {
	return map[string]negotiation.Event{
		schemas.NegotiationJoined: negotiation.Joined{Wish: sampleWish},
		schemas.NegotiationListed: negotiation.Listed{
			Waiter: "t-1", AssetType: "type-1", Assets: []string{"asset-1"}, Refused: []negotiation.Unoffered{{AssetID: "asset-2", Error: sampleFault}},
		},
		schemas.NegotiationServed: negotiation.Served{
			AssetID: "asset-1", Round: 3, AgreementID: "a-1", ProcessID: "p-1", Waiters: []string{"t-1", "t-2"}, Wish: &sampleWish,
		},
		schemas.NegotiationFailed: negotiation.Failed{
			AssetID: "asset-1", AssetType: "type-1", Waiters: []string{"t-1"}, Error: sampleFault, Again: true, Rounds: 3, NegotiationID: "n-1", Constraints: "region eq eu",
		},
		schemas.NegotiationAnswered: negotiation.Answered{
			Waiter: "t-1", AssetType: "type-1", Offers: []negotiation.OfferState{sampleOfferState}, Error: &sampleFault, Again: true,
		},
		schemas.NegotiationLeft:             negotiation.Left{Waiter: "t-1", Error: &sampleFault, Again: true, Reason: "nobody needs it"},
		schemas.NegotiationCatalogRequested: negotiation.CatalogRequested{AssetID: "asset-1", AssetType: "type-1"},
		schemas.NegotiationCatalogReceived: negotiation.CatalogReceived{
			AssetID: "asset-1", AssetType: "type-1", ParticipantID: "provider1", Offers: []negotiation.Offer{sampleOffer}, Until: noon,
		},
		schemas.NegotiationCatalogFailed: negotiation.CatalogFailed{AssetID: "asset-1", AssetType: "type-1", Error: sampleFault, Again: true},
		schemas.NegotiationStarted: negotiation.Started{
			AssetID: "asset-1", Round: 3, ID: "n-1", Tried: 2, Moves: sampleRoundMoves, CounterPartyID: "provider1", Offer: sampleOffer, Until: noon, Deadline: noon.Add(time.Hour),
		},
		schemas.NegotiationMoved: negotiation.Moved{
			AssetID: "asset-1", Round: 3, Moves: sampleRoundMoves, NegotiationID: "n-1", AgreementID: "a-1", Reason: "the connector says no", By: "provider", Until: noon,
		},
		schemas.NegotiationAgreementDead: negotiation.AgreementDead{AssetID: "asset-1", Round: 3, AgreementID: "a-1", Reason: "refused"},
		schemas.NegotiationEDRRequested:  negotiation.EDRRequested{AssetID: "asset-1", Round: 3, ProcessID: "p-1", Refresh: true, Deadline: noon},
		schemas.NegotiationEDRGranted: negotiation.EDRGranted{
			AssetID: "asset-1", Round: 3, ProcessID: "p-1", Data: raw(sealed), ExpiresAt: sampleExpiry, Until: noon, EvictAt: noon.Add(24 * time.Hour),
		},
		schemas.NegotiationEDRDead: negotiation.EDRDead{AssetID: "asset-1", Round: 3, ProcessID: "p-1", Reason: "401", End: true},
		schemas.NegotiationEvicted: negotiation.Evicted{
			Accesses: []string{"asset-1"}, EDRs: []string{"asset-2"}, Catalogs: []negotiation.Query{{AssetID: "asset-1", AssetType: "type-1"}},
		},
	}
}

// negotiationCommands has one command of each type of a negotiation, with every field set that is on
// the wire.
func negotiationCommands() map[string]negotiation.Command {
	return map[string]negotiation.Command{
		schemas.NegotiationAcquire: negotiation.Acquire{
			Provider: "http://provider1:8282/api/dsp", Connector: "consumer", AssetID: "asset-1", Need: negotiation.NeedEDR, Waiter: "t-1",
			CounterPartyID: "provider1", Deadline: noon, Reply: &sampleReply,
		},
		schemas.NegotiationRelease: negotiation.Release{Waiter: "t-1", Process: "p-1", Agreement: "a-1", Dead: true, Reason: "401"},
		schemas.NegotiationObserved: negotiation.Observed{
			AssetID: "asset-1", Round: "n-0", ProcessID: "p-1", NegotiationID: "n-1", State: "FINALIZED", Detail: "yes", AgreementID: "a-1",
			EDR: raw(sealed), ExpiresAt: sampleExpiry,
		},
	}
}

// roundCompletion is the end of a round, with every field set.
func roundCompletion(state negotiation.Phase) schemas.RoundCompletion {
	return schemas.RoundCompletion{
		ID: "n-0", Round: 3, Provider: "http://provider1:8282/api/dsp", Connector: "consumer", CounterPartyID: "provider1", AssetID: "asset-1",
		State: state, NegotiationID: "n-1", AgreementID: "a-1", Reason: "the connector says no", StartedAt: noon, EndedAt: noon.Add(time.Second),
	}
}

var sampleWishCompletion = schemas.WishCompletion{
	Waiter: "t-1", CommandID: "c-1", AssetType: "type-1", OfferState: sampleOfferState, Round: 3, Again: true, Rounds: 3,
	Constraints: "region eq eu", Offers: []negotiation.OfferState{sampleOfferState},
}
