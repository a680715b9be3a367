package agent_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/schemas"
)

// An agent of an activity type of one's own. Against a cluster, Brokers (or
// WAYBILL_BROKERS) takes the place of Subscriber and Publisher.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	memory := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, nil)
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Config{
			Name: "greeter", Type: "greet.example.com", Concurrency: 16, Subscriber: memory, Publisher: memory,
		}, agent.ProcessorFunc(func(_ context.Context, a agent.Activity) agent.Result {
			return agent.Complete(map[string]any{"greeting": "hello " + a.Input.String("name")})
		}))
	}()

	// What a machine does: it asks for work, and reads the reports.
	ask(memory, machine.Work{
		ID: "w-1", Attempt: 1, Aggregate: "orchestration", AggregateID: "job-1", Type: "greet.example.com",
		ActivityID: "greet", Input: []byte(`{"name": "world"}`),
	})
	reports, err := memory.Subscribe(ctx, "waybill.orchestration.commands")
	if err != nil {
		fmt.Println(err)
		return
	}
	for report := range reports {
		report.Ack()
		if report.Metadata.Get("ce_type") == schemas.WorkComplete {
			fmt.Println(string(report.Payload))
			break
		}
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// {"workId":"w-1","attempt":1,"output":{"greeting":"hello world"}}
	// <nil>
}

func ask(p message.Publisher, w machine.Work) {
	raw, err := schemas.Encode(w)
	if err != nil {
		fmt.Println(err)
		return
	}
	msg := message.NewMessage(w.ID, raw)
	msg.Metadata.Set("ce_id", w.ID)
	msg.Metadata.Set("ce_type", schemas.WorkRequested)
	if err := p.Publish("waybill.work."+w.Type, msg); err != nil {
		fmt.Println(err)
	}
}
