package jwt_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/jwt"
)

func TestWhenATokenEnds(t *testing.T) {
	of := func(claims string) string {
		return "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	want := time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC)
	for _, token := range []string{of(`{"exp":1795273200}`), of(`{"exp":1795273200.5,"iat":1}`), of(`{"exp":"1795273200"}`), "Bearer " + of(`{"exp":1795273200}`)} {
		if got, ok := jwt.Expiry(token); !ok || !got.Equal(want) {
			t.Errorf("%s: got %s, %v", token, got, ok)
		}
	}
	for _, none := range []string{
		"", "opaque", "a.b.c", "a.b", of(``), of(`[]`), of(`{}`), of(`{"exp":null}`), of(`{"exp":"soon"}`), of(`{"exp":"NaN"}`), of(`{"exp":"Inf"}`),
		of(`{"exp":0}`), of(`{"exp":-1}`), of(`{"exp":1e300}`), of(`{"exp":549755813888}`), of(`{"exp":{}}`),
	} {
		if got, ok := jwt.Expiry(none); ok {
			t.Errorf("%s: got %s", none, got)
		}
	}
}
