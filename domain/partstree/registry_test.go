package partstree_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/partstree"
)

func TestALookup(t *testing.T) {
	finds := func(body, part string, want ...partstree.Transfer) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			got, err := partstree.Lookup([]byte(body), "http://p", part)
			if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v, %v, want %v", got, err, want)
			}
		}
	}
	refuses := func(body, want string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			if got, err := partstree.Lookup([]byte(body), "http://p", "g"); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, %v, want an error with %q", got, err, want)
			}
		}
	}
	here := func(file string) partstree.Transfer {
		return partstree.Transfer{File: file, ConnectorURL: "http://p"}
	}
	t.Run("finds a part's submodels, wherever they are", finds(`{"parts":{"g":[{"file":"a","connectorUrl":"http://q"},"b"],"h":["c"]}}`, "g",
		partstree.Transfer{File: "a", ConnectorURL: "http://q"}, here("b")))
	t.Run("finds a part that is its own submodel", finds(`{"parts":["f","g"]}`, "g", here("g")))
	t.Run("finds nothing of a part that it does not know", finds(`{"parts":{"h":["c"]}}`, "g"))
	t.Run("finds nothing of one that is not listed", finds(`{"parts":["f"]}`, "g"))
	t.Run("needs an object", refuses(`[]`, "not a JSON object"))
	t.Run("needs UTF-8", refuses("{\"parts\":\"\xff\"}", "not UTF-8"))
	t.Run("needs parts", refuses(`{}`, "no parts"))
	t.Run("needs parts of a kind", refuses(`{"parts":7}`, "a number"))
	t.Run("needs a list of submodels", refuses(`{"parts":{"g":"a"}}`, `parts["g"] is not an array but a string`))
	t.Run("needs an address of each", refuses(`{"parts":{"g":[{"file":"a"}]}}`, `parts["g"][0].connectorUrl is missing`))
	t.Run("does not smuggle in templates", refuses(`{"parts":["{{input.x}}"]}`, "parts[0] contains {{"))
}

func TestRegistriesAreSpawned(t *testing.T) {
	spawn := func(assets ...string) []definition.Activity {
		var l []partstree.Registry
		for _, a := range assets {
			l = append(l, partstree.Registry{AssetID: a})
		}
		return partstree.SpawnRegistries("http://P/", "provider", "urn:part:1", l)
	}
	t.Run("each once, as activities that a machine takes", func(t *testing.T) {
		list := spawn("a", "b", "a")
		if len(list) != 2 || list[0].Name != "urn:part:1 in a at http://p" || list[0].OnError != definition.OnErrorContinue {
			t.Fatalf("got %+v", list)
		}
		for _, a := range list {
			if err := definition.CheckSpawned(&a); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("and fail the job where there is no other", func(t *testing.T) {
		if list := spawn("a"); list[0].OnError != definition.OnErrorPartial {
			t.Fatalf("got %+v", list)
		}
	})
	t.Run("but not one that refused", func(t *testing.T) {
		list := partstree.SpawnRegistries("http://p", "", "g", []partstree.Registry{{AssetID: "a", Error: []byte(`{"message":"no"}`)}, {AssetID: "b", Error: []byte("null")}})
		if len(list) != 1 || !strings.Contains(string(list[0].With), `"file":"b"`) {
			t.Fatalf("got %+v", list)
		}
	})
}
