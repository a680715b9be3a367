package kafka_test

import (
	"testing"

	"github.com/waybill/waybill/internal/kafka"
)

func TestAPositionReadsBackFromItsToken(t *testing.T) {
	p := kafka.Position{Aggregate: "orchestration", Partition: 3, Offset: 1234}
	if got, want := p.String(), "orchestration/3/1234"; got != want {
		t.Fatalf("token %q, want %q", got, want)
	}
	q, err := kafka.ParsePosition(p.String())
	if err != nil || q != p {
		t.Fatalf("read back %v, %v", q, err)
	}
}

func TestATokenThatNoWriteAnsweredIsRefused(t *testing.T) {
	for _, s := range []string{"", "a", "a/1", "/1/2", "a/x/2", "a/1/y", "a/-1/2", "a/1/-2", "a/1/2/3", "a/4294967296/1", "a/1/99999999999999999999"} {
		if p, err := kafka.ParsePosition(s); err == nil {
			t.Errorf("%q was read as %v", s, p)
		}
	}
}
