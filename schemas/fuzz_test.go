package schemas_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

func FuzzCommand(f *testing.F) {
	f.Add(0, []byte(`{"type":"a","deadline":"P1DT2H","labels":{"a":null},"input":{"x":[1e5,-0.5,"\ud83d\ude00"]}}`))
	f.Add(5, []byte(`{"workId":"w","attempt":2,"error":"x","after":null,"state":[]}`))
	orchestrationCommandWire().fuzz(f)
}

// withoutNulls leaves out what is null, which is as good as absent.
func withoutNulls(t *testing.T, doc any) []byte {
	t.Helper()
	m, _ := doc.(map[string]any)
	for k, v := range m {
		if v == nil {
			delete(m, k)
		}
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func trimmed(data []byte) []byte {
	if len(data) > 3 && string(data[:3]) == "\ufeff" {
		return data[3:]
	}
	return data
}

// answered says that an error is one that somebody is told of, or that has a place to go to.
func answered(t *testing.T, err error) {
	t.Helper()
	var refusal *machine.Refusal
	var undecodable *schemas.UndecodableError
	if !errors.As(err, &refusal) && !errors.As(err, &undecodable) {
		t.Fatalf("neither refused nor undecodable: %v", err)
	}
}

// sameJSON compares what two values are on the wire; a member that is null is one that is absent.
func sameJSON(t *testing.T, a, b any) {
	t.Helper()
	var trees [2]any
	for i, v := range []any{a, b} {
		data, err := schemas.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		trees[i] = tree(t, data)
		if m, ok := trees[i].(map[string]any); ok {
			for k, x := range m {
				if x == nil {
					delete(m, k)
				}
			}
		}
	}
	sameValue(t, trees[0], trees[1])
}

// FuzzJSON holds the scanner against encoding/json: both know what JSON is.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2.5e-3,{"a":null}]`, `"\ud800"`, `-0`, `01`, `1.`, `tru`, `"\u12g4"`, `[,]`, `{"a":1,}`, ` `, `"` + "\x01" + `"`, `nul`, `[1 2]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		full := append(append([]byte(`{"activityId":"a","output":`), data...), '}')
		_, err := schemas.NewDecoder().DecodeOrchestrationEvent(schemas.ActivityCompleted, full)
		want := json.Valid(full) && utf8.Valid(full)
		var e orchestration.Completed
		if want && json.Unmarshal(full, &e) != nil || depth(data) > 90 {
			return // JSON, but something else than a Completed
		}
		if want != (err == nil) {
			t.Errorf("%q: JSON is %v, %v", full, want, err)
		}
	})
}

func depth(data []byte) (most int) {
	n := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			n++
		case ']', '}':
			n--
		}
		most = max(most, n)
	}
	return most
}

// FuzzEvent holds the writer and the reader of events against encoding/json.
func FuzzEvent(f *testing.F) {
	f.Add("n1", "w", "503 \"x\"\n", `{"a":1}`, 2, int64(1767355200123456789))
	f.Add("", "\x00\x1f\u2028<>&", "\xff\xc0", `[]`, -1, int64(0))
	f.Fuzz(func(t *testing.T, id, name, message, output string, n int, at int64) {
		if !json.Valid([]byte(output)) || !utf8.ValidString(output) || depth([]byte(output)) >= 90 {
			return // the test on what is not written says more
		}
		for _, e := range eventsOf(id, name, message, output, n, time.Unix(0, at).UTC()) {
			orchestrationEventWire().sameAsJSON(t, e)
		}
	})
}

func eventsOf(id, name, message, output string, n int, at time.Time) []orchestration.Event {
	failure := orchestration.Failure{ActivityID: id, Name: name, Step: message, Message: message, Attempts: n, At: at}
	return []orchestration.Event{
		orchestration.Requested{ActivityID: id, Attempt: n, WorkID: name, Placement: message, Deadline: at},
		orchestration.Offered{ActivityID: id, Attempt: n, WorkID: name, Placement: message, Offer: n},
		orchestration.Claimed{ActivityID: id, Attempt: n, Agent: name, Lease: at},
		orchestration.Extended{ActivityID: id, Attempt: n, Lease: at},
		orchestration.Waited{ActivityID: id, Attempt: n, Until: at, State: raw(output)},
		orchestration.Scheduled{ActivityID: id, Attempt: n, At: at, State: raw(output)},
		orchestration.Retrying{ActivityID: id, Attempt: n, Error: failure, At: at, State: raw(output)},
		orchestration.Completed{
			ActivityID: id, Attempt: n, Output: raw(output), Key: name, Shared: []string{id, name}, Cycles: []string{message},
			Spawned: []definition.Activity{{ID: id, Name: name, Type: message, With: raw(output)}},
		},
		orchestration.Failed{ActivityID: id, Attempt: n, Error: failure, Continued: n%2 == 0},
		orchestration.Ended{State: orchestration.PhaseError, Output: raw(output), Error: &failure, Failures: []orchestration.Failure{failure, failure}, Reason: message, By: name},
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add([]byte(`{"b":1.50,"a":[{"y":"\u00e4","x":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		want := schemas.Fingerprint(data)
		if !json.Valid(data) || !utf8.Valid(data) || depth(data) > 90 {
			return
		}
		// The form changes, the content does not.
		var b []byte
		var err error
		v := tree(t, data)
		if b, err = json.MarshalIndent(v, " ", "\t"); err != nil || unlike(v) {
			return
		}
		if _, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, append(append([]byte(`{"type":"a","input":{"x":`), data...), '}', '}')); err != nil {
			return // not what all readers understand alike: encoding/json has changed it
		}
		if got := schemas.Fingerprint(b); got != want {
			t.Errorf("%q has %s, %q has %s", data, want, b, got)
		}
	})
}

// unlike says that a value holds a number that its text does not give back.
func unlike(v any) bool {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return err != nil || math.IsInf(f, 0)
	case []any:
		return slices.ContainsFunc(v, unlike)
	case map[string]any:
		for _, x := range v {
			if unlike(x) {
				return true
			}
		}
	}
	return false
}
