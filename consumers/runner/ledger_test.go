package runner

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestALedgerFindsWhatIsKeptAndNothingElse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var l ledger
	want := make(map[[16]byte]int64)
	var order [][16]byte
	key := func(n int) (k [16]byte) {
		binary.BigEndian.PutUint64(k[:], uint64(n/100))
		binary.BigEndian.PutUint64(k[8:], uint64(n))
		return k
	}
	for n := range 20_000 {
		l.add(row{key: key(n), a: int64(n)})
		want[key(n)] = int64(n)
		order = append(order, key(n))
		if rng.IntN(500) == 0 {
			gone := rng.IntN(len(order))
			l.drop(l.first + int64(gone))
			for _, k := range order[:gone] {
				delete(want, k)
			}
			order = order[gone:]
		}
	}
	l.keep(func(r *row) bool { return r.a%3 != 0 })
	kept := 0
	for n := range 20_100 {
		r := l.find(key(n))
		w, ok := want[key(n)]
		if ok = ok && n%3 != 0; ok {
			kept++
		}
		if ok != (r != nil) || ok && r.a != w {
			t.Fatalf("row %d: found %v, want it there: %v", n, r, ok)
		}
	}
	if l.len() != kept {
		t.Errorf("%d rows are kept, want %d", l.len(), kept)
	}
}
