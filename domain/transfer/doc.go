// Package transfer is the state machine of one transfer process: one asset of one provider that
// somebody wants moved, with the states and codes of the Eclipse Dataspace Components.
//
// There are two ways. A pull transfer acquires access with an EDR (the negotiation's doing) and
// fetches the document; a granted EDR is all it needs, so REQUESTING and STARTED follow at once.
// A push transfer acquires an agreement, asks the provider's connector for a transfer process of
// its own, and collects what has landed when the provider says that it is done. Before either,
// what the manifest lists is provisioned; after the end it is deprovisioned.
//
// States are those of the table in moves.go; states.md shows it. A connector's report names
// the state it is in: the states passed over are recorded too, marked inferred. Every state that
// waits has a deadline. Whoever asked is answered once, at COMPLETED or TERMINATED.
//
// State is where it stands, Decide answers commands, Evolve folds events, Follow says what follows
// outside, Deadline when Wake has something to do. Work for agents is kept in a task.Set; its events
// are recorded as Worked.
package transfer
