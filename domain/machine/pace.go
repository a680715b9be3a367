package machine

import "time"

// How long unclaimed work is offered.
const (
	// FirstOffer is how long unclaimed work may be claimed before it is offered again; each further
	// offer holds twice as long, up to LastOffer.
	FirstOffer = 30 * time.Second
	LastOffer  = 10 * time.Minute // the longest that an offer holds
	// LastClaims is how long after an offer's end the next one comes: a claim made at its very end is
	// on the log by then, but a shard with much to do decides it later, and by another clock.
	LastClaims = 10 * time.Second
)

// OfferWait is how long the n-th offer of an attempt holds.
func OfferWait(n int) time.Duration {
	if shift := n - 1; shift < 8 {
		return min(FirstOffer<<shift, LastOffer)
	}
	return LastOffer
}

// Backoff is how long the n-th failure of a piece of work waits: base·2^(n-1), at most the
// maximum, less up to a quarter of it. The jitter comes from the work's ID, so that
// deciding again waits as long.
func Backoff(base, most time.Duration, workID string, n int) time.Duration {
	d := most
	if shift := n - 1; shift < 63 && base <= most>>shift { // base<<shift could overflow
		d = base << shift
	}
	return d - d/4/1024*time.Duration(hash(workID, n)%1024)
}

// hash is FNV-1a over the ID and the number.
func hash(id string, n int) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ uint64(n)) * 1099511628211
	return h >> 20
}
