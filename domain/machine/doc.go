// Package machine is what every state machine of the domain shares.
//
// An aggregate is a value with two methods. Decide answers a command with the
// events it makes happen; Evolve folds one event in. Both are pure: the time is
// an input, IDs are derived, nothing is read or written. What should happen
// outside, work for agents, commands to other aggregates, completions, follows
// from the events alone, as Effects, and can therefore be derived again after a
// crash:
//
//	command --Decide--> events --Evolve--> state
//	                      |
//	                      +--Follow--> effects (work, commands, completions)
//
// A command that the state does not allow is answered with a *Refusal. A command
// that has already had its way makes nothing happen.
package machine
