// Package callbacks makes and checks the addresses at which others report about a piece of
// work without a token of ours.
//
// Such an address ends in a proof that only who has the key can make, so it cannot be
// guessed and nothing has to be remembered about it: every process that has the same key
// accepts it. It is good for one report, since work that has ended takes no other.
package callbacks
