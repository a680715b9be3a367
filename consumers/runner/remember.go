package runner

import (
	"time"

	"github.com/google/uuid"
)

// remembered are the IDs of commands that have been answered, with the hash of their
// bodies, for as long as a repeat is to be recognised (architecture: law 5).
type remembered struct {
	keep time.Duration
	ids  ledger // of hash and unix seconds
}

func idKey(id string) [16]byte {
	if u, err := uuid.Parse(id); err == nil && len(id) == 36 {
		return u
	}
	return digest(id)
}

func hashKey(hash string) int64 {
	h := uint64(14695981039346656037)
	for i := range len(hash) {
		h = (h ^ uint64(hash[i])) * 1099511628211
	}
	return int64(h) // all 64 bits are kept
}

// add remembers a command and forgets those that are old at that time.
func (r *remembered) add(id, hash string, at time.Time) {
	r.put(row{idKey(id), hashKey(hash), at.Unix()})
}

func (r *remembered) put(x row) {
	if known := r.ids.find(x.key); known != nil {
		*known = x
	} else {
		r.ids.add(x)
	}
	r.expire(x.b)
}

// expire forgets what is old at that time, in unix seconds.
func (r *remembered) expire(now int64) {
	n := r.ids.first
	for n < r.ids.end() && r.ids.at(n).b < now-int64(r.keep/time.Second) {
		n++
	}
	r.ids.drop(n)
}

// find says whether a command was answered before, and whether with the same body.
func (r *remembered) find(id, hash string) (known, same bool) {
	x := r.ids.find(idKey(id))
	return x != nil, x != nil && x.a == hashKey(hash)
}
