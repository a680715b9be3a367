package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/schemas"
)

var (
	update = flag.Bool("update", false, "write the golden files that are missing; those that are there stand for what is on somebody's log and are left alone")
	force  = flag.Bool("force", false, "with -update: write the golden files that are there as well; only for a version that nobody has written yet")
)

// golden returns what stands in a wire name's golden file: the value, indented for people.
func golden(t *testing.T, wireType string, today []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", "golden", wireType+".json")
	want, err := os.ReadFile(path)
	switch {
	case err == nil && !*force:
	case err != nil && !errors.Is(err, os.ErrNotExist):
		t.Fatal(err)
	case *update:
		var b bytes.Buffer
		if err := json.Indent(&b, today, "", "  "); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		want = b.Bytes()
	case err != nil:
		t.Fatalf("%s has no golden file; make it with go test ./schemas -update", wireType)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, want); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b.Bytes()
}

// sameBytes says that today's build writes what is on the log.
func sameBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("today it is written as\n%s\nand on the log it stands as\n%s\nA version that is on a log never changes: make another one, and an upcast of this one", got, want)
	}
}

func sameValue(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read as\n%#v\nwant\n%#v", got, want)
	}
}

func TestGoldenEvents(t *testing.T) { orchestrationEventWire().isGolden(t) }

func TestGoldenCommands(t *testing.T) { orchestrationCommandWire().isGolden(t) }

func TestGoldenRecords(t *testing.T) {
	for wireType, record := range records() {
		t.Run(wireType, func(t *testing.T) {
			data, err := schemas.Encode(record)
			if err != nil {
				t.Fatal(err)
			}
			want := golden(t, wireType, data)
			sameBytes(t, data, want)
			got, err := decodeRecord(wireType, want)
			if err != nil {
				t.Fatal(err)
			}
			sameValue(t, got, record)
		})
	}
}

func decodeRecord(wireType string, data []byte) (any, error) {
	switch wireType {
	case schemas.DefinitionPut, schemas.DefinitionDelete:
		return schemas.DecodeDefinitionCommand(wireType, data)
	case schemas.DefinitionChanged, schemas.DefinitionDeleted:
		return schemas.DecodeDefinitionEvent(wireType, data)
	case schemas.CommandRejected:
		return schemas.DecodeRejected(wireType, data)
	case schemas.WorkRequested:
		return schemas.DecodeWork(wireType, data)
	case schemas.WorkCancelled:
		return schemas.DecodeCancelWork(wireType, data)
	case schemas.ShardPosition:
		return schemas.DecodePosition(wireType, data)
	case schemas.ShardCheckpoint:
		return schemas.DecodeCheckpoint(wireType, data)
	case schemas.ShardOwned:
		return schemas.DecodeOwned(wireType, data)
	case schemas.TransferCompleted, schemas.TransferTerminated, schemas.TransferDeprovisioned:
		return schemas.DecodeTransferCompletion(wireType, data)
	case schemas.NegotiationFinalized, schemas.NegotiationTerminated:
		return schemas.DecodeRoundCompletion(wireType, data)
	case schemas.NegotiationGranted, schemas.NegotiationRefused:
		return schemas.DecodeWishCompletion(wireType, data)
	}
	return schemas.DecodeCompletion(wireType, data)
}

// Every field of what is on the wire is set in its sample, so that the golden files and
// the schemas say something about it.
func TestSamplesSetEveryField(t *testing.T) {
	for wireType, v := range samples() {
		t.Run(wireType, func(t *testing.T) { everyFieldSet(t, reflect.ValueOf(v), "") })
	}
}

func samples() map[string]any {
	all := records()
	for t, e := range events() {
		all[t] = e
	}
	for t, c := range commands() {
		all[t] = c
	}
	for t, e := range transferEvents() {
		all[t] = wireOf(e)
	}
	for t, c := range transferCommands() {
		all[t] = c
	}
	for t, e := range negotiationEvents() {
		all[t] = e
	}
	for t, c := range negotiationCommands() {
		all[t] = c
	}
	return all
}

// eitherOr says that a field excludes another, which the sample sets.
func eitherOr(t reflect.Type, field string) bool {
	return t == reflect.TypeOf(negotiation.Acquire{}) && field == "AssetType"
}

func everyFieldSet(t *testing.T, v reflect.Value, at string) {
	t.Helper()
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 {
		v = v.Index(v.Len() - 1)
	}
	if v.Kind() != reflect.Struct || v.NumField() == 0 {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Tag.Get("json") == "-" {
			continue
		}
		if v.Field(i).IsZero() && !eitherOr(v.Type(), f.Name) {
			t.Errorf("%s.%s is not set", at, f.Name)
		}
		everyFieldSet(t, v.Field(i), at+"."+f.Name)
	}
}
