package orchestration

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
)

// midway is an orchestration of so many activities of which the last is under way: the first
// spawns the others, nine each.
func midway(tb testing.TB, activities int) State {
	tb.Helper()
	retry := 3
	def := definition.Orchestration{Type: "job", Activities: []definition.Activity{{
		ID: "root", Type: "fetch.example.com", OnError: definition.OnErrorContinue, Retry: &definition.Retry{Limit: &retry},
		With: json.RawMessage(`{"as":"parts-tree","id":"{{input.id}}"}`),
	}}}
	if activities <= 3 {
		for i := 1; i < activities; i++ {
			def.Activities = append(def.Activities, definition.Activity{
				ID: fmt.Sprint("step-", i), Type: "noop", DependsOn: definition.Names{def.Activities[i-1].ID},
			})
		}
	}
	plan, err := NewPlan(def)
	if err != nil {
		tb.Fatal(err)
	}
	at := time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC)
	s := New("0f6a7d3e-6a3f-4d39-8f0a-1f1f2a3b4c5d")
	var queue []machine.Work
	give := func(c Command) {
		events, err := s.Decide(at, c)
		if err != nil {
			tb.Fatal(err)
		}
		for _, e := range events {
			for _, f := range s.Follow(at, e) {
				if w, ok := f.(machine.Work); ok {
					queue = append(queue, w)
				}
			}
			s = s.Evolve(at, e)
		}
		s.Deadline()
	}
	give(Start{Type: "job", Plan: plan, Input: json.RawMessage(`{"id":"urn:uuid:3e0f1c52-0b3a-4c0e-9a6e-0d3b8f2f6b11"}`), Fingerprint: "4f2a"})
	spawned := len(def.Activities)
	for n := 0; n < activities-1; n++ {
		c := Complete{Report: Report{WorkID: queue[n].ID, Attempt: 1}, Output: json.RawMessage(`{"catenaXId":"urn:uuid:3e0f1c52-0b3a-4c0e-9a6e-0d3b8f2f6b11","partTypeInformation":{"manufacturerPartId":"123-0.740-3434-A","nameAtManufacturer":"Mirror left"}}`)}
		for ; activities > 3 && spawned < activities && len(c.Spawn) < 9; spawned++ {
			c.Spawn = append(c.Spawn, definition.Activity{
				ID: fmt.Sprintf("%08d-0b3a-4c0e-9a6e-0d3b8f2f6b11", spawned), Type: "fetch.example.com",
				With: json.RawMessage(fmt.Sprintf(`{"id":"urn:uuid:%08d-0b3a-4c0e-9a6e-0d3b8f2f6b11","provider":"http://provider:8181/api"}`, spawned)),
			})
		}
		give(c)
	}
	return s
}

// BenchmarkSnapshot writes states down and reads them back.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{3, 37_449, 100_000} {
		s := midway(b, n)
		data, err := s.EncodeSnapshot()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.EncodeSnapshot(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(data)), "bytes")
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(s.id).DecodeSnapshot(SnapshotVersion, data, func([]byte) (*Plan, error) { return s.g.plan, nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
