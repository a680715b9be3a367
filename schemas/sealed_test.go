package schemas_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/waybill/waybill/schemas"
)

func TestWhatLooksSealedIsWhatTheSchemaSays(t *testing.T) {
	pattern := regexp.MustCompile(schemas.SealedPattern)
	long := strings.Repeat("k", 64)
	for _, text := range []string{
		"k1.abc-_9", "k1.", ".abc", "", "k1", "k1.a.b", "k1.a=", "k 1.a", "k1.ä", long + ".a", long + "k.a", "k1.a\n", "K_-9.Z",
	} {
		if got, want := schemas.LooksSealed(text), pattern.MatchString(text); got != want {
			t.Errorf("%q: %t, the schema says %t", text, got, want)
		}
	}
}
