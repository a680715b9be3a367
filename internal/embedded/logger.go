package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// logger hands the broker's messages on. That saving its state failed is something the
// broker says only there, so while it is being closed its errors are kept as well.
// Safe for concurrent use.
type logger struct {
	to *slog.Logger

	mu      sync.Mutex
	keeping bool
	errors  []error
}

// Logf implements kfake.Logger.
func (l *logger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
		l.remember(format, args)
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
		// Its informational messages are one per request.
	}
	if l.to.Enabled(context.Background(), to) {
		l.to.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...))
	}
}

func (l *logger) remember(format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keeping {
		l.errors = append(l.errors, fmt.Errorf(format, args...))
	}
}

// keep starts keeping errors.
func (l *logger) keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeping = true
}

// kept ends the keeping and returns the errors since its start, joined.
func (l *logger) kept() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := errors.Join(l.errors...)
	l.keeping, l.errors = false, nil
	return err
}
