package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/internal/redact"
)

const (
	// DefaultProgramBytes bounds what a program may write to its output.
	DefaultProgramBytes = 10 << 20
	// DefaultProgramGrace is how long a program may take to end when it is told to.
	DefaultProgramGrace = 5 * time.Second
	// maxTail bounds what is kept of the end of a program's error output.
	maxTail = 4 << 10
)

// program is one run of a program, in a process group of its own.
type program struct {
	path  string
	args  []string
	dir   string
	env   []string // all of it: nothing is inherited
	stdin []byte

	held     []*os.File     // stay open for as long as it runs, even if we do not
	signal   syscall.Signal // tells it to end, also when this process is gone
	grace    time.Duration  // until it is killed, and all it started with it
	maxBytes int64          // of its output; 0 means that nobody wants to know it
}

// ran is what became of it.
type ran struct {
	output []byte
	tail   tail  // of its error output
	code   int   // -1: it was killed by a signal
	err    error // why the code says nothing: it did not start, its context ended, it wrote too much
}

// run runs the program to its end, or until ctx has ended and it is gone. Nothing that it
// started is left when run returns, unless it has left the process group.
func (p program) run(ctx context.Context) ran {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &bounded{limit: p.maxBytes, over: func() { stop(&tooMuchError{p.maxBytes}) }}
	last := &tail{}
	cmd := exec.CommandContext(ctx, p.path, p.args...) //nolint:gosec // which program, and with what arguments, stands in the configuration
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.dir, p.env, bytes.NewReader(p.stdin), out, last
	if p.maxBytes == 0 {
		cmd.Stdout = nil
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean ours
	}
	cmd.ExtraFiles = p.held
	cmd.SysProcAttr = attributes(p.signal)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, p.signal) }
	cmd.WaitDelay = p.grace
	// The death of the thread that starts a program is what it is told of.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return ran{err: &startError{err}}
	}
	err := cmd.Wait()
	// What it leaves behind would work on something that others take for finished.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	r := ran{output: out.buf.Bytes(), tail: *last, code: cmd.ProcessState.ExitCode()}
	_, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		r.err = context.Cause(ctx)
	case err != nil && !exited && !errors.Is(err, exec.ErrWaitDelay): // the latter: what it left behind held its output
		r.err = err
	}
	return r
}

// startError is a program that could not be started.
type startError struct{ err error }

func (e *startError) Error() string { return "it cannot be started: " + e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// passing says whether starting may succeed later: the machine is short of something, or
// the program is just being replaced.
func (e *startError) passing() bool {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ETXTBSY, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(e.err, errno) {
			return true
		}
	}
	return false
}

// tooMuchError is a program that was stopped because of what it wrote.
type tooMuchError struct{ limit int64 }

func (e *tooMuchError) Error() string {
	return fmt.Sprintf("it writes more than the limit of %d bytes", e.limit)
}

// bounded keeps what is written up to a limit.
type bounded struct {
	buf   bytes.Buffer
	limit int64
	over  func()
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.buf.Len()+len(p)) > b.limit {
		b.over()
		return 0, &tooMuchError{b.limit}
	}
	return b.buf.Write(p)
}

// tail keeps the end of what is written.
type tail struct {
	b   []byte
	cut bool
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b, t.cut = append(t.b[:0], t.b[over:]...), true
	}
	return len(p), nil
}

// text is fit for an error's, without what nobody may see.
func (t *tail) text(hidden redact.Values) string {
	s := string(t.b)
	if t.cut {
		s = hidden.End(s)
	}
	s = strings.TrimSpace(strings.ToValidUTF8(hidden.Text(s), "\uFFFD"))
	if t.cut {
		s = "…" + s
	}
	return s
}
