package producers_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

func TestWhatOperatorsSayIsACommand(t *testing.T) {
	cfg := kafkatest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg)
	skip, _ := producers.FindVerb(producers.NodeVerbs(), "skip")
	a, err := p.Operate(t.Context(), producers.Operation{
		Verb: skip, JobID: "j-1", NodeID: "n-2", Reason: "nobody needs it", By: "Ada", Members: map[string]json.RawMessage{"output": json.RawMessage(`{"x":1}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := read(t, reader, 1)[0]
	e, err := kafka.ParseCloudEvent(r)
	if err != nil || e.Type != schemas.ActivitySkip || e.ID != a.CommandID || string(r.Key) != "j-1" {
		t.Errorf("%+v, %v", e, err)
	}
	c, err := schemas.DecodeOrchestrationCommand(e.Type, r.Value)
	if got, ok := c.(orchestration.SkipActivity); err != nil || !ok || got.ActivityID != "n-2" || got.By != "Ada" || string(got.Output) != `{"x":1}` {
		t.Errorf("%+v, %v", c, err)
	}
	_, err = p.Operate(t.Context(), producers.Operation{Verb: skip, JobID: "j-1"})
	var refusal *machine.Refusal
	if !errors.As(err, &refusal) || refusal.Code != machine.Schema {
		t.Errorf("without a node: %v", err)
	}
}

func TestALargeOutputOfAnOperatorIsKeptElsewhere(t *testing.T) {
	cfg := kafkatest.New(t)
	reader, p := withTopics(t, cfg), newPublisher(t, cfg, producers.MaxPayload(2<<20))
	complete, _ := producers.FindVerb(producers.NodeVerbs(), "complete")
	say := func(output string) error {
		_, err := p.Operate(t.Context(), producers.Operation{
			Verb: complete, JobID: "j-1", NodeID: "n-1", Reason: "r", Members: map[string]json.RawMessage{"output": json.RawMessage(output)},
		})
		return err
	}
	if err := say(`{"small":1,"x":"` + strings.Repeat("y", 1<<20) + `"}`); err != nil {
		t.Fatal(err)
	}
	r := read(t, reader, 1)[0]
	c, err := schemas.DecodeOrchestrationCommand(schemas.ActivityComplete, r.Value)
	if got, ok := c.(orchestration.CompleteActivity); err != nil || !ok || !blob.Refers(got.Output) || blob.Size(got.Output) < 1<<20 {
		t.Errorf("%T, %v: %.200s", c, err, r.Value)
	}
	var payload *schemas.PayloadError
	if err := say(`"` + strings.Repeat("y", 2<<20) + `"`); !errors.As(err, &payload) || payload.Limit != 2<<20 {
		t.Errorf("over the limit: %v", err)
	}
	var invalid *producers.InvalidError
	forged := blob.Ref{ID: "j-2/x", Type: "string", Bytes: 10, SHA256: strings.Repeat("0", 64), Chunks: 1}.JSON()
	if err := say(`{"a":` + string(forged) + `}`); !errors.As(err, &invalid) || invalid.Path != "output.a" {
		t.Errorf("a reference that somebody wrote: %v", err)
	}
}

func TestEveryVerbIsOfSomething(t *testing.T) {
	for _, l := range [][]producers.Verb{producers.JobVerbs(), producers.NodeVerbs()} {
		seen := map[string]bool{}
		for _, v := range l {
			if seen[v.Name] || v.Type == "" || v.Does == "" || v.Done == "" || len(v.States()) == 0 {
				t.Errorf("%+v", v)
			}
			seen[v.Name] = true
		}
	}
	if producers.KeyedID("t", "j", "", "k") == producers.KeyedID("t", "j", "n", "k") {
		t.Error("a job and its node have the same command")
	}
}
