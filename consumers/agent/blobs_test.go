package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/blobs"
	"github.com/waybill/waybill/schemas"
)

// memory is a store of large values without a broker.
type memory struct {
	mu   sync.Mutex
	data map[string][]byte
	fail error
}

func (m *memory) Put(_ context.Context, id string, data []byte) (partition int32, first, last int64, chunks int32, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		m.data = map[string][]byte{}
	}
	m.data[id] = data
	return 0, 0, 0, 1, m.fail
}

func (m *memory) Get(_ context.Context, id string, _ int32, _, _ int64, chunks int32) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.data[id]
	if !ok {
		return nil, &blobs.GoneError{ID: id, Of: chunks}
	}
	return data, m.fail
}

// runIn has a Pool carry out one piece of work.
func runIn(t *testing.T, pool *agent.Pool, w machine.Work) agent.Result {
	t.Helper()
	done := make(chan agent.Result, 1)
	if !pool.TryRun(t.Context(), w, func(r agent.Result) { done <- r }) {
		t.Fatal("there is no slot")
	}
	select {
	case r := <-done:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was reported")
		return agent.Result{}
	}
}

func TestALargeOutputIsKeptElsewhereAndReadBackByTheNext(t *testing.T) {
	store := &memory{}
	pool := agent.NewPool(quiet)
	pool.KeepLarge(schemas.Blobs{Store: store})
	large := strings.Repeat("x", 1<<20)
	pool.Register("make", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result {
		return agent.Complete(map[string]any{"text": large, "n": 7})
	}), 1)
	w := work("make")
	w.Type, w.AggregateID = "make", "job-1"
	made := runIn(t, pool, w)
	var out struct {
		Text json.RawMessage
		N    int
	}
	if err := json.Unmarshal(made.Output(), &out); err != nil || out.N != 7 || len(made.Output()) > 1024 {
		t.Fatalf("the output is %.300s, %v", made.Output(), err)
	}
	ref, ok := blob.Of(out.Text)
	if !ok || !ref.Own("job-1") || ref.Type != "string" {
		t.Fatalf("the text is %s", out.Text)
	}

	var got string
	pool.Register("read", agent.ProcessorFunc(func(_ context.Context, a agent.Activity) agent.Result {
		got = a.Input.String("text") + a.Ancestor("made").String("text")
		return agent.Complete(nil)
	}), 1)
	w = work("read")
	w.Type, w.AggregateID = "read", "job-1"
	w.Input, w.Outputs = made.Output(), json.RawMessage(`{"made":`+string(made.Output())+`}`)
	if r := runIn(t, pool, w); r.Kind() != agent.Completed || got != large+large {
		t.Fatalf("it is %v, and got %d bytes", r.Err(), len(got))
	}

	t.Run("what is gone fails by name", func(t *testing.T) {
		store.mu.Lock()
		store.data = nil
		store.mu.Unlock()
		if r := runIn(t, pool, w); r.Kind() != agent.Failed || r.Fault().Step != "input" || !strings.Contains(r.Fault().Message, ref.ID) {
			t.Errorf("it is %q: %v", r.Kind(), r.Err())
		}
	})
	t.Run("what is not what was written fails by name", func(t *testing.T) {
		_, _, _, _, _ = store.Put(t.Context(), ref.ID, []byte(`"`+strings.Repeat("y", 1<<20)+`"`))
		if r := runIn(t, pool, w); r.Kind() != agent.Failed || !strings.Contains(r.Fault().Message, "SHA-256") {
			t.Errorf("it is %q: %v", r.Kind(), r.Err())
		}
	})
	t.Run("a store that does not answer is asked again", func(t *testing.T) {
		store.fail = errors.New("no route to host")
		defer func() { store.fail = nil }()
		if r := runIn(t, pool, w); r.Kind() != agent.Retrying {
			t.Errorf("it is %q: %v", r.Kind(), r.Err())
		}
	})
}

func TestAnOutputThatCannotBeTakenFailsByName(t *testing.T) {
	ref := blob.Ref{ID: "job-2/x", Type: "string", Bytes: 9, SHA256: strings.Repeat("0", 64), Chunks: 1}
	for name, c := range map[string]struct {
		max    int64
		output any
		says   string
	}{
		"over the hard limit":      {300 << 10, strings.Repeat("x", 400<<10), "over the limit of 307200 (--max-payload)"},
		"a reference of its own":   {0, json.RawMessage(`{"a":[` + string(ref.JSON()) + `]}`), "a[0]: the member $blob is reserved"},
		"one that hides":           {0, json.RawMessage(`{"\u0024blob":1}`), "$blob is reserved"},
		"no place for it":          {-1, strings.Repeat("x", agent.MaxReportBytes), "over the limit of 1032192 bytes for one report"},
		"a reference and no place": {-1, ref.JSON(), "$blob is reserved"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := agent.NewPool(quiet)
			if c.max >= 0 {
				pool.KeepLarge(schemas.Blobs{Store: &memory{}, Max: c.max})
			}
			pool.Register("make", agent.ProcessorFunc(func(context.Context, agent.Activity) agent.Result { return agent.Complete(c.output) }), 1)
			w := work("make")
			w.Type = "make"
			r := runIn(t, pool, w)
			if r.Kind() != agent.Failed || r.Fault().Step != "output" || !strings.Contains(r.Fault().Message, c.says) {
				t.Errorf("it is %q: %v", r.Kind(), r.Err())
			}
		})
	}
}
