// Package standin is a connector to test against: it speaks the management API v3 of an
// Eclipse Dataspace Components consumer connector, with the providers behind it, all in this
// process and on 127.0.0.1. What a client meets is what it meets at connectors of EDC 0.14,
// the odd answers included: nothing is deduplicated, a refused negotiation says nothing of
// its reason, an error may be a page of HTML.
//
//	edc, err := standin.Start(ctx, standin.Config{
//		APIKey: "key",
//		Providers: []standin.ProviderConfig{{Name: "provider1", Assets: []standin.Asset{
//			{ID: "document", Document: []byte(`{"value": "The quick"}`)},
//			{ID: "refused", Policies: []standin.Policy{standin.Region("us")}},
//		}}},
//	})
//	defer edc.Close()
//	edc.ManagementURL()                                          // for the client
//	edc.Provider("provider1").Address(standin.Protocol2025)      // counterPartyAddress
//
// Without more it is as fast as it can be and nothing goes wrong: a negotiation is FINALIZED
// when the answer to its request is read. What is to go wrong, or take its time, is set while
// it runs, of requests, of the stages of negotiations and transfers, and of callbacks:
//
//	edc.OnRequest(standin.Negotiate, standin.Refuse(503), standin.When{Times: 2})
//	edc.OnStage(standin.NegotiationRequested, standin.Take(time.Second), standin.When{})
//	stuck := edc.OnStage(standin.NegotiationVerified, standin.Stay(), standin.When{Provider: "provider1"})
//	stuck.Mend() // what it holds goes on
//	edc.OnCallback("ContractNegotiationFinalized", standin.Lose(), standin.When{Every: 2})
//
// The connector and each provider can die, come back with or without their memory, and be
// paused; tokens and agreements can end at any moment. Counts are exact and are the
// provider's: what it was asked, and how much of it at once.
//
// It is no connector: nothing is signed, and no protocol is spoken between consumer and
// provider, whose addresses are names that the consumer knows.
package standin
