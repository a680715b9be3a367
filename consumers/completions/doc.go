// Package completions tells how orchestrations, transfers and negotiations ended, to whoever
// subscribes.
//
//	err := completions.Subscribe(ctx, completions.Config{Brokers: []string{"127.0.0.1:9092"}, Group: "mailer"},
//		func(c completions.Completion) error {
//			fmt.Println(c.ID, c.State, string(c.Output))
//			return nil
//		})
//
// SubscribeTransfers and SubscribeNegotiations do the same for the other two.
//
// There is one completion for each end of a run, each end of a transfer, each round of a
// negotiation and each wish for access. A record that is seen twice is told once, as far as
// the memory of the subscription reaches; with a group, one that was told and not yet
// committed when the process died is told again after a restart. The handler is called for
// one completion at a time.
//
// An output of more than 256 KiB is kept elsewhere, and c.Output refers to it; c.Whole reads it.
//
// A handler that returns Done has seen enough: Subscribe returns nil. Any other error
// ends Subscribe with it, and the completion comes again when the group's next member
// subscribes. A completion that cannot be read ends Subscribe as well, for skipping it
// would be silence about an end.
package completions
