package runner

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
)

// ledger is a table of rows under keys of 16 bytes, in the order in which they came. There may be millions:
// a row takes 40 bytes and holds no pointer, so that nobody has to look at them to collect garbage.
type ledger struct {
	blocks [][]row
	first  int64    // number of the oldest row that is kept
	start  int64    // number of the first row of blocks[0]
	slots  []uint32 // numbers of rows modulo cycle, plus one, by key; 0: free
	used   int      // slots, those of rows that were dropped among them
}

// row is what is known under a key.
type row struct {
	key  [16]byte
	a, b int64
}

const (
	blockRows = 1 << 9
	minSlots  = 1 << 6
	// cycle is how many rows a table of slots can tell apart.
	cycle = 1<<32 - 1
)

// digest is the key of a text. It does not matter that others can compute it: nobody finds another
// text that has the same.
func digest(s string) [16]byte {
	h := sha256.Sum256([]byte(s))
	return [16]byte(h[:16])
}

// end is the number of the row that comes next.
func (l *ledger) end() int64 {
	if len(l.blocks) == 0 {
		return l.start
	}
	return l.start + int64(len(l.blocks)-1)*blockRows + int64(len(l.blocks[len(l.blocks)-1]))
}

func (l *ledger) len() int { return int(l.end() - l.first) }

// at is the row of a number that is kept.
func (l *ledger) at(n int64) *row {
	n -= l.start
	return &l.blocks[n/blockRows][n%blockRows]
}

// place is where a search for a key begins. Keys are digests or UUIDs, some of which begin with a time.
func (l *ledger) place(key [16]byte) uint64 {
	h := binary.LittleEndian.Uint64(key[:8]) ^ binary.LittleEndian.Uint64(key[8:])*0x9e3779b97f4a7c15
	h *= 0xff51afd7ed558ccd
	return h ^ h>>32
}

// number is that of the row a slot means, which may have been dropped.
func (l *ledger) number(slot uint32) int64 {
	last := l.end() - 1
	return last - (last%cycle-int64(slot-1)+cycle)%cycle
}

// find returns the row of a key, or nil. It may be changed; it stays where it is until it is dropped.
func (l *ledger) find(key [16]byte) *row {
	if len(l.slots) == 0 {
		return nil
	}
	mask := uint64(len(l.slots) - 1)
	for i := l.place(key) & mask; l.slots[i] != 0; i = (i + 1) & mask {
		if n := l.number(l.slots[i]); n >= l.first {
			if r := l.at(n); r.key == key {
				return r
			}
		}
	}
	return nil
}

// add appends a row; its key must be new.
func (l *ledger) add(r row) {
	if 4*(l.used+1) > 3*len(l.slots) {
		l.rehash()
	}
	if k := len(l.blocks); k == 0 || len(l.blocks[k-1]) == blockRows {
		l.blocks = append(l.blocks, make([]row, 0, blockRows))
	}
	k := len(l.blocks) - 1
	l.blocks[k] = append(l.blocks[k], r)
	l.put(r.key, l.end()-1)
}

func (l *ledger) put(key [16]byte, n int64) {
	mask := uint64(len(l.slots) - 1)
	i := l.place(key) & mask
	for l.slots[i] != 0 {
		i = (i + 1) & mask
	}
	l.slots[i] = uint32(n%cycle) + 1
	l.used++
}

// rehash makes room for twice as many rows as are kept.
func (l *ledger) rehash() {
	size := minSlots
	for size < 2*(l.len()+1) {
		size *= 2
	}
	l.slots, l.used = make([]uint32, size), 0
	for n := l.first; n < l.end(); n++ {
		l.put(l.at(n).key, n)
	}
}

// drop forgets the rows before a number.
func (l *ledger) drop(before int64) {
	l.first = max(l.first, min(before, l.end()))
	for len(l.blocks) > 1 && l.start+blockRows <= l.first {
		l.blocks[0] = nil
		l.blocks, l.start = l.blocks[1:], l.start+blockRows
	}
}

// keep forgets the rows that are not to be kept. Numbers change.
func (l *ledger) keep(kept func(*row) bool) {
	var next ledger
	for r := range l.from(l.first) {
		if kept(r) {
			next.add(*r)
		}
	}
	*l = next
}

// from goes through the rows from a number on.
func (l *ledger) from(n int64) iter.Seq[*row] {
	return func(yield func(*row) bool) {
		for n = max(n, l.first); n < l.end(); n++ {
			if !yield(l.at(n)) {
				return
			}
		}
	}
}
