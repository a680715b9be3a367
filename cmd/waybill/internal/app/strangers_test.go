package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// TestARecordWithoutAValueOrWithAMegabyteOfHeadersHoldsNobodyUp writes such records to every topic, as anybody
// may who has the right. What can be said about one is said once, and jobs go on, after a start as well.
func TestARecordWithoutAValueOrWithAMegabyteOfHeadersHoldsNobodyUp(t *testing.T) {
	cfg := anywhere(t, app.Config{Data: t.TempDir()})
	m, c := startMain(t, cfg)
	if status, a := ask(t, c, "PUT", "/v1/definitions/orchestrations/three", three); status != http.StatusCreated {
		t.Fatal(status, a)
	}
	cl, err := m.Kafka().NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics := m.Kafka().Topics()
	if err := kafka.EnsureTopics(t.Context(), cl, []kafka.Spec{topics.WorkSpec(kafka.DefaultShards, "noop")}); err != nil {
		t.Fatal(err)
	}
	const machine = schemas.AggregateOrchestration
	envelope := func(typ string) []kgo.RecordHeader {
		return kafka.CloudEvent{ID: "of-a-stranger", Type: typ, InputOffset: -1}.Headers()
	}
	megabyte := kgo.RecordHeader{Key: "note", Value: []byte(strings.Repeat("x", 1<<20))}
	letters := 0
	for i, x := range []struct {
		topic, typ string
		letters    int // how many dead letters there are more: of commands and work that nobody can read
	}{
		{topics.Commands(machine), schemas.OrchestrationStart, 1},
		{topics.Completions(machine), schemas.OrchestrationCompleted, 0},
		{topics.Snapshots(machine), schemas.ShardCheckpoint, 0},
		{topics.Work("noop"), schemas.WorkRequested, 1},
		{topics.Definitions(), schemas.DefinitionChanged, 0},
		{topics.Blobs(), "blob.v1", 0},
		{topics.Shards(), schemas.ShardOwned, 0},
		{topics.DeadLetters(), schemas.OrchestrationStart, 1}, // it is one itself
	} {
		for name, r := range map[string]*kgo.Record{
			"no value and no headers":               {},
			"no value":                              {Headers: envelope(x.typ)},
			"a megabyte of headers and no sense":    {Value: []byte("{"), Headers: append(envelope(x.typ), megabyte)},
			"a megabyte of headers and no envelope": {Value: []byte("{}"), Headers: []kgo.RecordHeader{megabyte}},
		} {
			t.Run(x.topic[strings.Index(x.topic, ".")+1:]+" with "+name, func(t *testing.T) {
				id := fmt.Sprintf("j-%d-%s", i, strings.ReplaceAll(name, " ", "-"))
				r.Topic, r.Key = x.topic, []byte(id)
				if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
				runs(t, c, id)
				letters += x.letters
				whenThereAre(t, c, letters)
			})
		}
	}
	cl.Close()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m, c = startMain(t, cfg)
	whenReady(t, m, c)
	runs(t, c, "afterwards")
	whenThereAre(t, c, letters)
}

// Nobody but the owner of a shard writes there: to go on without what it says would be to guess. What the view
// has of the other shards goes on.
func TestAnEventWithoutAValueOrWithAMegabyteOfHeadersIsNamedByReadiness(t *testing.T) {
	m, c := startMain(t, app.Config{})
	if status, a := ask(t, c, "PUT", "/v1/definitions/orchestrations/three", three); status != http.StatusCreated {
		t.Fatal(status, a)
	}
	cl, err := m.Kafka().NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	events := m.Kafka().Topics().Events(schemas.AggregateOrchestration)
	stopped := make(map[int32]bool)
	for _, r := range []*kgo.Record{
		{Topic: events, Key: []byte("a")},
		{Topic: events, Key: []byte("bb"), Value: []byte("{}"), Headers: []kgo.RecordHeader{{Key: "note", Value: []byte(strings.Repeat("x", 1<<20))}}},
	} {
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		stopped[r.Partition] = true
		says := fmt.Sprintf("%s/%d", events, r.Partition)
		for until := time.Now().Add(30 * time.Second); !strings.Contains(fmt.Sprint(m.Ready()), says); <-time.After(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("readiness does not name %s: %v", says, m.Ready())
			}
		}
	}
	if len(stopped) != 2 {
		t.Fatalf("two shards were to be stopped, not %v", stopped)
	}
	for i := range 16 {
		if id := fmt.Sprint("j-", i); !stopped[kafka.PartitionFor([]byte(id), kafka.DefaultShards)] {
			runs(t, c, id)
		}
	}
}

// whenThereAre waits until there are so many dead letters; more are one too many.
func whenThereAre(t *testing.T, c *client.Client, letters int) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		n := 0
		for cursor := "?"; cursor != ""; { // a page has not many of a megabyte
			_, page := ask(t, c, "GET", "/v1/deadletters"+cursor, "")
			items, _ := page["items"].([]any)
			next, _ := page["next"].(string)
			if n, cursor = n+len(items), ""; next != "" {
				cursor = "?cursor=" + url.QueryEscape(next)
			}
		}
		if n == letters {
			return
		}
		if n > letters || time.Now().After(until) {
			t.Fatalf("there are %d dead letters, not %d", n, letters)
		}
	}
}

// runs runs a job to its end, soon.
func runs(t *testing.T, c *client.Client, id string) {
	t.Helper()
	began := time.Now()
	status, a := ask(t, c, "POST", "/v1/jobs", `{"id": "`+id+`", "type": "three"}`, "Prefer: wait=10")
	if status != http.StatusCreated {
		t.Fatalf("start: %d %v", status, a)
	}
	_, job := ask(t, c, "GET", "/v1/jobs/"+id+"?wait=30s&position="+fmt.Sprint(a["position"]), "")
	if job["state"] != "COMPLETED" {
		t.Errorf("after %s the job is %v", time.Since(began), job)
	}
}
