package intake_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/problem"
	"github.com/waybill/waybill/producers/intake"
)

const shards = 8

// ids makes ids whose commands lie where the fake log says that everything lies.
func ids() func() string {
	n := 0
	return func() string {
		for {
			n++
			if id := fmt.Sprintf("job-%d", n); kafka.PartitionFor([]byte(id), shards) == 3 {
				return id
			}
		}
	}
}

// busy checks that an answer is that there is no room, and for what.
func (f *fixture) busy(w *httptest.ResponseRecorder, words ...string) {
	f.Helper()
	f.wants(w, http.StatusServiceUnavailable, append(words, `"code":"`+problem.Busy+`"`, "nothing was written")...)
	if w.Header().Get("Retry-After") == "" {
		f.Error("it does not say when to ask again")
	}
}

func limited(t *testing.T, l intake.Limits) (*fixture, map[string]int) {
	t.Helper()
	rejected := make(map[string]int)
	var mu sync.Mutex
	return setUpWith(t, func(c *intake.Config) {
		c.Limits, c.Shards, c.Rejected = l, shards, func(reason string) {
			mu.Lock()
			defer mu.Unlock()
			rejected[reason]++
		}
	}), rejected
}

func start(id string) string { return `{"id":"` + id + `","type":"greet"}` }

func TestAStartIsToldToComeAgainWhileTooManyCommandsOfItsShardAreUndecided(t *testing.T) {
	f, rejected := limited(t, intake.Limits{Backlog: 10})
	next := ids()
	f.reads.decided.Store(1) // the fake log begins with offset 1
	for range 10 {
		f.wants(f.send("POST", "/v1/jobs", start(next())), http.StatusAccepted)
	}
	f.busy(f.send("POST", "/v1/jobs", start(next())), "10 commands of shard 3")
	elsewhere := "a"
	for kafka.PartitionFor([]byte(elsewhere), shards) == 3 {
		elsewhere += "a"
	}
	f.wants(f.send("POST", "/v1/jobs", start(elsewhere)), http.StatusAccepted)
	f.log.commands = f.log.commands[:len(f.log.commands)-1] // the fake log counts all as one shard's
	// What ends jobs is taken longer than what begins them.
	for range 10 {
		f.wants(f.send("POST", "/v1/jobs/"+next()+"/cancel", `{"reason":"r"}`), http.StatusAccepted)
	}
	f.busy(f.send("POST", "/v1/jobs/"+next()+"/cancel", `{"reason":"r"}`), "20 commands of shard 3")
	f.reads.decided.Store(15)
	f.wants(f.send("POST", "/v1/jobs", start(next())), http.StatusAccepted)
	if rejected[intake.ReasonBacklog] != 2 {
		t.Errorf("counted %v", rejected)
	}
	if n := strings.Count(f.told.String(), "503"); n != 1 {
		t.Errorf("%d lines in the log, want one for many:\n%s", n, f.told.String())
	}
}

func TestNoJobIsTakenWhileTooManyHaveNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := limited(t, intake.Limits{Live: 100})
		next := ids()
		f.reads.live.Store(100)
		f.busy(f.send("POST", "/v1/jobs", start(next())), "100 jobs have not ended", "--max-live")
		f.busy(f.send("POST", "/v1/jobs/"+next()+"/rerun", `{"reason":"r"}`), "100 jobs have not ended")
		f.wants(f.send("POST", "/v1/jobs/"+next()+"/cancel", `{"reason":"r"}`), http.StatusAccepted)
		f.reads.live.Store(99)
		time.Sleep(2 * time.Second) //nolint:forbidigo // fake time: they are counted once a second
		f.wants(f.send("POST", "/v1/jobs", start(next())), http.StatusAccepted)
	})
}

