// Package callbacks makes and checks the addresses at which others report, or push data,
// without a token of ours: about a piece of work, as a connector, as a provisioner.
//
// Such an address ends in a proof that only who has the key can make, so it cannot be
// guessed and nothing has to be remembered about it: every process that has the same key
// accepts it. It says what it is about, a piece of work or a Subject, and is good for
// reports about that and nothing else. What a report may still change is decided by whoever
// asked for it: work that has ended takes no other.
//
//	address := proofs.At(publicURL).Connector(callbacks.Subject{Aggregate: "transfer", ID: id, Task: process})
//
// The path of an address is a secret. It belongs into no log and no error.
package callbacks
