package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

// withoutFingerprint leaves the fingerprint out, which is not on the wire.
func withoutFingerprint(c orchestration.Command) orchestration.Command {
	if s, ok := c.(orchestration.Start); ok {
		s.Fingerprint = ""
		return s
	}
	return c
}

func tree(t testing.TB, data []byte) any {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

func TestEventsThatNobodyCouldReadAgainAreNotWritten(t *testing.T) {
	for name, e := range map[string]orchestration.Event{
		"an output that is not JSON":   orchestration.Completed{ActivityID: "a", Output: raw(`{"a":`)},
		"an output that is not UTF-8":  orchestration.Completed{ActivityID: "a", Output: raw("\"\xff\"")},
		"an output with a second half": orchestration.Completed{ActivityID: "a", Output: raw(`{} {}`)},
		"a start without a definition": orchestration.Started{Type: "a", Input: raw(`{}`)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, data, err := schemas.EncodeOrchestrationEvent(e); err == nil {
				t.Errorf("written as %s", data)
			}
		})
	}
}

func TestStartsOfOneDefinitionShareOnePlan(t *testing.T) {
	_, data, err := schemas.EncodeOrchestrationEvent(events()[schemas.OrchestrationStarted])
	if err != nil {
		t.Fatal(err)
	}
	d := schemas.NewDecoder()
	plan := func(data []byte) *orchestration.Plan {
		e, err := d.DecodeOrchestrationEvent(schemas.OrchestrationStarted, data)
		if err != nil {
			t.Fatal(err)
		}
		return e.(orchestration.Started).Plan
	}
	first := plan(data)
	if plan(bytes.Clone(data)) != first {
		t.Error("the second start has a plan of its own")
	}
	other := bytes.ReplaceAll(data, []byte(`"version":7`), []byte(`"version":8`))
	if p := plan(other); p == first || p.Definition().Version != 8 {
		t.Error("another version of the definition has the same plan")
	}
}

