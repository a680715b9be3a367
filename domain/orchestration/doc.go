// Package orchestration is the state machine of an orchestration: a graph of
// activities that may grow while it runs.
//
// A Start carries a Plan, the compiled definition. Activities whose dependencies are
// done are requested; agents report one of five results; a completed activity may
// spawn more. Depending on an activity means depending on all that it spawned, so a
// join waits for a tree whose size nobody knew when it began. An orchestration always
// ends: COMPLETED, ERROR or CANCELLED. One that has failed waits a moment for the reports of
// what is under way (end.go), and may undo what had completed (compensate.go). Operators look
// after it (operate.go). From an end another run may begin (rerun.go), and another
// orchestration may dispose of it (dispose.go); both take the graph, which an ended one has
// forgotten: see Remember.
//
// State is where it stands, Decide answers commands, Evolve folds events, Follow says
// what follows outside, Deadline when Wake has something to do. A caller folds like this:
//
//	events, err := state.Decide(at, command)
//	for _, e := range events {
//		effects = append(effects, state.Follow(at, e)...) // of the state before the event
//		state = state.Evolve(at, e)
//	}
//
// Everything is linear in the size of the graph over its whole life: readiness is a counter
// per node, never a scan.
//
// states.md shows the moves, testdata has whole orchestrations as transcripts.
package orchestration
