package app_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

func TestACallbackIsToldOfTheEndUntilItHasUnderstood(t *testing.T) {
	key := []byte("0123456789abcdef")
	p := start(t, app.Config{CallbackKey: key})
	type call struct {
		header http.Header
		body   []byte
	}
	calls := make(chan call, 10)
	n := 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if n++; n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
		calls <- call{r.Header, body}
	}))
	t.Cleanup(hook.Close)
	from := newProvider(t, documents(map[string]answer{"one": document("alone")}))
	p.tree("told", from, "one", `,"callback":"`+hook.URL+`/ended"`)
	first, second := <-calls, <-calls
	for _, c := range []call{first, second} {
		mac := hmac.New(sha256.New, key)
		mac.Write(c.body)
		if got, want := c.header.Get("Waybill-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("the signature is %s, want %s", got, want)
		}
		if typ := c.header.Get("Ce-Type"); typ != "orchestration.completed.v1" {
			t.Errorf("the callback was told of %s", typ)
		}
	}
	if first.header.Get("Ce-Id") != second.header.Get("Ce-Id") || first.header.Get("Idempotency-Key") != second.header.Get("Idempotency-Key") {
		t.Error("the second try cannot be told for a repeat")
	}
	var end struct {
		ID, State string
		Output    struct{ Value string }
	}
	if err := json.Unmarshal(second.body, &end); err != nil || end.ID != "told" || end.State != "COMPLETED" || end.Output.Value != "alone" {
		t.Errorf("the callback was told %s (%v)", second.body, err)
	}
}
