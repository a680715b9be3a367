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
