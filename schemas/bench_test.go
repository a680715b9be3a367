package schemas_test

import (
	"encoding/json"
	"testing"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/schemas"
)

func BenchmarkEncodeEvent(b *testing.B) {
	for _, wireType := range hot() {
		e := events()[wireType]
		b.Run(wireType, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := schemas.EncodeOrchestrationEvent(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		e := events()[schemas.ActivityRequested]
		for b.Loop() {
			if _, err := json.Marshal(e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	for _, wireType := range hot() {
		_, data, err := schemas.EncodeOrchestrationEvent(events()[wireType])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(wireType, func(b *testing.B) {
			b.ReportAllocs()
			d := schemas.NewDecoder()
			for b.Loop() {
				if _, err := d.DecodeOrchestrationEvent(wireType, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		_, data, _ := schemas.EncodeOrchestrationEvent(events()[schemas.ActivityRequested])
		for b.Loop() {
			var e orchestration.Requested
			if err := json.Unmarshal(data, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func hot() []string {
	return []string{schemas.OrchestrationStarted, schemas.ActivityRequested, schemas.ActivityClaimed, schemas.ActivityCompleted, schemas.OrchestrationEnded}
}

func BenchmarkDecodeCommand(b *testing.B) {
	for _, c := range []struct{ name, wireType, data string }{
		{"start", schemas.OrchestrationStart, `{"type":"parts-tree","input":{"file":"root","connectorUrl":"http://provider1:8181"},"labels":{"team":"a"}}`},
		{"complete", schemas.WorkComplete, `{"workId":"0f8fad5b-d9cb-469f-a165-70867728950e","attempt":1,"output":{"text":"The quick brown fox"}}`},
		{"complete with a spawn", schemas.WorkComplete, `{"workId":"0f8fad5b-d9cb-469f-a165-70867728950e","attempt":1,"spawn":[{"id":"n-1","type":"retrieve","with":{"file":"x"}},{"id":"n-2","type":"retrieve","with":{"file":"y"}}]}`},
		{"heartbeat", schemas.WorkHeartbeat, `{"workId":"0f8fad5b-d9cb-469f-a165-70867728950e","attempt":1,"agent":"agent-1"}`},
		{"refused", schemas.OrchestrationStart, `{"type":"parts-tree","input":{"file":"root"},"deadlin":"PT2S"}`},
	} {
		data := []byte(c.data)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = schemas.DecodeOrchestrationCommand(c.wireType, data)
			}
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	b.ReportAllocs()
	data := []byte(`{"type":"parts-tree","input":{"file":"root","connectorUrl":"http://provider1:8181"},"labels":{"team":"a"}}`)
	for b.Loop() {
		schemas.Fingerprint(data)
	}
}