func TestPlansAreForgottenBeforeTheyFillTheMemory(t *testing.T) {
	_, data, err := schemas.EncodeOrchestrationEvent(events()[schemas.OrchestrationStarted])
	if err != nil {
		t.Fatal(err)
	}
	d := schemas.NewDecoder()
	for i := range 3 * schemas.PlansKept {
		version, _ := json.Marshal(i + 1)
		data := bytes.ReplaceAll(data, []byte(`"version":7`), append([]byte(`"version":`), version...))
		if _, err := d.DecodeOrchestrationEvent(schemas.OrchestrationStarted, data); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Plans(); n != schemas.PlansKept {
		t.Errorf("%d plans are kept", n)
	}
}

func TestWhatIsReadDoesNotReferToTheFetch(t *testing.T) {
	data := []byte(`{"activityId":"a","attempt":1,"output":{"x":1}}`)
	e, err := schemas.NewDecoder().DecodeOrchestrationEvent(schemas.ActivityCompleted, data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = '!'
	}
	sameValue(t, e, orchestration.Completed{ActivityID: "a", Attempt: 1, Output: raw(`{"x":1}`)})
}

func TestAnEventOfTheFutureIsAnErrorThatSaysWhatToDo(t *testing.T) {
	for wireType, says := range map[string]string{
		"activity.completed.v7": `only activity.completed.v1`,
		"activity.teleported":   "not a type this build knows",
		"":                      "not a type this build knows",
	} {
		_, err := schemas.NewDecoder().DecodeOrchestrationEvent(wireType, []byte(`{}`))
		var unknown *schemas.UnknownVersionError
		if !errors.As(err, &unknown) || unknown.Type != wireType {
			t.Fatalf("%q: got %v", wireType, err)
		}
		unknown.Topic = "waybill.orchestration.events"
		for _, part := range []string{says, "upgrade this process", unknown.Topic} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
}

func TestMembersOfTheFutureInAKnownVersionAreLeftOut(t *testing.T) {
	e, err := schemas.NewDecoder().DecodeOrchestrationEvent(schemas.ActivityClaimed,
		[]byte(`{"weather":{"sun":[1,{}]},"activityId":"a","attempt":1,"agent":"b","lease":"2026-01-02T12:00:00.123456789Z"}`))
	if err != nil {
		t.Fatal(err)
	}
	sameValue(t, e, orchestration.Claimed{ActivityID: "a", Attempt: 1, Agent: "b", Lease: noon})
}

func TestAnEventThatCannotBeReadIsAnError(t *testing.T) {
	for _, data := range []string{"", "null", "[]", `{"activityId":1}`, `{"lease":"yesterday"}`, `{"attempt":1.5}`, `{} {}`, "\xff", `{"a":"` + "\xff" + `"}`} {
		_, err := schemas.NewDecoder().DecodeOrchestrationEvent(schemas.ActivityClaimed, []byte(data))
		var u *schemas.UndecodableError
		if !errors.As(err, &u) {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestCommandsThatCannotBeReadGoToTheDeadLetters(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                 "",
		"not JSON":                "hello",
		"half an object":          `{"type":"a"`,
		"not UTF-8":               "{\"type\":\"\xff\"}",
		"Latin-1 in a name":       "{\"\xe4\":1,\"type\":\"a\"}",
		"UTF-16":                  "\xff\xfe{\x00}\x00",
		"a NUL byte":              "{\"type\":\"a\x00\"}",
		"trailing garbage":        `{"type":"a"}}`,
		"two values":              `{"type":"a"}{"type":"b"}`,
		"a trailing comma":        `{"type":"a",}`,
		"single quotes":           `{'type':'a'}`,
		"a comment":               `{"type":"a"/* */}`,
		"NaN":                     `{"type":"a","input":{"x":NaN}}`,
		"a leading zero":          `{"type":"a","input":{"x":01}}`,
		"an unknown escape":       `{"type":"\x41"}`,
		"a mistake, then garbage": `{"type":1,"type":"a"} tail`,
	} {
		t.Run(name, func(t *testing.T) {
			c, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, []byte(data))
			var u *schemas.UndecodableError
			if !errors.As(err, &u) || u.Type != schemas.OrchestrationStart || u.Reason == "" {
				t.Fatalf("got %v, %v", c, err)
			}
		})
	}
}

func TestCommandsThatAreNotToBeHadAreRefused(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for name, c := range map[string]struct {
		wireType, data string
		code           machine.Code
		path           string
	}{
		"an unknown type":           {"orchestration.explode.v1", `{}`, machine.UnknownType, ""},
		"a version of the future":   {"orchestration.start.v2", `{}`, machine.UnknownType, ""},
		"a definition's command":    {schemas.DefinitionPut, `{}`, machine.UnknownType, ""},
		"too large":                 {schemas.OrchestrationStart, `{"type":"` + strings.Repeat("a", 2<<20) + `"}`, machine.Limit, ""},
		"10 MB of garbage":          {schemas.OrchestrationStart, strings.Repeat("\xff", 10<<20), machine.Limit, ""},
		"too deep":                  {schemas.OrchestrationStart, `{"type":"a","input":{"x":` + deep + `}}`, machine.Limit, "$.input.x" + strings.Repeat("[0]", 98)},
		"not an object":             {schemas.OrchestrationStart, `[]`, machine.Schema, "$"},
		"null":                      {schemas.OrchestrationStart, `null`, machine.Schema, "$"},
		"without a type":            {schemas.OrchestrationStart, `{}`, machine.Schema, "$.type"},
		"an empty type":             {schemas.OrchestrationStart, `{"type":""}`, machine.Schema, "$.type"},
		"no type, said aloud":       {schemas.OrchestrationStart, `{"type":null}`, machine.Schema, "$.type"},
		"a number for a type":       {schemas.OrchestrationStart, `{"type":1}`, machine.Schema, "$.type"},
		"an unknown member":         {schemas.OrchestrationStart, `{"type":"a","deadlin":"PT2S"}`, machine.Schema, "$.deadlin"},
		"a name in other letters":   {schemas.OrchestrationStart, `{"Type":"a","type":"a"}`, machine.Schema, "$.Type"},
		"a list for input":          {schemas.OrchestrationStart, `{"type":"a","input":[1]}`, machine.Schema, "$.input"},
		"a wrong deadline":          {schemas.OrchestrationStart, `{"type":"a","deadline":"soon"}`, machine.Schema, "$.deadline"},
		"a negative deadline":       {schemas.OrchestrationStart, `{"type":"a","deadline":"-2s"}`, machine.Schema, "$.deadline"},
		"an endless deadline":       {schemas.OrchestrationStart, `{"type":"a","deadline":"P999999999Y"}`, machine.Schema, "$.deadline"},
		"a number as a label":       {schemas.OrchestrationStart, `{"type":"a","labels":{"a.b":1}}`, machine.Schema, `$.labels["a.b"]`},
		"a null label":              {schemas.OrchestrationStart, `{"type":"a","labels":{"a":null}}`, machine.Schema, `$.labels.a`},
		"a callback of a file":      {schemas.OrchestrationStart, `{"type":"a","callback":"file:///etc/passwd"}`, machine.Schema, "$.callback"},
		"a name twice":              {schemas.OrchestrationStart, `{"type":"a","type":"b"}`, machine.Schema, "$.type"},
		"a name twice, escaped":     {schemas.OrchestrationStart, `{"type":"a","input":{"x":[{"y":1,"\u0079":2}]}}`, machine.Schema, "$.input.x[0].y"},
		"half a surrogate pair":     {schemas.OrchestrationStart, `{"type":"a\ud800"}`, machine.Schema, "$.type"},
		"U+0000":                    {schemas.OrchestrationStart, `{"type":"a","input":{"x":"\u0000"}}`, machine.Schema, "$.input.x"},
		"a number out of range":     {schemas.OrchestrationStart, `{"type":"a","input":{"x":1e999}}`, machine.Schema, "$.input.x"},
		"a number that takes years": {schemas.OrchestrationStart, `{"type":"a","input":{"x":1e-999999999999}}`, machine.Schema, "$.input.x"},
		"a number of a thousand":    {schemas.OrchestrationStart, `{"type":"a","input":{"x":` + strings.Repeat("1", 1000) + `}}`, machine.Schema, "$.input.x"},
		"a report about nothing":    {schemas.WorkComplete, `{"attempt":1}`, machine.Schema, "$.workId"},
		"attempt 0":                 {schemas.WorkComplete, `{"workId":"w","attempt":0}`, machine.Schema, "$.attempt"},
		"an attempt out of range":   {schemas.WorkComplete, `{"workId":"w","attempt":99999999999999999999}`, machine.Schema, "$.attempt"},
		"attempt 1.0":               {schemas.WorkComplete, `{"workId":"w","attempt":1.0}`, machine.Schema, "$.attempt"},
		"a failed success":          {schemas.WorkComplete, `{"workId":"w","attempt":1,"error":"x"}`, machine.Schema, "$.error"},
		"a spawn without a type":    {schemas.WorkComplete, `{"workId":"w","attempt":1,"spawn":[{"id":"x","type":"y"},{"id":"x"}]}`, machine.Schema, "$.spawn[1].type"},
		"a typo in a spawn":         {schemas.WorkComplete, `{"workId":"w","attempt":1,"spawn":[{"id":"x","type":"y","dependson":"z"}]}`, machine.Schema, "$.spawn[0].dependson"},
		"a wrong spawn policy":      {schemas.WorkComplete, `{"workId":"w","attempt":1,"spawn":[{"id":"x","type":"y","onError":"panic"}]}`, machine.Schema, "$.spawn[0].onError"},
		"a schedule without a time": {schemas.WorkSchedule, `{"workId":"w","attempt":1}`, machine.Schema, "$.after"},
		"a fault without words":     {schemas.WorkFail, `{"workId":"w","attempt":1,"error":{"step":"x"}}`, machine.Schema, "$.error.message"},
		"a number as a fault":       {schemas.WorkFail, `{"workId":"w","attempt":1,"error":5}`, machine.Schema, "$.error"},
		"no fault":                  {schemas.WorkRetry, `{"workId":"w","attempt":1}`, machine.Schema, "$.error"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeOrchestrationCommand(c.wireType, []byte(c.data))
			var r *machine.Refusal
			if !errors.As(err, &r) || r.Code != c.code {
				t.Fatalf("got %v, %.300v", got, err)
			}
			if c.path == "" {
				return
			}
			if len(r.Errors) == 0 || r.Errors[0].Path != c.path || r.Errors[0].Message == "" {
				t.Errorf("got %.300q, want the mistake at %s", r.Errors, c.path)
			}
		})
	}
}

func TestAllMistakesAreNamedAtOnce(t *testing.T) {
	_, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, []byte(`{"input":[],"deadline":"soon","labels":{"a":1}}`))
	want := "the value does not fit the schema of orchestration.start.v1: " +
		`$.deadline: "soon" is no duration; PT2S and 2s are; $.input: got array, want null or object; $.labels.a: got number, want string; $.type: is missing`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestCommandsAreTakenInAllTheirForms(t *testing.T) {
	report := orchestration.Report{WorkID: "w", Attempt: 1}
	for name, c := range map[string]struct {
		wireType, data string
		want           orchestration.Command
	}{
		"with white space":            {schemas.OrchestrationStart, " {\r\n\t\"type\" : \"a\" } ", orchestration.Start{Type: "a"}},
		"behind a byte order mark":    {schemas.OrchestrationStart, "\ufeff{\"type\":\"a\"}", orchestration.Start{Type: "a"}},
		"with nulls for what is not":  {schemas.OrchestrationStart, `{"type":"a","input":null,"partial":null,"deadline":null,"labels":null,"callback":null}`, orchestration.Start{Type: "a"}},
		"escaped":                     {schemas.OrchestrationStart, `{"ty\u0070e":"\u00e4\ud83d\ude00\/\"\\\b\f\n\r\t"}`, orchestration.Start{Type: "ä😀/\"\\\b\f\n\r\t"}},
		"a duration as Go writes it":  {schemas.OrchestrationStart, `{"type":"a","deadline":"1h30m"}`, orchestration.Start{Type: "a", Deadline: 5400e9}},
		"an empty cancel":             {schemas.OrchestrationCancel, `{}`, orchestration.Cancel{}},
		"a fault with a code":         {schemas.WorkFail, `{"workId":"w","attempt":1,"error":{"step":"fetch","message":"x","code":"edr-dead"}}`, orchestration.Fail{Report: report, Error: orchestration.Fault{Step: "fetch", Message: "x", Code: "edr-dead"}}},
		"a fault as a string":         {schemas.WorkFail, `{"workId":"w","attempt":1,"error":"x"}`, orchestration.Fail{Report: report, Error: orchestration.Fault{Message: "x"}}},
		"a complete without a result": {schemas.WorkComplete, `{"workId":"w","attempt":1,"output":null,"spawn":[]}`, orchestration.Complete{Report: report}},
		"a result that is a number":   {schemas.WorkComplete, `{"workId":"w","attempt":1,"output":12345678901234567890}`, orchestration.Complete{Report: report, Output: raw(`12345678901234567890`)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeOrchestrationCommand(c.wireType, []byte(c.data))
			if err != nil {
				t.Fatal(err)
			}
			sameValue(t, withoutFingerprint(got), c.want)
		})
	}
}

func TestADefinitionIsPutInEitherForm(t *testing.T) {
	const body = `{"type":"greet","activities":[]}`
	for name, c := range map[string]struct {
		data string
		want definition.Put
	}{
		"alone":                    {body, definition.Put{Definition: raw(body)}},
		"wrapped":                  {`{"kind":"orchestration","definition":` + body + `}`, definition.Put{Kind: definition.KindOrchestration, Definition: raw(body)}},
		"behind a byte order mark": {"\ufeff" + body, definition.Put{Definition: raw(body)}},
		"with mistakes in it":      {`{"type":1}`, definition.Put{Definition: raw(`{"type":1}`)}}, // the definition names them
	} {
		t.Run(name, func(t *testing.T) {
			got, err := schemas.DecodeDefinitionCommand(schemas.DefinitionPut, []byte(c.data))
			if err != nil {
				t.Fatal(err)
			}
			sameValue(t, got, c.want)
		})
	}
}

func TestCommandsOfDefinitionsAreCheckedAtTheEdge(t *testing.T) {
	for name, c := range map[string]struct {
		wireType, data string
		code           machine.Code // empty where it goes to the dead letters
	}{
		"an unknown type":    {schemas.OrchestrationStart, `{}`, machine.UnknownType},
		"not JSON":           {schemas.DefinitionPut, `{"type":`, ""},
		"not UTF-8":          {schemas.DefinitionDelete, "{\"\xff\":1}", ""},
		"a list":             {schemas.DefinitionPut, `[]`, machine.Schema},
		"a name twice":       {schemas.DefinitionPut, `{"type":"a","type":"b"}`, machine.Schema},
		"too large":          {schemas.DefinitionPut, `{"type":"` + strings.Repeat("a", 2<<20) + `"}`, machine.Limit},
		"a delete with more": {schemas.DefinitionDelete, `{"force":true}`, machine.Schema},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemas.DecodeDefinitionCommand(c.wireType, []byte(c.data))
			var r *machine.Refusal
			var u *schemas.UndecodableError
			switch {
			case errors.As(err, &r) && r.Code == c.code:
			case errors.As(err, &u) && c.code == "":
			default:
				t.Errorf("got %.200v", err)
			}
		})
	}
}

