package kafka

import (
	"sync"
	"time"
)

const (
	// quiet is how long the same trouble is not told again: a broker that is away is met at every try.
	quiet = 30 * time.Second
	// mostTold bounds how many troubles are remembered.
	mostTold = 64
)

// Told remembers what was told lately of troubles that go on. The zero Told has told nothing. It
// is safe for concurrent use.
type Told struct {
	mu sync.Mutex
	at map[string]time.Time
}

// Again says whether a trouble was told within the last half minute; if not, it is now.
func (t *Told) Again(trouble error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := trouble.Error()
	if at, ok := t.at[key]; ok && time.Since(at) < quiet {
		return true
	}
	if t.at == nil || len(t.at) >= mostTold {
		t.at = make(map[string]time.Time)
	}
	t.at[key] = time.Now()
	return false
}
