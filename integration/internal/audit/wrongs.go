package audit

import (
	"fmt"
	"io"
	"sync"
)

// Wrongs collects what is wrong, in sentences. It is safe for concurrent use.
type Wrongs struct {
	mu sync.Mutex
	l  []string
}

// Add adds a sentence.
func (w *Wrongs) Add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l = append(w.l, fmt.Sprintf(format, args...))
}

// Report prints what was added, and makes one error of it.
func (w *Wrongs) Report(out io.Writer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	Print(out, w.l)
	if len(w.l) > 0 {
		return fmt.Errorf("%d things are wrong", len(w.l))
	}
	return nil
}
