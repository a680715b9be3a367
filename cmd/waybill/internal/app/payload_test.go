package app_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/producers"
)

// digest takes a text in, and answers with its hash and with the text twice as large, if that is
// asked for.
func digest(_ context.Context, a agent.Activity) agent.Result {
	text := a.Input.String("text")
	out := map[string]any{"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(text))), "bytes": len(text)}
	if n := a.Input.Int("make"); n > 0 {
		out["text"] = strings.Repeat("y", n)
	}
	return agent.Complete(out)
}

const digesting = `{"type":"digesting","schema":{"type":"object","required":["text"],"properties":{"text":{"type":"string"},"make":{"type":"integer"}}},
	"output":["second.sha256","second.bytes",{"source":"first.text","target":"text"},"title"],
	"activities":[
		{"id":"first","type":"digest","inputs":["text","make"]},
		{"id":"second","type":"digest","dependsOn":"first","with":{"text":"<{{first.text}}>"}},
		{"id":"third","type":"digest","dependsOn":"second","context":["first"],"with":{"text":"{{first.text}}"}}]}`

// fetch gets a path as it is.
func (p *program) fetch(path string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.URL()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, b
}

func TestTenMegabytesGoThroughHTTPAnAgentAndTheResult(t *testing.T) {
	p := start(t, app.Config{Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest","inputSchema":{"openAPIV3Schema":{"type":"object","required":["text"],"properties":{"text":{"type":"string"}}}}}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	const size = 10 << 20
	text := strings.Repeat("x", size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	body := fmt.Sprintf(`{"id":"j-1","type":"digesting","input":{"make":%d,"text":%q}}`, size, text)
	var accepted struct{ Position string }
	p.call(http.MethodPost, "/v1/jobs", body, http.StatusAccepted, &accepted)
	// The same again is the same job, though what is large was written again.
	p.call(http.MethodPost, "/v1/jobs", body, http.StatusAccepted, nil)
	var j struct {
		State         string
		Input, Output map[string]json.RawMessage
		Error         *failure
		Nodes         []struct {
			ID     string
			Output map[string]json.RawMessage
		}
	}
	p.call(http.MethodGet, "/v1/jobs/j-1?wait=30s&position="+accepted.Position, "", http.StatusOK, &j)
	if j.State != "COMPLETED" {
		t.Fatalf("the job: %s %+v", j.State, j.Error)
	}
	status, result := p.fetch("/v1/jobs/j-1/result")
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	t.Logf("10 MB in, 10 MB out: %s, heap in use %d MB, %d MB allocated on the way", took.Round(time.Millisecond),
		after.HeapInuse>>20, (after.TotalAlloc-before.TotalAlloc)>>20)

	made := strings.Repeat("y", size)
	var out struct {
		SHA256 string
		Bytes  int
		Text   string
	}
	if err := json.Unmarshal(result, &out); err != nil || status != http.StatusOK || out.Text != made {
		t.Fatalf("the result: %d, %d bytes, %v", status, len(result), err)
	}
	// The second has had the first's text within a longer one.
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("<"+made+">"))); out.SHA256 != want || out.Bytes != size+2 {
		t.Errorf("the second has got %d bytes, %s", out.Bytes, out.SHA256)
	}
	// The page of the job only refers to what is large.
	for what, raw := range map[string]json.RawMessage{"input": j.Input["text"], "output": j.Output["text"], "output of a node": j.Nodes[0].Output["text"]} {
		if ref, ok := blob.Of(raw); !ok || ref.Bytes != size+2 || !ref.Own("j-1") {
			t.Errorf("the job shows %.200s as its %s", raw, what)
		}
	}
	if status, input := p.fetch("/v1/jobs/j-1/input"); status != http.StatusOK || !bytes.Contains(input, []byte(text)) {
		t.Errorf("the input: %d, %d bytes", status, len(input))
	}
	if status, output := p.fetch("/v1/jobs/j-1/nodes/first/output"); status != http.StatusOK || !bytes.Contains(output, []byte(made)) {
		t.Errorf("the output of the first: %d, %d bytes", status, len(output))
	}
	if status, _ := p.fetch("/v1/jobs/j-1/nodes/none/output"); status != http.StatusNotFound {
		t.Errorf("the output of none: %d", status)
	}
}

func TestWhatIsOverTheHardLimitIsRefusedAndOthersGoOn(t *testing.T) {
	p := start(t, app.Config{MaxPayload: 1 << 20, Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest"}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/hold", hold, http.StatusCreated, nil)
	over := strings.Repeat("x", 1<<20)
	for _, size := range []int{1, 4} { // over the limit of a value, over that of a body
		var problem struct{ Detail string }
		p.call(http.MethodPost, "/v1/jobs", fmt.Sprintf(`{"id":"j-1","type":"digesting","input":{"text":%q}}`, strings.Repeat(over, size)), http.StatusRequestEntityTooLarge, &problem)
		if !strings.Contains(problem.Detail, "1048576 (--max-payload)") {
			t.Errorf("it says %s", problem.Detail)
		}
	}
	if j := p.run(`{"id":"j-2","type":"digesting","input":{"text":"short","make":2097152}}`); j.State != "ERROR" || j.Error == nil ||
		j.Error.Step != "output" || !strings.Contains(j.Error.Message, "over the limit of 1048576 (--max-payload)") {
		t.Errorf("an agent's output over the limit: %s %+v", j.State, j.Error)
	}
	if j := p.run(`{"id":"j-3","type":"digesting","input":{"text":"short"}}`); j.State != "COMPLETED" {
		t.Errorf("another job: %s %+v", j.State, j.Error)
	}
}

func TestAReferenceThatSomebodyMadeUpIsRefused(t *testing.T) {
	p := start(t, app.Config{Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest"}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	for _, forged := range []string{
		`{"$blob":{"id":"j-0/x","type":"string","bytes":9,"sha256":"` + strings.Repeat("0", 64) + `","partition":0,"offset":0,"last":0,"chunks":1}}`,
		`{"$blob":7}`, `{"\u0024join":["a"]}`,
	} {
		var problem struct {
			Errors []struct{ Path, Message string }
		}
		p.call(http.MethodPost, "/v1/jobs", `{"id":"j-1","type":"digesting","input":{"text":`+forged+`}}`, http.StatusUnprocessableEntity, &problem)
		if len(problem.Errors) != 1 || problem.Errors[0].Path != "$.input.text" || !strings.Contains(problem.Errors[0].Message, "reserved") {
			t.Errorf("%s: %+v", forged, problem)
		}
	}
}

func TestWhatEndedJobsLeftIsRemovedAndReadsSayWhy(t *testing.T) {
	p := start(t, app.Config{KeepBlobs: time.Second, Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest"}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	if j := p.run(`{"id":"j-1","type":"digesting","input":{"make":300000,"text":"short"}}`); j.State != "COMPLETED" {
		t.Fatalf("the job: %s %+v", j.State, j.Error)
	}
	for t.Context().Err() == nil {
		status, body := p.fetch("/v1/jobs/j-1/result")
		if status == http.StatusGone {
			if !bytes.Contains(body, []byte("removed at")) || !bytes.Contains(body, []byte("--keep-blobs")) {
				t.Errorf("it says %s", body)
			}
			break
		}
		if status != http.StatusOK {
			t.Fatalf("the result: %d %s", status, body)
		}
		select { // it is removed a second after the end
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	var j struct{ BlobsRemovedAt *time.Time }
	p.call(http.MethodGet, "/v1/jobs/j-1", "", http.StatusOK, &j)
	if j.BlobsRemovedAt == nil {
		t.Error("the job does not say so")
	}
	if status, _ := p.fetch("/v1/jobs/j-1/input"); status != http.StatusOK {
		t.Errorf("the input, which is small: %d", status)
	}
}

func TestACallbackIsToldTheWholeOutput(t *testing.T) {
	p := start(t, app.Config{Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	told := make(chan []byte, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		told <- body
	}))
	t.Cleanup(hook.Close)
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest"}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	if j := p.run(`{"id":"j-1","type":"digesting","input":{"make":400000,"text":"short"},"callback":"` + hook.URL + `"}`); j.State != "COMPLETED" {
		t.Fatalf("the job: %s %+v", j.State, j.Error)
	}
	select {
	case body := <-told:
		if !bytes.Contains(body, bytes.Repeat([]byte("y"), 400000)) {
			t.Errorf("the callback was told %d bytes", len(body))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the callback was told nothing")
	}
}

func TestASubscriberReadsTheWholeOutput(t *testing.T) {
	p := start(t, app.Config{Agents: map[string]agent.Processor{"digest": agent.ProcessorFunc(digest)}})
	p.call(http.MethodPut, "/v1/definitions/activities/digest", `{"type":"digest"}`, http.StatusCreated, nil)
	p.call(http.MethodPut, "/v1/definitions/orchestrations/digesting", digesting, http.StatusCreated, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var shown, whole []byte
	// It is published straight to Kafka, and its end read from there.
	err := completions.Subscribe(ctx, completions.Config{Kafka: p.Kafka(), IDs: []string{"j-1"}, Ready: func() {
		go func() {
			publisher, err := producers.New(p.Kafka())
			if err != nil {
				t.Error(err)
				return
			}
			defer publisher.Close()
			input := json.RawMessage(`{"make":1000000,"text":"` + strings.Repeat("x", 1000000) + `"}`)
			if _, err := publisher.StartOrchestration(ctx, producers.Start{ID: "j-1", Type: "digesting", Input: input}); err != nil {
				t.Error(err)
			}
		}()
	}}, func(c completions.Completion) error {
		var err error
		if shown = c.Output; c.Error != nil {
			t.Error(c.Error.Message)
		}
		if whole, err = c.Whole(ctx); err != nil {
			return err
		}
		return completions.Done
	})
	if err != nil || len(shown) > 1000 || !bytes.Contains(whole, bytes.Repeat([]byte("y"), 1000000)) {
		t.Errorf("shown are %d bytes, the whole has %d, %v", len(shown), len(whole), err)
	}
}
