package schemas_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/schemas"
)

// wire is one kind of record of a machine, commands or events, with a sample of each.
type wire[R any] struct {
	samples map[string]R
	encode  func(R) (string, []byte, error)
	decode  func(string, []byte) (R, error)
	plain   func(R) any // what of it stands on the wire
}

func orchestrationCommandWire() wire[orchestration.Command] {
	return wire[orchestration.Command]{
		commands(), schemas.EncodeOrchestrationCommand, schemas.DecodeOrchestrationCommand,
		func(c orchestration.Command) any { return withoutFingerprint(c) },
	}
}

func orchestrationEventWire() wire[orchestration.Event] {
	return wire[orchestration.Event]{
		events(), schemas.EncodeOrchestrationEvent, schemas.NewDecoder().DecodeOrchestrationEvent,
		func(e orchestration.Event) any { return e },
	}
}

func transferCommandWire() wire[transfer.Command] {
	return wire[transfer.Command]{
		transferCommands(), schemas.EncodeTransferCommand, schemas.DecodeTransferCommand,
		func(c transfer.Command) any { return withoutTransferFingerprint(c) },
	}
}

func transferEventWire() wire[transfer.Event] {
	return wire[transfer.Event]{transferEvents(), schemas.EncodeTransferEvent, schemas.DecodeTransferEvent, wireOf}
}

func negotiationCommandWire() wire[negotiation.Command] {
	return wire[negotiation.Command]{
		negotiationCommands(), schemas.EncodeNegotiationCommand, schemas.DecodeNegotiationCommand,
		func(c negotiation.Command) any { return c },
	}
}

func negotiationEventWire() wire[negotiation.Event] {
	return wire[negotiation.Event]{
		negotiationEvents(), schemas.EncodeNegotiationEvent, schemas.DecodeNegotiationEvent,
		func(e negotiation.Event) any { return e },
	}
}

// isGolden says that each sample is written as its golden file has it, and read back, and that
// encoding/json would write the same.
func (w wire[R]) isGolden(t *testing.T) {
	t.Helper()
	for wireType, sample := range w.samples {
		t.Run(wireType, func(t *testing.T) {
			gotType, data, err := w.encode(sample)
			if err != nil || gotType != wireType {
				t.Fatalf("encoded as %s: %v", gotType, err)
			}
			want := golden(t, wireType, data)
			sameBytes(t, data, want)
			got, err := w.decode(wireType, want)
			if err != nil {
				t.Fatal(err)
			}
			sameValue(t, w.plain(got), w.plain(sample))
			w.sameAsJSON(t, sample)
		})
	}
}

// sameAsJSON holds the writer and the reader against encoding/json.
func (w wire[R]) sameAsJSON(t *testing.T, r R) {
	t.Helper()
	wireType, got, err := w.encode(r)
	if err != nil {
		t.Fatalf("%#v: %v", r, err)
	}
	want, err := json.Marshal(w.plain(r))
	if err != nil {
		t.Fatal(err)
	}
	sameValue(t, tree(t, got), tree(t, want))
	back, err := w.decode(wireType, got)
	if err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	again := reflect.New(reflect.TypeOf(w.plain(r)))
	if err := json.Unmarshal(want, again.Interface()); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	sameJSON(t, w.plain(back), again.Elem().Interface())
}

// fuzz holds the reader of commands against the schema and encoding/json: what it takes without
// asking the schema, the schema takes, and encoding/json reads alike.
func (w wire[R]) fuzz(f *testing.F) {
	f.Helper()
	names := slices.Sorted(maps.Keys(w.samples))
	for i, name := range names {
		_, data, err := w.encode(w.samples[name])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, data)
	}
	all, err := schemas.Compile(names)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which int, data []byte) {
		name := names[uint(which)%uint(len(names))]
		c, err := w.decode(name, data)
		if err != nil {
			answered(t, err)
			return
		}
		doc := tree(t, trimmed(data))
		if err := all[name].Validate(doc); err != nil {
			t.Fatalf("%s was taken, but %v", data, err)
		}
		again := reflect.New(reflect.TypeOf(c))
		if err := json.Unmarshal(withoutNulls(t, doc), again.Interface()); err != nil {
			t.Fatalf("%s was taken, but %v", data, err)
		}
		sameJSON(t, w.plain(c), again.Elem().Interface())
		wireType, written, err := w.encode(c)
		if err != nil || wireType != name {
			t.Fatalf("%s is written as %s: %v", data, wireType, err)
		}
		back, err := w.decode(name, written)
		if err != nil {
			t.Fatalf("%s is written as %s: %v", data, written, err)
		}
		sameJSON(t, w.plain(back), w.plain(c))
	})
}

// takesReports says that the machine takes what agents say of work, given and read back as wrapped.
func (w wire[R]) takesReports(t *testing.T, wrapped func(orchestration.Command) R) {
	t.Helper()
	for _, wireType := range schemas.WorkReports() {
		want := wrapped(commands()[wireType])
		gotType, data, err := w.encode(want)
		if err != nil || gotType != wireType {
			t.Fatalf("%s is written as %s: %v", wireType, gotType, err)
		}
		got, err := w.decode(wireType, data)
		if err != nil {
			t.Fatal(err)
		}
		sameValue(t, got, want)
	}
	if _, _, err := w.encode(wrapped(orchestration.Cancel{})); err == nil {
		t.Error("a cancel is written as a report")
	}
}
