package completions_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill/waybill/consumers/completions"
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