func TestTheFingerprintSeesTheBodyAndNotItsForm(t *testing.T) {
	same := []string{
		`{"type":"aé","input":{"x":[1,2.5,null,true],"y":"/"},"z":100.0}`,
		"\ufeff{ \"z\": 1e2, \"input\": {\"y\": \"\\/\", \"x\": [1, 25e-1, null, true]},\n \"t\\u0079pe\": \"a\\u00e9\" }",
	}
	want := schemas.Fingerprint([]byte(same[0]))
	if len(want) != 16 {
		t.Errorf("%q is not 16 digits long", want)
	}
	for _, s := range same {
		if got := schemas.Fingerprint([]byte(s)); got != want {
			t.Errorf("%s has %s, want %s", s, got, want)
		}
	}
	seen := map[string]string{want: same[0]}
	for _, s := range []string{``, `{`, `{}`, `[]`, `null`, `""`, `"null"`, `{"a":[]}`, `{"a":{}}`, `[1,2]`, `[2,1]`, `[12]`, `{"a":"b","c":"d"}`, `{"a":"d","c":"b"}`, `{"a\",\"c":1}`, `{"a":1}`, `{"a":"1"}`} {
		got := schemas.Fingerprint([]byte(s))
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same fingerprint", s, other)
		}
		seen[got] = s
	}
}

