package callbacks_test

import (
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/callbacks"
)

func TestAnAddressProvesWhatItIsFor(t *testing.T) {
	p := callbacks.New([]byte("a key of some length"))
	address := p.At("https://waybill.example.com/below/").Of("w/1")
	rest, ok := strings.CutPrefix(address, "https://waybill.example.com/below/callbacks/work/w%2F1/")
	if !ok || !p.Proves("w/1", rest) {
		t.Fatalf("the address is %s", address)
	}
	for _, wrong := range []string{"", rest[:len(rest)-1], rest + "A", p.Of("w/2"), callbacks.New([]byte("another key")).Of("w/1")} {
		if p.Proves("w/1", wrong) {
			t.Errorf("%q is taken for a proof", wrong)
		}
	}
}

func TestAnAddressIsGoodForItsSubjectAndKindAlone(t *testing.T) {
	p := callbacks.New([]byte("a key of some length"))
	at := p.At("https://waybill.example.com/below/")
	subject := callbacks.Subject{Aggregate: "negotiation", ID: "consumer http://provider:8282/protocol", Task: "r/1"}
	checks := map[string]func(id, proof string) (callbacks.Subject, bool){
		at.Connector(subject): p.Connector, at.Provisioner(subject): p.Provisioner, at.Upload(subject): p.Upload,
	}
	prefixes := strings.Join(callbacks.Prefixes(), " ")
	for address, check := range checks {
		path, ok := strings.CutPrefix(address, "https://waybill.example.com/below")
		parts := strings.Split(path, "/")
		if !ok || strings.ContainsAny(path, "%:. ") {
			t.Fatalf("the address is %s", address)
		}
		id, proof := parts[len(parts)-2], parts[len(parts)-1]
		if prefix := strings.TrimSuffix(path, id+"/"+proof); !strings.Contains(prefixes, prefix) {
			t.Errorf("%s is below none of %s", address, prefixes)
		}
		if got, ok := check(id, proof); !ok || got != subject {
			t.Errorf("%s is about %+v, %v", address, got, ok)
		}
		if _, ok := callbacks.New([]byte("another key")).Connector(id, proof); ok {
			t.Errorf("%s is good for another key", address)
		}
		good := 0
		for _, other := range checks {
			if _, ok := other(id, proof); ok {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%s is good for %d kinds", address, good)
		}
		for _, wrong := range [][2]string{{id, proof + "A"}, {id, ""}, {"", proof}, {id + "A", proof}, {id[:len(id)-4], proof}, {"%", proof}} {
			if _, ok := check(wrong[0], wrong[1]); ok {
				t.Errorf("%q is taken for %s", wrong, address)
			}
		}
	}
}

func TestCallbacksMayArriveAtAnotherURL(t *testing.T) {
	at := callbacks.New([]byte("a key of some length")).At("https://waybill.example.com")
	s := callbacks.Subject{Aggregate: "transfer", ID: "t-1", Task: "p-1"}
	moved := at.CalledAt("http://127.0.0.1:7470/hooks/")
	want := strings.Replace(at.Connector(s), "https://waybill.example.com/callbacks", "http://127.0.0.1:7470/hooks", 1)
	if got := moved.Connector(s); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := moved.Upload(s); got != at.Upload(s) {
		t.Errorf("data is pushed to %s", got)
	}
}
