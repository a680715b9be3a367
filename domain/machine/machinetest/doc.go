// Package machinetest lets the tests of a state machine read as sentences:
//
//	var given = machinetest.For(func() transfer.State { return transfer.New("t-1") })
//
//	t.Run("it can pause while it runs", given(requested, started).
//		When(transfer.Suspend{Reason: "provider asleep"}).
//		Then(transfer.Suspended{Reason: "provider asleep"}))
//	t.Run("it cannot pause before it runs", given(requested).
//		When(transfer.Suspend{}).
//		Refuses(machine.BadState, "REQUESTED"))
//	t.Run("it gives up in the end", given(requested).
//		After(time.Hour).When(transfer.Wake{}).
//		Then(transfer.Terminated{Reason: "nobody answered within 1h0m0s"}))
//
// Then does more than compare. It decides twice before it folds, since a decision must
// not change the state and must come out the same when it is taken again after a crash,
// and once afterwards, since the second delivery of a command must make nothing happen.
//
// Events are compared by their Go type and their JSON, which is what the log keeps of
// them; failures show the difference line by line.
package machinetest