// A start's fingerprint is on the log: another build must make the same one.
func TestTheFingerprintStays(t *testing.T) {
	if got := schemas.Fingerprint([]byte(`{"type":"greet","input":{"name":"Ada"}}`)); got != fingerprintOfGreet {
		t.Errorf("got %s", got)
	}
	c, err := schemas.DecodeOrchestrationCommand(schemas.OrchestrationStart, []byte(`{"input":{"name":"Ada"},"type":"greet"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.(orchestration.Start).Fingerprint; got != fingerprintOfGreet {
		t.Errorf("got %s", got)
	}
}

func TestTheSameSecretSealedAgainIsTheSameBody(t *testing.T) {
	of := func(secret string) string {
		return schemas.Fingerprint([]byte(`{"assetId":"a","destination":{"type":"HttpData","authCode":{"$sealed":"` + secret + `"}}}`))
	}
	if of("k1.bm90") != of("k2.cmVhbGx5") {
		t.Error("a body that comes again is taken for another one: its secret was sealed anew")
	}
	if of("k1.bm90") == schemas.Fingerprint([]byte(`{"assetId":"a","destination":{"type":"HttpData"}}`)) {
		t.Error("a body with a secret is taken for one without")
	}
}

// It is what printf '{"input":{"name":"Ada"},"type":"greet"}' | sha256sum begins with.
const fingerprintOfGreet = "bea9d5fb6b4a5048"

// The log may show a record twice: reading it again gives the same.
func TestReadingTwiceGivesTheSame(t *testing.T) {
	d := schemas.NewDecoder()
	for wireType, e := range events() {
		_, data, err := schemas.EncodeOrchestrationEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		first, err1 := d.DecodeOrchestrationEvent(wireType, data)
		second, err2 := d.DecodeOrchestrationEvent(wireType, data)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		sameValue(t, second, first)
	}
	for wireType, c := range commands() {
		_, data, err := schemas.EncodeOrchestrationCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		first, err1 := schemas.DecodeOrchestrationCommand(wireType, data)
		second, err2 := schemas.DecodeOrchestrationCommand(wireType, data)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		sameValue(t, second, first)
	}
}

func TestCommandsThatAreNotOnTheWireAreNotWritten(t *testing.T) {
	for _, c := range []orchestration.Command{orchestration.Wake{}, orchestration.TakeOver{Agent: "a"}} {
		if wireType, _, err := schemas.EncodeOrchestrationCommand(c); err == nil {
			t.Errorf("%T is written as %s", c, wireType)
		}
	}
}
