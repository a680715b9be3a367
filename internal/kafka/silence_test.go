package kafka

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// mute is a broker that is reached by pipes, and echoes what it hears unless it hangs.
type mute struct {
	t     *testing.T
	hangs chan struct{} // closed: it does
	cut   bool          // it cannot be reached at all
	dials int
}

func (m *mute) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	m.dials++
	if m.cut {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	here, there := net.Pipe()
	hangs := m.hangs
	go func() {
		defer there.Close() //nolint:errcheck // a pipe
		b := make([]byte, 1)
		for {
			if _, err := there.Read(b); err != nil {
				return
			}
			select {
			case <-hangs:
			default:
				if _, err := there.Write(b); err != nil {
					return
				}
			}
		}
	}()
	m.t.Cleanup(func() { here.Close() }) //nolint:errcheck // a pipe
	return here, nil
}

// with plays on a broker in fake time.
func with(t *testing.T, play func(m *mute, dial dialer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &mute{t: t, hangs: make(chan struct{})}
		play(m, new(Silence).dialer(m.dial))
	})
}

// passes lets time pass.
func passes(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // fake time

func connect(t *testing.T, dial dialer) net.Conn {
	t.Helper()
	c, err := dial(t.Context(), "tcp", "broker:9092")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask asks something, as the client does.
func ask(c net.Conn, timeout time.Duration) error {
	if _, err := c.Write([]byte("?")); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

func TestOneThatWaitsInVainIsEnough(t *testing.T) {
	with(t, func(m *mute, dial dialer) {
		t := m.t
		one, other := connect(t, dial), connect(t, dial)
		close(m.hangs)
		began := time.Now()
		waiting := make(chan error)
		go func() { waiting <- ask(other, time.Minute) }()
		if err := ask(one, requestTimeout); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it was told %v", err)
		}
		if err := <-waiting; err == nil || time.Since(began) > requestTimeout {
			t.Errorf("another one waited for %s and was told %v", time.Since(began), err)
		}
		if _, err := dial(t.Context(), "tcp", "broker:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection was told %v, want that it is refused", err)
		}
	})
}

func TestABrokerThatDoesNotAnswerIsTriedNowAndThenUntilItIsBack(t *testing.T) {
	with(t, func(m *mute, dial dialer) {
		t := m.t
		one := connect(t, dial)
		hung := m.hangs
		close(hung)
		_ = ask(one, requestTimeout)
		dialled := m.dials
		for range 10 {
			passes(listenAgain)
			began := time.Now()
			if err := ask(connect(t, dial), requestTimeout); err == nil || time.Since(began) > listenFor {
				t.Errorf("a trial took %s: %v", time.Since(began), err)
			}
			if _, err := dial(t.Context(), "tcp", "broker:9092"); err == nil {
				t.Error("two were let through at once")
			}
		}
		if m.dials != dialled+10 {
			t.Errorf("it was dialled %d times", m.dials-dialled)
		}
		m.hangs = make(chan struct{})
		passes(listenAgain)
		if err := ask(connect(t, dial), requestTimeout); err != nil {
			t.Error(err)
		}
		if err := ask(connect(t, dial), requestTimeout); err != nil {
			t.Errorf("it is back, and the next one was told %v", err)
		}
	})
}

func TestABrokerThatTheNetworkHasLostDoesNotAnswer(t *testing.T) {
	with(t, func(m *mute, dial dialer) {
		t := m.t
		m.cut = true
		ctx, cancel := context.WithTimeout(t.Context(), dialTimeout)
		defer cancel()
		if _, err := dial(ctx, "tcp", "broker:9092"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it was told %v", err)
		}
		if _, err := dial(t.Context(), "tcp", "broker:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the next one was told %v, want that it is refused", err)
		}
	})
}

func TestABrokerThatIsSlowWithOneThingIsNotSilent(t *testing.T) {
	with(t, func(m *mute, dial dialer) {
		t := m.t
		slow, other := connect(t, dial), connect(t, dial)
		go func() {
			passes(requestTimeout / 2)
			if err := ask(other, requestTimeout); err != nil {
				t.Error(err)
			}
		}()
		if err := slow.SetReadDeadline(time.Now().Add(requestTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it was told %v", err)
		}
		if err := ask(other, requestTimeout); err != nil {
			t.Errorf("another connection was closed: %v", err)
		}
		connect(t, dial)
	})
}

func TestWhoeverLosesInterestHasNotWaitedInVain(t *testing.T) {
	with(t, func(m *mute, dial dialer) {
		t := m.t
		c := connect(t, dial)
		if err := c.SetReadDeadline(time.Now().Add(requestTimeout)); err != nil {
			t.Fatal(err)
		}
		go func() {
			passes(time.Second)
			_ = c.SetReadDeadline(time.Now())
		}()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it was told %v", err)
		}
		connect(t, dial)
	})
}
