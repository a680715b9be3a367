package negotiation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// TestWhateverHappens gives a counter-party wishes, reports, callbacks and timeouts in any order, some of
// them twice and some of them late. Every waiter is answered once, there is never more under way at the
// provider than the limit, never two rounds for an asset, and nothing waits without a deadline.
func TestWhateverHappens(t *testing.T) { rapid.Check(t, property) }

// FuzzDecide looks for the same with the fuzzer.
func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

func property(t *rapid.T) { newRun(t).live() }

// live lets everything happen that may.
func (r *run) live() {
	t := r.t
	for range rapid.IntRange(1, 150).Draw(t, "commands") {
		r.pass(rapid.SampledFrom(passes).Draw(t, "pass"))
		r.give(r.command())
	}
	r.finish()
}

var (
	passes  = []time.Duration{0, 0, 0, 0, 0, 0, time.Second, time.Second, 20 * time.Second, 3 * time.Minute, 2 * time.Hour}
	assets  = []string{"doc", "part", "reg-1", "reg-2"}
	waiters = []string{"t-1", "t-2", "t-3", "t-4", "t-5", "t-6"}
)

type run struct {
	t      *rapid.T
	at     time.Time
	cfg    Config
	s      State
	log    []logged
	wishes int
	// told are the wishes that have an answer to come, by command ID, and whether by type.
	told   map[string]bool
	rounds map[string]string // live, by asset
	old    []Command         // to be repeated late
	procs  []string
	agrees []string

	shadowed bool
	shadow   *State // goes on from a snapshot
	shaded   int
}

type logged struct {
	at time.Time
	e  Event
}

func newRun(t *rapid.T) *run {
	cfg := Config{
		Parallelism: rapid.IntRange(1, 5).Draw(t, "parallelism"), Rounds: rapid.IntRange(1, 3).Draw(t, "rounds"),
		Refresh: rapid.Bool().Draw(t, "refresh"),
	}
	r := &run{t: t, at: machinetest.Epoch, cfg: cfg, told: map[string]bool{}, rounds: map[string]string{}}
	r.s = r.fresh()
	return r
}

func (r *run) fresh() State {
	return Configured(func(string) Config { return r.cfg })("edc http://provider1")
}

