package agents_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/outbound"
)

func TestACallbackTellsOfTheEndAsASignedCloudEvent(t *testing.T) {
	status := http.StatusServiceUnavailable
	var got *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer s.Close()
	outbound, err := outbound.New([]string{strings.TrimPrefix(s.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("a key")
	deliver := func(url string) agent.Result {
		pool := agent.NewPool(slog.New(slog.DiscardHandler))
		pool.Register(agents.CallbackType, agents.NewCallback(outbound, key, 1), 1)
		done := make(chan agent.Result, 1)
		pool.TryRun(t.Context(), machine.Work{ID: "w1", Type: agents.CallbackType, Attempt: 1, Input: []byte(
			`{"url":"` + url + `","id":"e1","type":"orchestration.completed.v1","subject":"job","time":"2026-01-01T00:00:00Z","data":{"id":"job"}}`)},
			func(r agent.Result) { done <- r })
		return <-done
	}
	if r := deliver(s.URL + "/hook?secret=x"); r.Kind() != agent.Retrying || strings.Contains(r.Err().Error(), "secret") {
		t.Errorf("answered 503, it is %s: %v", r.Kind(), r.Err())
	}
	status = http.StatusNoContent
	if r := deliver(s.URL + "/hook"); r.Kind() != agent.Completed {
		t.Fatalf("answered 204, it is %s: %v", r.Kind(), r.Err())
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	for header, want := range map[string]string{
		"Ce-Id": "e1", "Ce-Type": "orchestration.completed.v1", "Ce-Subject": "job", "Ce-Specversion": "1.0",
		"Content-Type": "application/json", "Idempotency-Key": "w1",
		agents.SignatureHeader: "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		if v := got.Header.Get(header); v != want {
			t.Errorf("%s is %q, want %q", header, v, want)
		}
	}
	if string(body) != `{"id":"job"}` {
		t.Errorf("the body is %s", body)
	}
	if r := deliver("http://192.0.2.1/hook"); r.Kind() != agent.Failed {
		t.Errorf("a host that is not allowed makes it %s", r.Kind())
	}
}
