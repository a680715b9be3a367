package partstree_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/partstree"
)

func TestADocument(t *testing.T) {
	refuses := func(body, want string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			_, err := partstree.Parse([]byte(body))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("Parse(%.60q) = %v, want an error with %q", body, err, want)
			}
		}
	}
	t.Run("reads as the reference has it", func(t *testing.T) {
		d, err := partstree.Parse([]byte(`{"value": "The quick", "order": 1, "extra": {},
			"transferProcesses": [{"file": "test-document-2", "connectorUrl": "http://provider2:8181", "x": 1}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if d.Value != "The quick" || d.Order == nil || *d.Order != 1 || len(d.TransferProcesses) != 1 ||
			d.TransferProcesses[0] != (partstree.Transfer{File: "test-document-2", ConnectorURL: "http://provider2:8181"}) {
			t.Fatalf("got %+v", d)
		}
	})
	t.Run("needs nothing but a value", func(t *testing.T) {
		d, err := partstree.Parse([]byte("\xef\xbb\xbf" + `{"value": "", "order": null, "transferProcesses": null}`))
		if err != nil || d.Order != nil || d.TransferProcesses != nil {
			t.Fatalf("got %+v, %v", d, err)
		}
	})
	t.Run("is not a web page", refuses("<html>", "not a JSON object"))
	t.Run("is not empty", refuses("", "not a JSON object"))
	t.Run("is not an array", refuses("[]", "not a JSON object"))
	t.Run("is not null", refuses("null", "it is null"))
	t.Run("is not two documents", refuses(`{"value":"a"}{"value":"b"}`, "not a JSON object"))
	t.Run("is UTF-8", refuses("{\"value\":\"\xff\"}", "not UTF-8"))
	t.Run("has a value", refuses(`{}`, "value is missing"))
	t.Run("has a value called value", refuses(`{"Value":"x"}`, "value is missing"))
	t.Run("has a string for a value", refuses(`{"value": 7}`, "value is not a string but a number"))
	t.Run("has no null for a value", refuses(`{"value": null}`, "value is not a string but null"))
	t.Run("has a number for an order", refuses(`{"value":"x","order":"1"}`, "order is not a number but a string"))
	t.Run("has an order that is finite", refuses(`{"value":"x","order":1e999}`, "order is not a number"))
	t.Run("has a list of transfers", refuses(`{"value":"x","transferProcesses":{}}`, "transferProcesses is not an array but an object"))
	t.Run("has objects for transfers", refuses(`{"value":"x","transferProcesses":["a"]}`, "transferProcesses[0] is not an object but a string"))
	t.Run("says which file", refuses(`{"value":"x","transferProcesses":[{"file":"a","connectorUrl":"b"},{"connectorUrl":"c"}]}`, "transferProcesses[1].file is missing"))
	t.Run("says which connector", refuses(`{"value":"x","transferProcesses":[{"file":"a","connectorUrl":true}]}`, "transferProcesses[0].connectorUrl is not a string but a boolean"))
	t.Run("does not smuggle in templates", refuses(`{"value":"x","transferProcesses":[{"file":"\u007b{input.secret}}","connectorUrl":"http://a"}]}`, "transferProcesses[0].file contains {{"))
}

func TestAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"http://provider2:8181/":              "http://provider2:8181",
		"http://provider2:8181":               "http://provider2:8181",
		"HTTP://Provider2:08181//":            "http://provider2:8181",
		" http://provider2:80/ ":              "http://provider2",
		"https://Provider2:443/a/B/":          "https://provider2/a/B",
		"https://provider2:80":                "https://provider2:80",
		"http://[::1]:8080/":                  "http://[::1]:8080",
		"http://[FE80::1]":                    "http://[fe80::1]",
		"http://p/a%2Fb":                      "http://p/a%2Fb",
		"http://p/protocol/2025-1":            "http://p/protocol/2025-1",
		"ftp://p":                             "",
		"p:8181":                              "",
		"//p":                                 "",
		"":                                    "",
		"http://":                             "",
		"http://:80":                          "",
		"http:p":                              "",
		"http://u:secret@p":                   "",
		"http://p?x":                          "",
		"http://p?":                           "",
		"http://p#f":                          "",
		"http://p#":                           "",
		"http://p/../q":                       "",
		"http://p/%2e%2e/q":                   "",
		"http://p:0":                          "",
		"http://p:70000":                      "",
		"http://p:x":                          "",
		"http://p/" + "\x00":                  "",
		"http://" + strings.Repeat("a", 3000): "",
	} {
		got, err := partstree.NormalizeURL(address)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("NormalizeURL(%.60q) = %q, %v; want %q", address, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestAFile(t *testing.T) {
	for file, want := range map[string]string{
		"test-document-1":         "http://p/test-document-1",
		"/a/b c?d#e%2f":           "http://p/a/b%20c%3Fd%23e%252f",
		"a..b/..c":                "http://p/a..b/..c",
		"ä":                       "http://p/%C3%A4",
		"":                        "",
		"/":                       "",
		"..":                      "",
		"../etc/passwd":           "",
		"a/../b":                  "",
		"a/./b":                   "",
		`a\..\b`:                  "",
		"a\nb":                    "",
		strings.Repeat("a", 3000): "",
	} {
		got, err := partstree.Location("http://P/", file)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("Location(%.60q) = %q, %v; want %q", file, got, err, want)
		}
	}
}

func TestAnIdentity(t *testing.T) {
	id := partstree.NodeID("http://provider2:8181/", "test-document-2")
	t.Run("fits into a URL", func(t *testing.T) {
		if len(id) != 18 || definition.CheckID(id) != nil {
			t.Fatalf("got %q", id)
		}
	})
	t.Run("is the same for every spelling", func(t *testing.T) {
		if again := partstree.NodeID("HTTP://PROVIDER2:8181", "/test-document-2"); again != id {
			t.Fatalf("%s and %s", again, id)
		}
	})
	t.Run("tells providers apart", func(t *testing.T) {
		if other := partstree.NodeID("http://provider3:8181", "test-document-2"); other == id {
			t.Fatal("two providers' documents are one")
		}
	})
	t.Run("has a name for people", func(t *testing.T) {
		if got := partstree.Name("http://Provider2:8181/", "test-document-2"); got != "test-document-2 at http://provider2:8181" {
			t.Fatalf("got %q", got)
		}
	})
}

func TestSpawning(t *testing.T) {
	d := partstree.Document{TransferProcesses: []partstree.Transfer{
		{File: "b", ConnectorURL: "http://P/"},
		{File: "a", ConnectorURL: "http://p"},
		{File: "/b", ConnectorURL: "http://p:80"},
		{File: "../x", ConnectorURL: "ftp://p"},
	}}
	list := partstree.Spawn(d)
	t.Run("lists each document once, in the order of the document", func(t *testing.T) {
		if len(list) != 3 || list[0].Name != "b at http://p" || list[1].Name != "a at http://p" {
			t.Fatalf("got %+v", list)
		}
	})
	t.Run("leaves a wrong address to the activity that meets it", func(t *testing.T) {
		if string(list[2].With) != `{"file":"../x","connectorUrl":"ftp://p"}` {
			t.Fatalf("got %s", list[2].With)
		}
	})
	t.Run("makes activities that a machine takes", func(t *testing.T) {
		for _, a := range list {
			if err := definition.CheckSpawned(&a); err != nil || a.Type != "retrieve" || a.ID == "" {
				t.Errorf("%+v: %v", a, err)
			}
		}
	})
	t.Run("makes none of a leaf", func(t *testing.T) {
		if got := partstree.Spawn(partstree.Document{Value: "x"}); got != nil {
			t.Fatalf("got %v", got)
		}
	})
}

func TestJoining(t *testing.T) {
	at := func(order float64, value string) partstree.Output {
		return partstree.Output{Value: value, Order: &order}
	}
	no := func(value string) partstree.Output { return partstree.Output{Value: value} }
	joins := func(want string, documents ...partstree.Output) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if got := partstree.Join(documents); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	}
	t.Run("goes by order", joins("The quick brown fox jumps over the lazy dog",
		at(1, "The quick"), at(2, "brown fox"), at(4, "the lazy dog"), at(3, "jumps over")))
	t.Run("goes by the tree without one", joins("c a b", no("c"), no("a"), no("b")))
	t.Run("keeps what has none in its place", joins("root one last two", no("root"), at(2, "one"), no("last"), at(7, "two")))
	t.Run("takes equal orders as they come", joins("a b", at(1, "a"), at(1, "b")))
	t.Run("leaves no gap for an empty value", joins("a b", no("a"), no(""), no("b")))
	t.Run("of nothing is nothing", joins(""))
}

// The largest tree of the reference has 37,449 documents: joining must stay in proportion.
func BenchmarkJoin(b *testing.B) {
	documents := make([]partstree.Output, 37_449)
	for i := range documents {
		order := float64(i * 7919 % len(documents))
		documents[i] = partstree.Output{Value: "word", Order: &order}
	}
	for b.Loop() {
		partstree.Join(documents)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"value":"a","order":1,"transferProcesses":[{"file":"f","connectorUrl":"http://p"}]}`))
	f.Add([]byte(`{"value":"a","transferProcesses":[{"file":"../f","connectorUrl":"http://p:0/%zz"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := partstree.Parse(body)
		if err != nil {
			return
		}
		for _, a := range partstree.Spawn(d) {
			if err := definition.CheckSpawned(&a); err != nil {
				t.Errorf("%q spawns what no machine takes: %v", body, err)
			}
			var r partstree.Request
			if err := json.Unmarshal(a.With, &r); err != nil {
				t.Fatal(err)
			}
			where, err := partstree.Location(r.ConnectorURL, r.File)
			if err != nil {
				continue
			}
			base, _ := partstree.NormalizeURL(r.ConnectorURL)
			u, err := url.Parse(where)
			if err != nil || !strings.HasPrefix(where, base+"/") || strings.Contains(u.Path+"/", "/../") && !strings.Contains(base, "..") {
				t.Errorf("%q leaves %q: %v", where, base, err)
			}
			if partstree.NodeID(r.ConnectorURL, r.File) != a.ID {
				t.Errorf("%s is not known by its spawned name", a.Name)
			}
		}
	})
}

func ExampleJoin() {
	one, two := 1.0, 2.0
	fmt.Println(partstree.Join([]partstree.Output{{Value: "brown fox", Order: &two}, {Value: "The quick", Order: &one}}))
	// Output: The quick brown fox
}