// pass lets time pass, and what is due happen.
func (r *run) pass(d time.Duration) {
	until := r.at.Add(d)
	for due := r.s.Deadline(); !due.IsZero() && !due.After(until); due = r.s.Deadline() {
		r.at = later(r.at, due)
		if n := r.give(Wake{}); n == 0 {
			r.t.Fatalf("it has a deadline of %s that it does not act on", due)
		}
	}
	r.at = until
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (r *run) command() Command {
	pick := func(what string, from []string) string { return rapid.SampledFrom(from).Draw(r.t, what) }
	switch n := rapid.IntRange(0, 29).Draw(r.t, "command"); {
	case n < 6:
		r.wishes++
		c := Acquire{
			Provider: "http://provider1", Waiter: pick("waiter", waiters), Need: Need(pick("need", []string{"agreement", "edr", "edr"})),
			AssetID: pick("asset", assets), CommandID: fmt.Sprintf("c-%d", r.wishes),
			Reply: &Reply{Aggregate: "transfer", ID: fmt.Sprintf("c-%d", r.wishes)},
		}
		if rapid.IntRange(0, 3).Draw(r.t, "by type") == 0 {
			c.AssetID, c.AssetType, c.Reply.Aggregate = "", "registry", "orchestration"
		}
		if rapid.Bool().Draw(r.t, "patient") {
			c.Deadline = r.at.Add(time.Minute)
		}
		return c
	case n < 7:
		return Release{Waiter: pick("waiter", waiters)}
	case n < 8:
		return Release{
			Waiter: pick("waiter", waiters), Dead: true, Process: pick("process", append(r.procs, "")), Agreement: pick("agreement", append(r.agrees, "")),
		}
	case n < 10:
		return r.observed(pick)
	case n < 11 && len(r.old) > 0:
		return rapid.SampledFrom(r.old).Draw(r.t, "again")
	}
	open := r.s.b.tasks.Open()
	if len(open) == 0 {
		return Wake{}
	}
	return Report{r.report(rapid.SampledFrom(open).Draw(r.t, "task"), pick)}
}

func (r *run) observed(pick func(string, []string) string) Command {
	o := Observed{State: pick("state", []string{"REQUESTED", "AGREED", "VERIFIED", "FINALIZED", "TERMINATED", "STARTED", "SUSPENDED", "?"})}
	if o.State == "STARTED" || rapid.Bool().Draw(r.t, "of a process") {
		o.ProcessID = pick("process", append(r.procs, "nobody's"))
		if rapid.Bool().Draw(r.t, "with its EDR") {
			o.EDR = json.RawMessage(`{"$sealed":"k.observed"}`)
		}
		return o
	}
	o.Round = r.rounds[pick("asset", assets)]
	return o
}

// report is what an agent may say of a task.
func (r *run) report(t *task.Task, pick func(string, []string) string) orchestration.Command {
	of := orchestration.Report{WorkID: t.WorkID, Attempt: t.Attempt}
	fault := Fault{Message: "503", Code: pick("code", []string{"", "agreement-dead", "refused"})}
	switch rapid.IntRange(0, 19).Draw(r.t, "report") {
	case 0:
		return orchestration.Retry{Report: of, Error: fault}
	case 1:
		return orchestration.Fail{Report: of, Error: fault}
	case 2:
		return orchestration.Schedule{
			Report: of, After: definition.Duration(5 * time.Second),
			State: json.RawMessage(fmt.Sprintf(`{"state":%q}`, pick("seen", []string{"REQUESTED", "OFFERED", "AGREED", "VERIFIED", "STARTED"}))),
		}
	case 3:
		return orchestration.Heartbeat{Report: of, Agent: "a"}
	}
	return orchestration.Complete{Report: of, Output: json.RawMessage(r.output(t, pick))}
}

func (r *run) output(t *task.Task, picked func(string, []string) string) string {
	pick := func(what string, from []string) string { // the first is what makes everybody happy
		if rapid.IntRange(0, 2).Draw(r.t, "luck") > 0 {
			return from[0]
		}
		return picked(what, from)
	}
	kind, key, _ := strings.Cut(t.Name, " ")
	switch kind {
	case nameListing:
		return pick("listing", []string{
			`{"offers":[{"assetId":"reg-1","offerId":"o1"},{"assetId":"reg-2","offerId":"o2","formats":["HttpData-PULL"]}]}`,
			`{"offers":[{"assetId":"reg-1","offerId":"o1","unacceptable":"gold"},{"assetId":"reg-2","offerId":"o2"}]}`,
			`{"offers":[{"assetId":"reg-1","offerId":"o1","unacceptable":"gold"}]}`, `{"offers":[]}`, `7`,
		})
	case workCatalog:
		offer := fmt.Sprintf(`{"assetId":%q,"offerId":"o"`, key)
		return pick("catalog", []string{
			`{"offers":[` + offer + `}]}`, `{"offers":[` + offer + `,"formats":["HttpData-PULL"]}]}`, `{"offers":[` + offer + `,"formats":["HttpData-PUSH"]}]}`,
			`{"offers":[` + offer + `,"unacceptable":"gold"}]}`, `{"offers":[]}`,
		})
	case workRequest:
		return pick("request", []string{`{"negotiationId":"n"}`, `{"negotiationId":"n"}`, `{}`})
	case workPoll:
		agreement := fmt.Sprintf("a-%d", len(r.log))
		finalized := fmt.Sprintf(`{"state":"FINALIZED","agreementId":%q,"assetId":%q}`, agreement, key)
		said := pick("poll", []string{
			finalized, finalized, finalized, `{"state":"FINALIZED","agreementId":"a","assetId":"other"}`, `{"state":"FINALIZED"}`,
			`{"state":"TERMINATED","detail":"no"}`, `{"state":"LOST"}`, `{"state":"?"}`,
		})
		if said == finalized {
			r.agrees = append(r.agrees, agreement)
		}
		return said
	}
	expiry := r.at.Add(time.Duration(rapid.IntRange(-1, 3).Draw(r.t, "expiry")) * time.Minute).Format(time.RFC3339)
	return pick("process", []string{
		`{"state":"STARTED","edr":{"$sealed":"k.polled"}}`, `{"state":"STARTED","edr":{"$sealed":"k.polled"},"expiresAt":"` + expiry + `"}`,
		`{"edr":{"$sealed":"k.refreshed"}}`, `{"state":"STARTED"}`, `{"state":"TERMINATED"}`, `{"state":"TERMINATED","agreementDead":true}`, `{"state":"LOST"}`,
	})
}

// give hands a command in and checks what comes of it.
func (r *run) give(c Command) int {
	events, err := r.s.Decide(r.at, c)
	again, _ := r.s.Decide(r.at, c)
	if got, want := show(again), show(events); got != want {
		r.t.Fatalf("%s, decided twice on the same state:\n%s\n%s", show(c), want, got)
	}
	r.shade(c, events, err == nil)
	if err != nil {
		return 0
	}
	r.expect(c, events)
	for _, e := range events {
		r.answers(r.s.Follow(r.at, e))
		r.follow(e)
		r.log = append(r.log, logged{r.at, e})
		r.shadeFold(e)
		r.s = r.s.Evolve(r.at, e)
	}
	if _, woken := c.(Wake); !woken && len(events) > 0 {
		r.old = append(r.old, c)
		more, err := r.s.Decide(r.at, c)
		if _, observed := c.(Observed); observed && len(more) == 1 {
			_, nudged := more[0].(Worked)
			if nudged { // it may be looked at once more
				more = nil
			}
		}
		if report, ok := c.(Report); ok && err != nil {
			if _, looks := report.Command.(orchestration.Schedule); looks { // of an older attempt, since it looks again at once
				err = nil
			}
		}
		if len(more) > 0 || err != nil {
			r.t.Fatalf("%s, delivered twice, makes happen %s (%v)", show(c), show(more), err)
		}
	}
	r.check()
	return len(events)
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%T %s", v, b)
}

// expect notes which wishes have an answer to come from now on.
func (r *run) expect(c Command, events []Event) {
	for _, e := range events {
		switch e := e.(type) {
		case Joined:
			r.told[e.CommandID] = e.AssetType != ""
		case Served:
			if e.Wish != nil {
				r.told[e.Wish.CommandID] = false
			}
		case Left:
			if w := r.s.b.wishes.get(e.Waiter); w != nil && e.Error == nil {
				delete(r.told, w.CommandID)
			}
		case Listed, Failed, Answered, CatalogRequested, CatalogReceived, CatalogFailed, Started, Moved, AgreementDead, EDRRequested, EDRGranted, EDRDead, Evicted, Worked:
		}
	}
	if a, ok := c.(Acquire); ok && len(events) > 0 {
		if _, ok := r.told[a.CommandID]; !ok {
			r.t.Fatalf("a wish is not taken: %s", show(events))
		}
	}
}

func (r *run) answers(effects []machine.Effect) {
	for _, f := range effects {
		send, ok := f.(machine.Send)
		if !ok {
			continue
		}
		if _, ok := r.told[send.Key]; !ok {
			r.t.Fatalf("%s is answered though it has nothing to come: %s", send.Key, show(send))
		}
		delete(r.told, send.Key)
	}
}

func (r *run) follow(e Event) {
	switch e := e.(type) {
	case Started:
		if id, ok := r.rounds[e.AssetID]; ok {
			r.t.Fatalf("round %s of %s begins while %s is under way", e.ID, e.AssetID, id)
		}
		r.rounds[e.AssetID] = e.ID
	case Moved:
		if last(e.Moves).Final() {
			delete(r.rounds, e.AssetID)
		}
	case EDRRequested:
		r.procs = append(r.procs, e.ProcessID)
	case Joined, Listed, Served, Failed, Answered, Left, CatalogRequested, CatalogReceived, CatalogFailed, AgreementDead, EDRGranted, EDRDead, Evicted, Worked:
	}
}

// check looks at what has to be true at any time.
func (r *run) check() {
	b := r.s.b
	if n := len(b.tasks.Open()); n > r.cfg.Parallelism || n > b.active {
		r.t.Fatalf("%d requests are under way in %d slots, over the limit of %d", n, b.active, r.cfg.Parallelism)
	}
	if len(b.queue) > 0 && b.active < r.cfg.Parallelism {
		r.t.Fatalf("%v waits for a slot, and only %d of %d are taken", b.queue, b.active, r.cfg.Parallelism)
	}
	if b.active != len(b.tasks.Open()) {
		r.t.Fatalf("%d slots are held for %d requests", b.active, len(b.tasks.Open()))
	}
	if (len(b.wishes.rows) > 0 || len(b.accesses.rows) > 0 || len(b.tasks.Open()) > 0) && r.s.Deadline().IsZero() {
		r.t.Fatal("something is there that has no deadline")
	}
	for asset, a := range b.accesses.rows {
		if len(a.waiters) > 0 && !a.busy && !a.queued {
			r.t.Fatalf("%v wait for %s, and nothing is done for them", a.waiters, asset)
		}
		if a.busy && a.step == stepNone || a.step != stepNone && !a.busy {
			r.t.Fatalf("%s holds a slot: %v; it is at step %d", asset, a.busy, a.step)
		}
	}
	for name, w := range b.wishes.rows {
		for _, asset := range w.waitsFor() {
			if a := b.accesses.get(asset); w.AssetType == "" && (a == nil || !slices.Contains(a.waiters, name)) {
				r.t.Fatalf("%s waits for %s, which does not know", name, asset)
			}
		}
	}
}

// finish lets so much time pass that everything has ended, and reads the log back.
func (r *run) finish() {
	back := r.fresh()
	for _, x := range r.log {
		back = back.Evolve(x.at, x.e)
	}
	for _, c := range append(r.old, Wake{}, Release{Waiter: "t-1"}, TakeOver{Placement: "another"}) {
		one, _ := r.s.Decide(r.at, c)
		two, _ := back.Decide(r.at, c)
		if show(one) != show(two) {
			r.t.Fatalf("%s is decided otherwise when the log is read back:\n%s\n%s", show(c), show(one), show(two))
		}
	}
	if a, b := r.s.Deadline(), back.Deadline(); !a.Equal(b) {
		r.t.Fatalf("the deadline is %s, and %s when the log is read back", a, b)
	}
	for range 40 {
		r.pass(time.Hour)
	}
	if len(r.told) > 0 {
		r.t.Fatalf("%v are never answered", r.told)
	}
	b := r.s.b
	if n := len(b.wishes.rows) + len(b.accesses.rows) + len(b.listings.rows) + len(b.owners) + len(b.queue) + len(b.chores) + b.active; n > 0 || !r.s.Deadline().IsZero() {
		r.t.Fatalf("something is left: %+v", *b)
	}
}
