package projections

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// epoch is when the tests' events were decided.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)

// script makes the records that the owner of a shard would write.
type script struct {
	t         testing.TB
	aggregate string
	topics    kafka.Topics
	partition int32
	command   int64 // next offset on the commands partition
	seq       map[string]int64
	at        time.Time
	records   []*kgo.Record
}

func newScript(t testing.TB, partition int32) *script {
	t.Helper()
	return &script{t: t, aggregate: schemas.AggregateOrchestration, partition: partition, seq: map[string]int64{}, at: epoch}
}

// event appends an event of a job, caused by a command.
func (s *script) event(id, cause string, input int64, e orchestration.Event) *kgo.Record {
	s.t.Helper()
	typ, data, err := schemas.EncodeOrchestrationEvent(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.raw(id, cause, input, typ, data)
}

func (s *script) raw(id, cause string, input int64, typ string, data []byte) *kgo.Record {
	s.seq[id]++
	s.at = s.at.Add(time.Millisecond)
	ce := kafka.CloudEvent{
		ID: machine.ID("event", id, strconv.FormatInt(s.seq[id], 10)), Source: "waybill", Type: typ, Subject: id,
		Time: s.at, Sequence: s.seq[id], Cause: cause, InputOffset: input,
	}
	r := &kgo.Record{Topic: s.topics.Events(s.aggregate), Partition: s.partition, Key: []byte(id), Value: data, Headers: ce.Headers(), Timestamp: s.at}
	s.records = append(s.records, r)
	return r
}

// position closes a transaction.
func (s *script) position(p schemas.Position) {
	s.t.Helper()
	p.Next, p.At = s.command, s.at
	data, err := schemas.Encode(p)
	if err != nil {
		s.t.Fatal(err)
	}
	ce := kafka.CloudEvent{ID: "p" + strconv.Itoa(len(s.records)), Source: "waybill", Type: schemas.ShardPosition, InputOffset: -1, Time: s.at}
	s.records = append(s.records, &kgo.Record{Topic: s.topics.Events(s.aggregate), Partition: s.partition, Key: []byte(schemas.ShardKey), Value: data, Headers: ce.Headers(), Timestamp: s.at})
}

// take hands over what has been appended, with offsets as the log would give them.
func (s *script) take(from int64) []*kgo.Record {
	r := s.records
	s.records = nil
	for i := range r {
		r[i].Offset = from + int64(i)
	}
	return r
}

func planOf(t testing.TB, def definition.Orchestration) *orchestration.Plan {
	t.Helper()
	p, err := orchestration.NewPlan(def)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// chain is the definition of W1: three activities in a row that do nothing.
func chain(t testing.TB) *orchestration.Plan {
	t.Helper()
	return planOf(t, definition.Orchestration{
		Type: "chain", Version: 1,
		Activities: []definition.Activity{
			{ID: "a", Type: "noop"},
			{ID: "b", Type: "noop", DependsOn: definition.Names{"a"}},
			{ID: "c", Type: "noop", DependsOn: definition.Names{"b"}},
		},
	})
}

// runChain appends a whole job of W1, run by agents of the owner's own process.
func (s *script) runChain(id string, p *orchestration.Plan) {
	start := s.command
	s.command++
	cause := machine.ID("start", id)
	s.event(id, cause, start, orchestration.Started{
		Type: "chain", Run: 1, Plan: p, Input: json.RawMessage(`{"n":1}`), Deadline: s.at.Add(time.Hour), Fingerprint: "0123456789abcdef",
	})
	for i, a := range []string{"a", "b", "c"} {
		work := machine.ID("work", id, a)
		s.event(id, cause, start, orchestration.Requested{ActivityID: a, Attempt: 1, WorkID: work, Placement: "serve-1", Deadline: s.at.Add(time.Hour)})
		cause, start = machine.ID("report", work, "1", "complete"), -1
		s.event(id, cause, -1, orchestration.Completed{ActivityID: a, Attempt: 1, Output: json.RawMessage(`{"i":` + strconv.Itoa(i) + `}`)})
	}
	s.event(id, cause, -1, orchestration.Ended{State: orchestration.PhaseCompleted, Output: json.RawMessage(`{"ok":true}`)})
}
