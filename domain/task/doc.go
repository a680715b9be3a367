// Package task is one piece of work that a machine has asked agents for, where that machine is
// no orchestration: a transfer that wants a document fetched, a negotiation that wants a
// catalog asked.
//
// An aggregate keeps a Set of what is open and wraps its events in an event of its own. Ask
// opens a task, Decide answers what agents report, Wake what is due, and both say with an End
// that a task is over, so that the aggregate can go on in the same decision:
//
//	events, end, err := s.tasks.Decide(at, report)
//	if end != nil && end.Completed {
//		events = append(events, …) // what the aggregate makes of end.Output
//	}
//
// The protocol is the one of orchestrations: the same five results, claims, leases, offers,
// backoff and repeats (architecture: Work). An agent that only looks how far something is
// answers with Schedule; Nudge makes it look again at once, when a callback says that there is
// something to see.
package task
