package runner

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"
)

// remembered are the IDs of commands that have been answered, with the hash of their
// bodies, for as long as a repeat is to be recognised (architecture: law 5).
type remembered struct {
	keep time.Duration
	ids  map[[16]byte]seen
	fifo []expiry
}

type seen struct {
	hash uint64
	at   int64 // unix seconds
}

type expiry struct {
	id [16]byte
	at int64
}

func idKey(id string) [16]byte {
	if u, err := uuid.Parse(id); err == nil && len(id) == 36 {
		return u
	}
	h := sha256.Sum256([]byte(id))
	return [16]byte(h[:16])
}

func hashKey(hash string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(hash) {
		h = (h ^ uint64(hash[i])) * 1099511628211
	}
	return h
}

// add remembers a command and forgets those that are old at that time.
func (r *remembered) add(id, hash string, at time.Time) {
	if r.ids == nil {
		r.ids = make(map[[16]byte]seen)
	}
	k, sec := idKey(id), at.Unix()
	if _, ok := r.ids[k]; !ok {
		r.fifo = append(r.fifo, expiry{k, sec})
	}
	r.ids[k] = seen{hashKey(hash), sec}
	n := 0
	for n < len(r.fifo) && r.fifo[n].at < sec-int64(r.keep/time.Second) {
		delete(r.ids, r.fifo[n].id)
		n++
	}
	r.fifo = r.fifo[n:] // append lets go of what is behind when it has to grow
}

// find says whether a command was answered before, and whether with the same body.
func (r *remembered) find(id, hash string) (known, same bool) {
	s, ok := r.ids[idKey(id)]
	return ok, ok && s.hash == hashKey(hash)
}
