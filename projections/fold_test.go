package projections

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// fold folds records as Run would, in batches of n.
func fold(t testing.TB, db *DB, n int, records []*kgo.Record) {
	t.Helper()
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	for i, r := range records {
		if err := db.writer.apply(t.Context(), part, r); err != nil {
			t.Fatal(err)
		}
		if (i+1)%n == 0 || i == len(records)-1 {
			changed, err := db.writer.flush()
			if err != nil {
				t.Fatal(err)
			}
			db.committed(changed)
		}
	}
}

func everything(t testing.TB) []*kgo.Record {
	t.Helper()
	s := newScript(t, 0)
	s.everything("p0")
	return s.take(0)
}

func TestTheRowsDoNotDependOnHowTheEventsCame(t *testing.T) {
	records := everything(t)
	var want string
	for _, n := range []int{len(records), 1, 2, 7, 50} {
		db := open(t, filepath.Join(t.TempDir(), "p.db"))
		fold(t, db, n, records)
		got := views(t, db.cfg.Path)
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("batches of %d made other rows:\n%s\nwant\n%s", n, got, want)
		}
	}
}

func TestTheRowsAreTheSameWhenNothingStaysInMemory(t *testing.T) {
	records := everything(t)
	whole := open(t, filepath.Join(t.TempDir(), "whole.db"))
	fold(t, whole, len(records), records)
	forgetful := open(t, filepath.Join(t.TempDir(), "forgetful.db"))
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	for _, r := range records {
		forgetful.writer.jobs = jobCache{}
		if err := forgetful.writer.apply(t.Context(), part, r); err != nil {
			t.Fatal(err)
		}
		if _, err := forgetful.writer.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := views(t, forgetful.cfg.Path), views(t, whole.cfg.Path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEventsThatAreThereAlreadyChangeNothing(t *testing.T) {
	records := everything(t)
	once := open(t, filepath.Join(t.TempDir(), "once.db"))
	fold(t, once, 10, records)
	var doubled []*kgo.Record
	for range 3 {
		for _, r := range records {
			again := *r
			again.Offset = int64(len(doubled))
			doubled = append(doubled, &again)
		}
	}
	thrice := open(t, filepath.Join(t.TempDir(), "thrice.db"))
	fold(t, thrice, 10, doubled)
	if got, want := views(t, thrice.cfg.Path), views(t, once.cfg.Path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	for _, db := range []*DB{once, thrice} {
		p, err := db.Events(t.Context(), "p0-ended", 0, 0, "")
		if err != nil || len(p.Items) != 15 {
			t.Fatalf("%d events, %v", len(p.Items), err)
		}
	}
}

func TestAJobShowsWhereItStands(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 5, everything(t))
	for _, id := range []string{"p0-ended", "p0-retrying", "p0-operated", "p0-chain-0", "p0-chain-3"} {
		t.Run(id, func(t *testing.T) {
			j, err := db.Job(t.Context(), id, -1)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, id+".json", short(document(t, j)))
		})
	}
}

func TestAGapInAJobsEventsStopsThePartition(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	records := everything(t)
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	if err := db.writer.apply(t.Context(), part, records[0]); err != nil {
		t.Fatal(err)
	}
	err := db.writer.apply(t.Context(), part, records[2])
	if !isFault(err) || part.fault == nil || part.next != records[0].Offset+1 {
		t.Fatalf("%v, at %d", err, part.next)
	}
}

func TestWhatWasNotCommittedIsFoldedAgain(t *testing.T) {
	records := everything(t)
	whole := open(t, filepath.Join(t.TempDir(), "whole.db"))
	fold(t, whole, len(records), records)
	path := filepath.Join(t.TempDir(), "killed.db")
	for from := 0; from < len(records); from += 20 {
		db := open(t, path)
		part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
		if err := db.writer.positions(t.Context(), []*partition{part}); err != nil {
			t.Fatal(err)
		}
		for i, r := range records[part.next:] {
			if i == 30 {
				break // in the middle of a transaction
			}
			if err := db.writer.apply(t.Context(), part, r); err != nil {
				t.Fatal(err)
			}
			if i == 19 {
				if _, err := db.writer.flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(records)-from <= 20 {
			if _, err := db.writer.flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := views(t, path), views(t, whole.cfg.Path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTwoWritersOfOneFileAreFoundOut(t *testing.T) {
	records := everything(t)
	path := filepath.Join(t.TempDir(), "p.db")
	a, b := open(t, path), open(t, path)
	fold(t, a, 10, records[:10])
	part := &partition{topic: "events", aggregate: schemas.AggregateOrchestration, stored: -1}
	if err := b.writer.apply(t.Context(), part, records[11]); err == nil {
		t.Fatal("a gap was not seen")
	}
	if err := b.writer.apply(t.Context(), part, records[0]); err != nil {
		t.Fatal(err)
	}
	_, err := b.writer.flush()
	if err == nil || !strings.Contains(err.Error(), "another process writes to the same file") {
		t.Fatal(err)
	}
	if err := b.writer.abandon(nil); err != nil {
		t.Fatal(err)
	}
}

func TestCommandsAreAnswered(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	s := newScript(t, 0)
	s.tree("job", true)
	s.next()
	s.position(schemas.Position{
		Refused: []schemas.Refused{{CommandID: "bad", CommandType: schemas.OrchestrationStart, AggregateID: "other", Hash: "h", Refusal: *machine.Refuse(machine.Limit, "too large", machine.Problem{Path: "$.input", Message: "large"})}},
		Settled: []schemas.Settled{{CommandID: "again", AggregateID: "job"}},
	})
	fold(t, db, 3, s.take(0))
	for _, tc := range []struct {
		id, state string
		events    int
	}{
		{machine.ID("start", "job"), CommandAccepted, 2},
		{machine.ID("cancel", "job"), CommandAccepted, 1},
		{"again", CommandAccepted, 0},
		{"bad", CommandRejected, 0},
	} {
		c, err := db.Command(t.Context(), tc.id)
		if err != nil || c.State != tc.state || len(c.Events) != tc.events {
			t.Errorf("%s: %s, %v", tc.id, document(t, c), err)
		}
	}
	if _, err := db.Command(t.Context(), "done"); !IsNotFound(err) {
		t.Errorf("a report is remembered: %v", err)
	}
	p, err := db.Rejections(t.Context(), "", 0, "")
	if err != nil || len(p.Items) != 1 || !strings.Contains(string(p.Items[0]), `"$.input"`) {
		t.Errorf("%s, %v", document(t, p), err)
	}
}

func TestOldCommandsAreForgotten(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	s := newScript(t, 0)
	s.runChain("old", chain(t))
	s.at = s.at.Add(DefaultRetention).Add(DefaultRetention)
	s.runChain("new", chain(t))
	fold(t, db, 1, s.take(0))
	if _, err := db.Command(t.Context(), machine.ID("start", "old")); !IsNotFound(err) {
		t.Error(err)
	}
	if _, err := db.Command(t.Context(), machine.ID("start", "new")); err != nil {
		t.Error(err)
	}
}

func TestTheOwnerOfWorkIsFound(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	fold(t, db, 1, everything(t))
	for node, state := range map[string]string{
		machine.ID("work", "p0-retrying", "n-1"): "RETRYING",
		machine.ID("work", "p0-ended", "n-1"):    "COMPLETED", // had waited: somebody outside knows its id
	} {
		o, err := db.WorkOwner(t.Context(), node)
		if err != nil || o.NodeID != "n-1" || o.State.String() != state {
			t.Errorf("%+v, %v", o, err)
		}
	}
	if o, err := db.WorkOwner(t.Context(), machine.ID("work", "p0-chain-0", "a")); !IsNotFound(err) {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestAnOddRecordAmongTheDeadLettersIsKept(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	p := &partition{topic: "waybill.deadletters", stored: -1}
	odd := &kgo.Record{Topic: "waybill.deadletters", Value: []byte{0xff}, Timestamp: epoch, Headers: []kgo.RecordHeader{
		{Key: kafka.HeaderID, Value: []byte{0xfe}},
		{Key: schemas.DeadLetterTopic, Value: []byte("waybill.orchestration.commands")},
		{Key: schemas.DeadLetterPartition, Value: []byte("3")},
		{Key: schemas.DeadLetterOffset, Value: []byte("17")},
		{Key: schemas.DeadLetterError, Value: []byte("not JSON")},
	}}
	bare := &kgo.Record{Topic: "waybill.deadletters", Offset: 1, Timestamp: epoch}
	for _, r := range []*kgo.Record{odd, bare} {
		if err := db.writer.apply(t.Context(), p, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.writer.flush(); err != nil {
		t.Fatal(err)
	}
	l, err := db.DeadLetter(t.Context(), DeadLetterID("waybill.orchestration.commands", 3, 17))
	if err != nil || l.Offset != 17 || l.Error != "not JSON" || len(l.Headers) != 1 || l.Headers[0].Value[0] != 0xfe || l.Value[0] != 0xff {
		t.Fatalf("%+v, %v", l, err)
	}
	list, err := db.DeadLetters(t.Context(), 1, "")
	if err != nil || len(list.Items) != 1 || list.Next == "" {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err = db.DeadLetters(t.Context(), 1, list.Next); err != nil || len(list.Items) != 1 || list.Next != "" {
		t.Fatalf("%+v, %v", list, err)
	}
}

// golden compares with a file of testdata; with the variable REWRITE set it writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("REWRITE") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Fatalf("%s differs; got\n%s", path, got)
	}
}

// short cuts the large input, which nobody wants to read, out of a document.
func short(doc string) string { return strings.ReplaceAll(doc, strings.Repeat("x", 3000), "xxx") }

// An owner whose clock was a century ahead wrote it.
func TestAnEventFromTheFutureLetsNoAnswersGo(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	s := newScript(t, 0)
	s.at = time.Now()
	s.runChain("now", chain(t))
	s.at = s.at.AddDate(100, 0, 0)
	s.runChain("then", chain(t))
	fold(t, db, 1, s.take(0))
	for _, id := range []string{"now", "then"} {
		if _, err := db.Command(t.Context(), machine.ID("start", id)); err != nil {
			t.Error(err)
		}
	}
}
