package completions_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// Being told how jobs of a type end. Against a cluster, Brokers (or WAYBILL_BROKERS) and a
// Group take the place of Subscriber.
func Example() {
	memory := feed{messages: []*message.Message{end("1", "job-1", "parts-tree"), end("2", "job-2", "other"), end("1", "job-1", "parts-tree"), end("3", "job-3", "parts-tree")}}
	seen := 0
	err := completions.Subscribe(context.Background(), completions.Config{Subscriber: memory, Types: []string{"parts-tree"}},
		func(c completions.Completion) error {
			fmt.Println(c.ID, c.State, string(c.Output))
			if seen++; seen == 2 {
				return completions.Done
			}
			return nil
		})
	fmt.Println(err)
	// Output:
	// job-1 COMPLETED 1
	// job-3 COMPLETED 1
	// <nil>
}

// Being told how transfers end: whoever started one over Kafka or HTTP waits for it so.
func ExampleSubscribeTransfers() {
	memory := feed{messages: []*message.Message{
		record("1", schemas.TransferCompleted, schemas.TransferCompletion{ID: "t-1", State: transfer.PhaseCompleted, Outcome: transfer.OutcomeCompleted, Output: []byte(`{"value":"The quick"}`)}),
		record("2", schemas.TransferTerminated, schemas.TransferCompletion{ID: "t-2", State: transfer.PhaseTerminated, Outcome: transfer.OutcomeTerminated, Reason: "negotiation: refused"}),
	}}
	seen := 0
	err := completions.SubscribeTransfers(context.Background(), completions.Config{Subscriber: memory},
		func(t completions.Transfer) error {
			fmt.Println(t.ID, t.State, string(t.Output)+t.Reason)
			if seen++; seen == 2 {
				return completions.Done
			}
			return nil
		})
	fmt.Println(err)
	// Output:
	// t-1 COMPLETED {"value":"The quick"}
	// t-2 TERMINATED negotiation: refused
	// <nil>
}

// Being told how a wish for access came out: IDs names who wished.
func ExampleSubscribeNegotiations() {
	memory := feed{messages: []*message.Message{
		record("1", schemas.NegotiationFinalized, schemas.RoundCompletion{ID: "n-1", State: negotiation.PhaseFinalized, AssetID: "asset-1", AgreementID: "a-1"}),
		record("2", schemas.NegotiationRefused, schemas.WishCompletion{Waiter: "ada", Again: true}),
		record("3", schemas.NegotiationRefused, schemas.WishCompletion{Waiter: "me", Rounds: 3}),
	}}
	err := completions.SubscribeNegotiations(context.Background(), completions.Config{Subscriber: memory, IDs: []string{"me"}},
		func(n completions.Negotiation) error {
			fmt.Println(n.Wish.Waiter, "is refused after", n.Wish.Rounds, "rounds")
			return completions.Done
		})
	fmt.Println(err)
	// Output:
	// me is refused after 3 rounds
	// <nil>
}
