package schemas_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/waybill/waybill/schemas"
)

func TestWhatWasPushedArrivesWordForWord(t *testing.T) {
	for name, body := range map[string][]byte{
		"JSON":            []byte("{\"b\": 1.000000000000000000001,\n \"a\": {\"$blob\": 2}}"),
		"text":            []byte("ünïcode\x00\u2028"),
		"nothing":         {},
		"no text":         {0xff, 0, 0xfe},
		"a bit of a text": []byte("ü")[:1],
	} {
		raw, err := schemas.Encode(schemas.NewPushed("application/x", body))
		if err != nil {
			t.Fatal(err)
		}
		contentType, got, err := schemas.ReadPushed(raw)
		if err != nil || !bytes.Equal(got, body) || contentType != "application/x" {
			t.Errorf("%s: %q of type %q, %v", name, got, contentType, err)
		}
	}
	for _, raw := range []string{`{}`, `null`, `{"text":1}`, `"x"`, ``} {
		if _, _, err := schemas.ReadPushed(json.RawMessage(raw)); err == nil {
			t.Errorf("%s was read", raw)
		}
	}
}
