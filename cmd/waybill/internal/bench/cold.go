package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

const (
	coldLive   = 1000
	coldEvents = 1_000_000
	// chainEvents is what one orchestration of chainType leaves on the log: started, requested
	// and completed for each activity, ended.
	chainEvents     = 2 + 2*chainLength
	waitingJobs     = 100_000
	waitingDeadline = 24 * time.Hour
	// inFlight bounds how many orchestrations are under way while a history is made.
	inFlight = 512
)

// coldStart is W5. The history is made by running orchestrations; then the program is
// stopped, and timed from its start on.
func coldStart(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (f Figures, err error) {
		if err := e.wait(ctx, coldLive); err != nil {
			return f, err
		}
		if err := e.submitAll(ctx, "old", chainType, coldEvents/chainEvents, inFlight); err != nil {
			return f, err
		}
		if _, err := e.projected(ctx); err != nil {
			return f, err
		}
		if err := e.pause(); err != nil {
			return f, err
		}
		debug.FreeOSMemory()
		began := time.Now()
		if err := e.start(ctx); err != nil {
			return f, err
		}
		if err := e.one(ctx, "new", chainType); err != nil {
			return f, err
		}
		return Figures{Seconds: seconds(began)}, nil
	})
}

// waiting is W6. What is counted is a process that has been started on orchestrations that
// wait, this one: its clients are counted with it.
func waiting(ctx context.Context, b *bench) (Figures, error) {
	return with(ctx, b, func(e *engine) (f Figures, err error) {
		if err := e.wait(ctx, waitingJobs); err != nil {
			return f, err
		}
		if _, err := e.projected(ctx); err != nil {
			return f, err
		}
		if err := e.pause(); err != nil {
			return f, err
		}
		debug.FreeOSMemory()
		if err := e.start(ctx); err != nil {
			return f, err
		}
		if err := e.one(ctx, "new", chainType); err != nil {
			return f, err
		}
		started, err := resident()
		if err != nil {
			return f, err
		}
		debug.FreeOSMemory()
		f.Megabytes, err = resident()
		f.note = fmt.Sprintf("%s MB right after the start, before what that left behind was given back", number(started))
		return f, err
	})
}

// wait starts orchestrations that wait, and returns when all of them do.
func (e *engine) wait(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.submitOnly(ctx, cancel, "waiting", waitingType, n, inFlight)()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	// One that is submitted after them on each shard ends after they wait.
	return e.submitAll(ctx, "after", chainType, 8*e.b.Shards, submitters)
}

// resident is this process's memory in MB, as the system counts it.
func resident() (float64, error) {
	const name = "VmRSS:"
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	_, rest, found := bytes.Cut(b, []byte(name))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("resident memory: /proc/self/status does not tell")
	}
	kb, err := strconv.Atoi(string(fields[0]))
	return float64(kb) / 1000, err
}
