package blob_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/blob"
)

func ref(id string) blob.Ref {
	return blob.Ref{ID: id, Type: "object", Bytes: 300 << 10, SHA256: strings.Repeat("a", 64), Partition: 1, Offset: 4, Last: 9, Chunks: 3}
}

// kept is a store in memory.
type kept map[string]json.RawMessage

func (k kept) put(value json.RawMessage) (blob.Ref, error) {
	r := ref("job/" + string(rune('a'+len(k))))
	r.Chunks = 1
	k[r.ID] = value
	return r, nil
}

func (k kept) get(r blob.Ref) (json.RawMessage, error) {
	v, ok := k[r.ID]
	if !ok {
		return nil, errors.New(r.ID + " is not there")
	}
	return v, nil
}

func long(n int) string { return `"` + strings.Repeat("x", n) + `"` }

func TestAPackedValueComesBackWhole(t *testing.T) {
	const limit = 64 << 10
	for name, c := range map[string]struct {
		value string
		moved int
	}{
		"small":                        {`{"a":1}`, 0},
		"one large member":             {`{"a":1,"b":` + long(100<<10) + `,"c":[1,2]}`, 1},
		"the largest come first":       {`{"a":` + long(20<<10) + `,"b":` + long(100<<10) + `,"c":` + long(30<<10) + `}`, 1},
		"as many as it takes":          {`{"a":` + long(60<<10) + `,"b":` + long(60<<10) + `,"c":{"d":` + long(60<<10) + `}}`, 2},
		"a text":                       {long(100 << 10), 1},
		"an array":                     {`[` + long(100<<10) + `]`, 1},
		"many small members":           {`{` + strings.TrimSuffix(strings.Repeat(`"a":`+long(1000)+`,`, 100), ",") + `}`, 1},
		"a name that has to be quoted": {`{"<\"ä":` + long(100<<10) + `}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := kept{}
			packed, err := blob.Pack(json.RawMessage(c.value), limit, k.put)
			if err != nil || len(packed) > limit || len(k) != c.moved {
				t.Fatalf("%d bytes, %d moved, %v", len(packed), len(k), err)
			}
			if err := blob.Check(packed); err != nil {
				t.Error(err)
			}
			whole, err := blob.Resolve(packed, 1<<20, k.get)
			if err != nil || string(whole) != c.value {
				t.Errorf("it comes back as %.200s, %v", whole, err)
			}
			if c.moved > 0 {
				var tooLarge *blob.TooLargeError
				if _, err := blob.Resolve(packed, 1000, k.get); !errors.As(err, &tooLarge) {
					t.Errorf("over the limit of the reader: %v", err)
				}
			}
		})
	}
}

func TestAPathGoesOnWithinWhatIsKeptElsewhere(t *testing.T) {
	k := kept{}
	inside, _ := k.put(json.RawMessage(`{"list":[{"n":1},{"n":2}],"a.b":3}`))
	value := json.RawMessage(`{"x":` + string(inside.JSON()) + `,"y":[1]}`)
	for path, want := range map[string]string{"x.list.1.n": `2`, "x.list": `[{"n":1},{"n":2}]`, "x.none": `null`, "y.0": `1`} {
		v := blob.Follow(value, path)
		got, err := blob.Resolve(v, 1000, k.get)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	further := blob.Follow(blob.Follow(value, "x.list"), "0.n")
	if r, ok := blob.Of(further); !ok || r.Path != "list.0.n" {
		t.Errorf("step by step: %s", further)
	}
	if v := blob.Follow(value, "y.7"); v != nil {
		t.Errorf("beyond the end: %s", v)
	}
}

func TestATextOverWhatIsKeptElsewhereIsPutTogetherByItsReader(t *testing.T) {
	k := kept{}
	r, _ := k.put(json.RawMessage(`"large"`))
	text := blob.Text([]blob.Part{{Literal: "see "}, {Value: r.JSON()}, {Literal: ", "}, {Value: json.RawMessage(`7`)}, {Literal: "!"}})
	if got := string(blob.Text([]blob.Part{{Literal: "a "}, {Value: json.RawMessage(`"$blob"`)}})); got != `"a $blob"` {
		t.Errorf("a text that only looks like one: %s", got)
	}
	if err := blob.Check(text); err != nil || !blob.Refers(text) {
		t.Errorf("%s: %v", text, err)
	}
	nested := blob.Text([]blob.Part{{Literal: "<"}, {Value: text}, {Literal: ">"}})
	for v, want := range map[string]string{string(text): `"see large, 7!"`, string(nested): `"<see large, 7!>"`} {
		if got, err := blob.Resolve(json.RawMessage(v), 1000, k.get); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

func TestReservedMembers(t *testing.T) {
	good := string(ref("job/a").JSON())
	for value, path := range map[string]string{
		`{"$blob":1}`:                                               "",
		`{"a":[0,{"$blob":{"id":"x"}}]}`:                            "a[1]",
		`{"\u0024blob":1}`:                                          "",
		`{"a":{"$join":"x"}}`:                                       "a",
		`{"$join":[{"$blob":2}]}`:                                   "",
		`{"a":` + good[:len(good)-1] + `,"more":1}}`:                "a",
		strings.Replace(good, `"chunks":3`, `"chunks":3000000`, 1):  "",
		strings.Replace(good, `"partition":1`, `"partition":-1`, 1): "",
		strings.Replace(good, `"id"`, `"name":"x","id"`, 1):         "",
	} {
		var misuse *blob.MisuseError
		if err := blob.Check(json.RawMessage(value)); !errors.As(err, &misuse) || misuse.Path != path {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{good, `{"a":[` + good + `]}`, `{"a":"$blob"}`, `{"$blobs":1}`, `["$join"]`, `{"$join":["a",` + good + `]}`} {
		if err := blob.Check(json.RawMessage(value)); err != nil {
			t.Errorf("%s: %v", value, err)
		}
		_, isRef := blob.Of(json.RawMessage(value))
		if isRef != (value == good) {
			t.Errorf("%s is taken for a reference: %t", value, isRef)
		}
		if err := blob.Refuse(json.RawMessage(value)); (err != nil) != strings.Contains(value, `{"$blob":`) {
			t.Errorf("of a user, %s: %v", value, err)
		}
	}
}

func TestWhereAValueStandsDoesNotMatterToWhatItIs(t *testing.T) {
	a, b := ref("job/a"), ref("job/b")
	b.Offset, b.Last, b.Partition = 100, 105, 3
	if x, y := blob.Anonymous(a.JSON()), blob.Anonymous(b.JSON()); string(x) != string(y) {
		t.Errorf("%s, %s", x, y)
	}
	b.SHA256 = strings.Repeat("b", 64)
	if x, y := blob.Anonymous(a.JSON()), blob.Anonymous(b.JSON()); string(x) == string(y) {
		t.Error("another content is the same")
	}
	if n := blob.Size(a.JSON()); n < 300<<10 {
		t.Errorf("its size is %d", n)
	}
	if !a.Own("job") || a.Own("jo") || a.Own("job/a") || ref("job/a/b").Own("job") {
		t.Error("Own is wrong")
	}
}

func FuzzResolve(f *testing.F) {
	f.Add([]byte(`{"a":[` + string(ref("job/a").JSON()) + `],"b":{"$join":["x",{"$blob":1}]}}`))
	f.Add([]byte(`{"\u0024blob":{}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		if !json.Valid(value) {
			return
		}
		whole, err := blob.Resolve(value, 1<<20, func(blob.Ref) (json.RawMessage, error) { return json.RawMessage(`{"a":[1]}`), nil })
		if err == nil && !json.Valid(whole) {
			t.Errorf("%s becomes %s", value, whole)
		}
		if blob.Refuse(value) == nil && blob.Refers(value) {
			t.Errorf("%s refers to something, and is taken from users", value)
		}
		_ = blob.Anonymous(value)
		_ = blob.Follow(value, "a.0.b")
	})
}