func TestRequestsBeyondThoseUnderWayAreToldToComeAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := limited(t, intake.Limits{Requests: 3})
		f.log.hold = make(chan struct{})
		var held sync.WaitGroup
		for i := range 3 {
			held.Go(func() { f.wants(f.send("POST", "/v1/jobs", start(fmt.Sprint("held-", i))), http.StatusAccepted) })
		}
		synctest.Wait()
		began := time.Now()
		f.busy(f.send("POST", "/v1/jobs", start("more")), "3 requests are under way")
		if d := time.Since(began); d > 0 {
			t.Errorf("that took %s", d)
		}
		close(f.log.hold)
		held.Wait()
		f.wants(f.send("POST", "/v1/jobs", start("more")), http.StatusAccepted)
	})
}

func TestWhereKafkaIsAwayNobodyWaitsForLongAndNobodyForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, rejected := limited(t, intake.Limits{Requests: 4})
		f.log.hold = make(chan struct{})
		began := time.Now()
		var all sync.WaitGroup
		var refused atomic.Int32
		for i := range 40 {
			all.Go(func() {
				if w := f.send("POST", "/v1/jobs", start(fmt.Sprint("job-", i))); w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "" {
					refused.Add(1)
				}
			})
		}
		all.Wait()
		if d := time.Since(began); d > intake.DefaultPublishTimeout {
			t.Errorf("the last was answered after %s", d)
		}
		if refused.Load() != 40 || rejected[intake.ReasonKafka]+rejected[intake.ReasonRequests] != 40 {
			t.Errorf("%d were told to come again, counted as %v", refused.Load(), rejected)
		}
	})
}

func TestWhoWaitsForADecisionTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := limited(t, intake.Limits{Requests: 1})
		var waits sync.WaitGroup
		for i := range 5 {
			waits.Go(func() {
				f.wants(f.send("POST", "/v1/jobs", start(fmt.Sprint("job-", i)), "Prefer: wait=10"), http.StatusAccepted)
			})
			synctest.Wait()
		}
		waits.Wait()
	})
}

// slowBody is a body of which no more comes for now.
type slowBody struct {
	io.Reader
	more chan struct{}
}

func (s *slowBody) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		<-s.more
	}
	return n, err
}

func TestLargeBodiesTogetherHaveALimitWhetherTheirLengthIsSaidOrNot(t *testing.T) {
	for name, said := range map[string]bool{"said": true, "not said": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := setUpWith(t, func(c *intake.Config) { c.MaxBody, c.MaxPayload, c.Limits = 300_000, 1, intake.Limits{Bytes: 400_000} })
				post := func(id string, more chan struct{}) *httptest.ResponseRecorder {
					body := `{"id":"` + id + `","type":"greet","input":{"x":"` + strings.Repeat("x", 250_000) + `"}}`
					r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/jobs", &slowBody{strings.NewReader(body), more})
					r.Header.Set("Content-Type", "application/json")
					r.ContentLength = -1
					if said {
						r.ContentLength = int64(len(body))
						r.Body = io.NopCloser(&slowBody{strings.NewReader(body[:len(body)-1]), more})
					}
					w := httptest.NewRecorder()
					f.mux.ServeHTTP(w, r)
					return w
				}
				more := make(chan struct{})
				var first sync.WaitGroup
				first.Go(func() { post("first", more) })
				synctest.Wait()
				f.busy(post("second", more), "400000 bytes")
				close(more)
				first.Wait()
				if said {
					return // the first was cut short
				}
				f.wants(post("second", more), http.StatusAccepted)
			})
		})
	}
}

func TestBulkWaitsForRoomInsteadOfLeavingHalfUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := limited(t, intake.Limits{Backlog: 5})
		next := ids()
		var page []intake.Target
		for range 30 {
			page = append(page, intake.Target{JobID: next()})
		}
		f.reads.targets = [][]intake.Target{page}
		f.reads.decided.Store(1)
		go func() {
			time.Sleep(5 * time.Second) //nolint:forbidigo // fake time
			f.reads.decided.Store(100)
		}()
		f.wants(f.send("POST", "/v1/bulk/cancel?all=true", `{}`), http.StatusAccepted, `"count":30`)
	})
}
