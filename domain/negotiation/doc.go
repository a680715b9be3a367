// Package negotiation is the state machine of the access to one counter-party: our
// connector and one provider's normalised address.
//
// All wishes for anything of this provider meet here, at one writer: whoever needs access
// to an asset sends Acquire, and is answered exactly once. What is valid is granted at once;
// what is under way is joined; else the catalog is asked, an offer chosen, a contract
// negotiated and, where somebody needs it, an EDR (endpoint data reference) requested.
// Requests at the provider never exceed a limit, so it is exact across the cluster without
// a lock:
//
//	Acquire --> granted at once, where access is valid
//	        --> joins, where it is under way
//	        --> catalog --> round (negotiation) --> EDR --> granted
//	                 ^             |                 |
//	                 +-------------+-----------------+  terminated, lost, stuck, agreement refused
//
// An access is what is known of one asset: the agreement, the EDR and who waits. It goes
// through numbered rounds; each is one contract negotiation with the states of moves.go and
// one completion. When it fails all who wait are refused with the cause, and the next Acquire
// starts anew. An access has a time to live and is then evicted; the aggregate itself never ends.
//
// What the connector is asked is work (domain/task); what it says by itself comes as
// Observed. State is where everything stands, Decide answers commands, Evolve folds events,
// Follow says what follows outside, Deadline when Wake has something to do.
//
// states.md shows the moves of a round, testdata has whole scenarios as transcripts.
package negotiation
