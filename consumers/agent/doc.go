// Package agent is how work outside the log gets done: the types a processor of
// activities is written against, the slots that bound how many run at once, and the
// runtime that takes work records from Kafka and reports their results.
//
// An agent of a process of its own is one call:
//
//	err := agent.Run(ctx, agent.Config{Name: "greeter", Type: "greet.example.com", Concurrency: 16},
//		agent.ProcessorFunc(func(ctx context.Context, a agent.Activity) agent.Result {
//			return agent.Complete(map[string]any{"greeting": "hello " + a.Input.String("name")})
//		}))
//
// # The five results
//
// Complete ends the activity. Wait says that the work was accepted elsewhere and somebody
// else will report. Schedule says that nothing is wrong and asks to be called again later,
// which is how something is polled. Retry reports a passing fault, Fatal one that another
// attempt would meet again. A processor that panics, or returns the zero Result, is a
// Fatal result and not a dead agent.
//
// # What a processor can rely on
//
// An activity is processed at least once, so a processor must be idempotent: the same
// Activity.IdempotencyKey means the same piece of work, in every attempt. The context
// ends at the attempt's deadline, or when nobody wants the result any more. While a
// processor runs, its claim on the work is extended by itself.
//
// # How work gets here
//
// Work comes from a work topic through a Watermill subscriber (Run, Pool.Serve), or from
// a machine in the same process, which hands it to the Pool without a record
// (Pool.TryRun, Pool.Inline). Both share the slots of a type, so its concurrency is one
// number. Where the broker has share groups (Kafka 4.2, the embedded broker), agents are
// members of one: they take a record when a slot is free and no sooner, and there may be more
// of them than partitions. Elsewhere they are a consumer group. A record that was taken is
// claimed with a first heartbeat and acknowledged, and from then on the lease alone counts:
// slow work holds back nothing behind it, and work of an agent that died is found by its
// lease. A record is left where it is past its offeredUntil, for it is offered again; that and
// deadlines go by the clock of the server that wrote the record, as far as records say what time
// it is there, and this machine's clock may be hours from that.
//
// # How it stops
//
// When the context of Run ends, nothing new is taken and processors have Config.Grace to
// finish. Then their contexts end with the cause ErrStopped, and what comes to no result is
// given back (work.release.v1): another agent has it at once, and it has cost no attempt. A
// processor that wants to keep what it has reached returns Schedule(0).WithState(…) instead.
package agent
