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
