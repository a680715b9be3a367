// Package stage is what the programs of the scenarios have in common: flags, a limit in
// time, a directory of their own, and an end that leaves no process behind.
package stage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/process"
)

// Stage is where a scenario plays.
type Stage struct {
	Dir string   // removed afterwards, unless something went wrong or -keep was given
	Log *os.File // takes the output of what the scenario starts; it lies in Dir
}

// Flags are what every scenario takes.
type Flags struct {
	keep  *bool
	limit *time.Duration
}

// NewFlags registers them; limit is what -limit is unless somebody says otherwise.
func NewFlags(limit time.Duration) Flags {
	return Flags{
		keep:  flag.Bool("keep", false, "leave the data behind"),
		limit: flag.Duration("limit", limit, "give up after this"),
	}
}

// Play plays the scenario and answers with the exit code of the program: 1 where the scenario
// returned an error, was told to stop, or took too long. The context ends when play has returned,
// and with it every process that was started with it.
func (f Flags) Play(name string, play func(context.Context, Stage) error) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *f.limit, fmt.Errorf("given up after %s", *f.limit))
	defer cancel()
	if err := set(ctx, name, *f.keep, play); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// set makes the directory, and clears it away.
func set(ctx context.Context, name string, keep bool, play func(context.Context, Stage) error) (err error) {
	s := Stage{}
	if s.Dir, err = os.MkdirTemp("", "waybill-"+name+"-"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Printf("the last that the programs said:\n%s", s.last())
		}
		if keep || err != nil {
			fmt.Println("the data and the programs' output are in", s.Dir)
			return
		}
		err = os.RemoveAll(s.Dir)
	}()
	if s.Log, err = os.Create(filepath.Join(s.Dir, "output")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Log.Close()) }()
	ctx, wait := process.Watch(ctx)
	defer wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return play(ctx, s)
}

// last is the end of what each of the programs has said: a machine that runs the scenario may be gone before
// anybody looks into the directory.
func (s *Stage) last() string {
	files, _ := filepath.Glob(filepath.Join(s.Dir, "*.log")) // no bad pattern
	var end strings.Builder
	for _, file := range append(files, s.Log.Name()) {
		said, err := os.ReadFile(file)
		if err != nil {
			said = []byte(err.Error())
		}
		lines := strings.FieldsFunc(string(said), func(r rune) bool { return r == '\n' })
		for _, line := range lines[max(0, len(lines)-lastLines):] {
			fmt.Fprintf(&end, "  %s: %.*s\n", filepath.Base(file), lineWidth, line)
		}
	}
	return end.String()
}

// lastLines is how much of what each program has said a failure shows, and lineWidth how much of each line.
const lastLines, lineWidth = 5, 300
