package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
)

func TestAWorkIsMeasuredBesideTheBareLogAndComparedWithAnEarlierRun(t *testing.T) {
	var told bytes.Buffer
	r, err := Run(t.Context(), Options{Works: []string{"w3"}, Out: &told})
	if err != nil {
		t.Fatal(err)
	}
	if r.BareLog.RecordsPerSecond <= 0 || r.Works["W3"].Seconds <= 0 {
		t.Errorf("a figure is missing: %+v", r)
	}
	var raw bytes.Buffer
	if err := r.JSON(&raw); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "then.json")
	if err := os.WriteFile(path, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := ReadReport(path)
	if err != nil {
		t.Fatal(err)
	}
	r.Compare(&told, old)
	for _, want := range []string{"machine ", "versions ", "settings ", "bare log ", "activities to the bare log's commands", "W3 seconds", "1.00"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("nothing was said of %q:\n%s", want, &told)
		}
	}
}

func TestTheJSONHasTheFiguresOfEachWorkAndNoOthers(t *testing.T) {
	r := &Report{BareLog: BareLog{RecordsPerSecond: 400_000}, Works: map[string]Figures{
		"W1": {PerSecond: 1}, "W2": {P50Ms: 1, P99Ms: 2}, "W3": {Seconds: 1}, "W6": {Megabytes: 1},
	}}
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		BareLog map[string]float64            `json:"bareLog"`
		Works   map[string]map[string]float64 `json:"works"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.BareLog["recordsPerSecond"] != 400_000 {
		t.Errorf("the bare log is %v", got.BareLog)
	}
	for work, want := range map[string][]string{"W1": {"perSecond"}, "W2": {"p50Ms", "p99Ms"}, "W3": {"seconds"}, "W6": {"megabytes"}} {
		if names := slices.Sorted(maps.Keys(got.Works[work])); !slices.Equal(names, want) {
			t.Errorf("%s has %v, want %v", work, names, want)
		}
	}
}

func TestAHigherRateAndAShorterTimeAreBothBetter(t *testing.T) {
	then := &Report{BareLog: BareLog{RecordsPerSecond: 100}, Works: map[string]Figures{"W1": {PerSecond: 100}, "W7": {Seconds: 4}}}
	now := &Report{BareLog: BareLog{RecordsPerSecond: 200}, Works: map[string]Figures{"W1": {PerSecond: 300}, "W7": {Seconds: 1}}}
	var b bytes.Buffer
	now.Compare(&b, then)
	var ratios []string
	for line := range strings.Lines(b.String()) {
		if f := strings.Fields(line); strings.Contains(line, ".") {
			ratios = append(ratios, f[len(f)-1])
		}
	}
	if want := []string{"2.00", "3.00", "1.50", "4.00", "2.00"}; !slices.Equal(ratios, want) {
		t.Errorf("ratios %v, want %v:\n%s", ratios, want, &b)
	}
}

func TestAWorkThatDoesNotExistIsAMistakeInTheCall(t *testing.T) {
	var usage *app.UsageError
	if _, err := Run(t.Context(), Options{Works: []string{"W1", "W9"}}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "W9") {
		t.Errorf("got %v", err)
	}
}

func TestTheMedianIsAMeasurementThatWasMade(t *testing.T) {
	values := []float64{5, 1, 9, 3}
	i := 0
	got, err := median(len(values), func() (Figures, error) {
		i++
		return Figures{PerSecond: values[i-1]}, nil
	})
	if err != nil || got.PerSecond != 3 {
		t.Errorf("the median of %v is %v, %v", values, got.PerSecond, err)
	}
}

func TestTheClientOfQueriesReadsWholeAnswersAndSaysWhatWentWrong(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write(bytes.Repeat([]byte("x"), 1000))
	}))
	defer server.Close()
	c, err := dial(t.Context(), strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close() //nolint:errcheck // nothing depends on it
	for range 3 {
		if err := c.get("/there"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.get("/missing"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an answer of 404 gave %v", err)
	}
}
