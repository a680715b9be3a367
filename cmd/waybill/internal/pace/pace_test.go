package pace

import (
	"runtime/debug"
	"testing"
	"time"
)

func TestABusyProcessWithASmallHeapHasRoomToFill(t *testing.T) {
	for _, c := range []struct {
		live  uint64
		apart time.Duration
		want  int
	}{
		{Room / 4, 10 * time.Millisecond, 400},
		{Room / 2, busy, 200},
		{Room / 4, busy + 1, usual},
		{Room, time.Millisecond, usual},
		{Room * 5 / 4, time.Minute, 80},
		{10 * Room, time.Millisecond, tight},
		{0, time.Millisecond, 100 * Room / least},
	} {
		if got := percentage(c.live, c.apart); got != c.want {
			t.Errorf("%d bytes live, collected every %s: %d %%, want %d %%", c.live, c.apart, got, c.want)
		}
	}
}

func TestTheCollectorComesLessOftenWhileItIsKeptAndAsEverAfterwards(t *testing.T) {
	t.Setenv("GOGC", "")
	limit := debug.SetMemoryLimit(-1)
	stop := Keep()
	if got := debug.SetMemoryLimit(-1); got > 4*Room {
		t.Errorf("a heap that grows at once may become %d bytes", got)
	}
	for wait := time.Now().Add(10 * time.Second); percentNow() == usual; {
		if time.Now().After(wait) {
			t.Fatal("the percentage has not changed, however much was allocated")
		}
		garbage = make([]byte, 1<<20)
	}
	stop()
	if got := percentNow(); got != usual {
		t.Errorf("afterwards it is %d %%, want %d %%", got, usual)
	}
	if got := debug.SetMemoryLimit(-1); got != limit {
		t.Errorf("afterwards the limit is %d bytes, want %d", got, limit)
	}
}

func TestAUsersOwnSettingIsLeftAlone(t *testing.T) {
	t.Setenv("GOGC", "50")
	defer Keep()()
	if got := percentNow(); got != usual {
		t.Errorf("it is %d %%, want %d %%", got, usual)
	}
}

var garbage []byte

func percentNow() int {
	percent := debug.SetGCPercent(usual)
	debug.SetGCPercent(percent)
	return percent
}

func TestWhatWorkNeededIsGivenBackOnceWhenItIsOver(t *testing.T) {
	t.Setenv("GOGC", "")
	shrunk := 0
	p := &pacer{percent: usual, last: time.Now(), worked: true, limit: debug.SetMemoryLimit(-1), shrink: func() { shrunk++ }}
	p.guard = p.limit
	p.resting = time.AfterFunc(time.Hour, p.rest)
	defer p.stop()
	p.rest()
	if p.percent != calm {
		t.Errorf("while nothing happens it is %d %%, want %d %%", p.percent, calm)
	}
	p.collected() // for that
	p.collected()
	p.rest()
	p.last = time.Now().Add(-2 * quiet)
	p.collected() // by itself, long after
	p.rest()
	if shrunk != 1 {
		t.Errorf("it was made small %d times, and nothing had happened since the first", shrunk)
	}
	p.collected() // and soon after again: there is work
	p.rest()
	if shrunk != 2 {
		t.Errorf("it was made small %d times, want once more", shrunk)
	}
}
