package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ProgramsVariable names the environment variable with a directory of programs of this tree that are
// built already.
const ProgramsVariable = "WAYBILL_TEST_PROGRAMS"

// Build builds waybill into a directory, with build tags if there are any, and returns the path of the
// binary; without tags one that is built already will do. The working directory must be in the module.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	if built := os.Getenv(ProgramsVariable); built != "" && len(tags) == 0 {
		return filepath.Join(built, "waybill"), nil
	}
	bin := filepath.Join(dir, "waybill")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(tags, ","), "-o", bin, "github.com/waybill/waybill/cmd/waybill") //nolint:gosec // a path of ours
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// Command is what to start.
type Command struct {
	Path string
	Args []string
	Env  []string // NAME=VALUE, beside this process's own
	Log  *os.File // takes both outputs; nil discards them
}

// Process is a started program.
type Process struct {
	// Began is when it was started, just before.
	Began time.Time
	cmd   *exec.Cmd
	done  chan struct{}
	err   error
}

// Start starts a program. It is killed when ctx ends.
func Start(ctx context.Context, c Command) (*Process, error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // what the scenario has built
	cmd.Env = append(os.Environ(), c.Env...)
	if c.Log != nil {
		cmd.Stdout, cmd.Stderr = c.Log, c.Log
	}
	p := &Process{Began: time.Now(), cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if all, ok := ctx.Value(watched{}).(*sync.WaitGroup); ok {
		all.Go(func() { <-p.done })
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// watched is where a context keeps the processes that are started with it.
type watched struct{}

// Watch makes a context that knows the processes that are started with it; wait returns when all
// of them have ended. Whoever ends the context ends them, but only after a moment: a program that
// does not wait for that leaves them behind.
func Watch(ctx context.Context) (watching context.Context, wait func()) {
	all := new(sync.WaitGroup)
	return context.WithValue(ctx, watched{}, all), all.Wait
}

// Done is closed when the process has ended, by itself or not.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended; call it after Done.
func (p *Process) Err() error { return p.err }

// Until lets something wait for the process, but not beyond its end.
func (p *Process) Until(ctx context.Context, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.done:
			cancel(fmt.Errorf("the process has ended by itself: %w", orEnded(p.err)))
		case <-ctx.Done():
		}
	}()
	if err := wait(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}

// Kill ends the process as a power cut would, and waits for that. One that had ended by
// itself before is an error.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return fmt.Errorf("the process has ended by itself: %w", orEnded(p.err))
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return fmt.Errorf("the process has ended by itself: %w", orEnded(p.err))
}

// Pause stops the process where it stands (SIGSTOP), until Resume. It knows nothing of the time
// that passes.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Stop asks the process to end and waits; one that takes longer is killed, an error.
func (p *Process) Stop(within time.Duration) (time.Duration, error) {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	select {
	case <-p.done:
		return time.Since(began), p.err
	case <-time.After(within):
		return time.Since(began), errors.Join(fmt.Errorf("the process has not stopped within %s", within), p.Kill())
	}
}

// RSS is how much of the machine's memory the process holds, in bytes.
func (p *Process) RSS() (int64, error) { return p.status("VmRSS:") }

// PeakRSS is how much of it the process has held at most, in bytes.
func (p *Process) PeakRSS() (int64, error) { return p.status("VmHWM:") }

func (p *Process) status(name string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d shows no %s", p.cmd.Process.Pid, strings.TrimSuffix(name, ":"))
}

// CPU is how long the process has had a core, in user and kernel mode: on a busy machine
// much less than the time that has passed.
func (p *Process) CPU() (time.Duration, error) {
	const perSecond = 100 // ticks of /proc, on every Linux
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, may have spaces itself.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: /proc says %q", p.cmd.Process.Pid, stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / perSecond, errors.Join(err1, err2)
}

// Signal sends the process a signal: SIGSTOP and SIGCONT hold it up, as a machine that sleeps would.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }
