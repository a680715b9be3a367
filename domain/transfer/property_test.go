package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// TestProperties gives random transfers random commands, reports and callbacks, each twice, in any order
// and at any time, and holds the machine against its laws: only allowed moves, one end, one answer to
// whoever asked, one word to the connector, no state without a deadline, and the same again from the
// log.
func TestProperties(t *testing.T) { rapid.Check(t, property) }

// FuzzDecide lets the fuzzer choose what TestProperties draws by lot.
func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

func property(t *rapid.T) { newHistory(t).live() }

// live lets everything happen that may.
func (r *history) live() {
	t := r.t
	r.give(r.initiate)
	for range rapid.IntRange(0, 40).Draw(t, "commands") {
		r.pass(rapid.SampledFrom(pauses).Draw(t, "pause"))
		r.give(r.command())
	}
	r.finish()
	r.replay()
}

var pauses = []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, time.Microsecond, time.Second, time.Second, 11 * time.Second, time.Minute, 11 * time.Minute, time.Hour, 8 * 24 * time.Hour}

// history is one transfer, and all that came of it.
type history struct {
	t        *rapid.T
	at       time.Time
	s        State
	initiate Initiate
	log      []logged
	ids      map[string]bool // of what was sent
	answered int
	withdrew bool
	ends     []string // types of the completions
	wishes   int      // for access that are open
	told     map[string]bool
	asked    bool // the connector was asked for a process

	shadowed bool
	shadow   *State // goes on from a snapshot
	shaded   int
}

type logged struct {
	at time.Time
	e  Event
}

func newHistory(t *rapid.T) *history {
	c := Initiate{Provider: "http://provider:8181", AssetID: "asset", Fingerprint: "body", Connector: "consumer", Adapter: AdapterEDC}
	if rapid.IntRange(0, 5).Draw(t, "plain") == 0 {
		c.Adapter = AdapterHTTP
	}
	switch rapid.IntRange(0, 3).Draw(t, "way") {
	case 0:
		c.TransferType = "HttpData-PUSH"
		c.Destination = json.RawMessage(`{"type":"HttpData"}`)
	case 1:
		c.TransferType = "HttpData-PUSH"
	}
	if n := rapid.IntRange(0, 3).Draw(t, "definitions"); n > 0 {
		c.Manifest = &Manifest{}
		for i := range n {
			c.Manifest.Definitions = append(c.Manifest.Definitions, Definition{ID: fmt.Sprint("d", i), Type: "local"})
		}
	}
	if rapid.Bool().Draw(t, "asker") {
		c.Asker = &Asker{Aggregate: "orchestration", ID: "job", ActivityID: "a", WorkID: "w", Attempt: 1}
	}
	if rapid.IntRange(0, 9).Draw(t, "problem") == 0 {
		c.Problem = &orchestration.Fault{Step: "address", Message: "not allowed"}
	}
	if rapid.Bool().Draw(t, "hasty") {
		c.Deadline = definition.Duration(time.Hour)
	}
	return &history{t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), s: New("t-1"), initiate: c, ids: map[string]bool{}, told: map[string]bool{}}
}

// give hands a command in: on the same state twice, and once more when it has had its way.
func (r *history) give(c Command) {
	events, err := r.s.Decide(r.at, c)
	again, err2 := r.s.Decide(r.at, c)
	if !reflect.DeepEqual(events, again) || (err == nil) != (err2 == nil) {
		r.t.Fatalf("%T comes out otherwise when it is decided again:\n%v\n%v", c, events, again)
	}
	var refusal *machine.Refusal
	if err != nil && !errors.As(err, &refusal) {
		r.t.Fatalf("%T fails instead of being refused: %v", c, err)
	}
	if err != nil && len(events) > 0 {
		r.t.Fatalf("%T is refused and all the same makes happen %v", c, events)
	}
	r.shade(c, events, err == nil)
	r.fold(events)
	_, wake := c.(Wake)
	if _, takeOver := c.(TakeOver); wake || takeOver || err != nil {
		return
	}
	twice, err := r.s.Decide(r.at, c)
	if nudged(twice) {
		r.fold(twice) // an agent that is at it looks once more, and once only
		twice, err = r.s.Decide(r.at, c)
	}
	if len(twice) > 0 {
		r.t.Fatalf("%T %+v makes happen when it is delivered twice: %#v", c, c, twice)
	}
	// What is called back once too often, or reported after the end, is told so.
	if err != nil && !r.s.Ended() {
		r.t.Fatalf("%T %+v is refused when it is delivered twice: %v", c, c, err)
	}
}

// nudged says that nothing happened but that an agent looks once more.
func nudged(events []Event) bool {
	if len(events) != 1 {
		return false
	}
	w, ok := events[0].(Worked)
	if !ok {
		return false
	}
	_, ok = w.Event.(task.Nudged)
	return ok
}

func (r *history) fold(events []Event) {
	for _, e := range events {
		r.moves(e)
		for _, f := range r.s.Follow(r.at, e) {
			r.follows(f)
		}
		r.log = append(r.log, logged{r.at, e})
		r.shadeFold(e)
		r.s = r.s.Evolve(r.at, e)
		if ended, ok := e.(Ended); ok && ended.By == ByAsker {
			r.withdrew = true
		}
		if w, ok := e.(Worked); ok {
			r.worked(w.Event)
		}
	}
	if r.s.Ended() {
		if d := r.s.Deadline(); !d.IsZero() {
			r.t.Fatalf("it has ended and waits until %s", d)
		}
		return
	}
	if r.s.Deadline().IsZero() {
		r.t.Fatalf("%s waits for ever", r.s.Phase())
	}
}

// moves holds an event's states against the table.
func (r *history) moves(e Event) {
	at := r.s.Phase()
	var ms []Move
	switch e := e.(type) {
	case Initiated:
		if at != 0 {
			r.t.Fatalf("it begins in %s", at)
		}
	case Moved:
		ms = e.Moves
	case Acquiring:
		ms = e.Moves
	case AccessGranted:
		ms = e.Moves
	case Requested:
		ms = e.Moves
	case Ended:
		ms = e.Moves
		if len(ms) == 0 || ms[len(ms)-1].State != PhaseCompleted && ms[len(ms)-1].State != PhaseTerminated {
			r.t.Fatalf("it ends with %v", ms)
		}
		if e.Outcome == OutcomeTerminated && e.Reason == "" {
			r.t.Fatal("it ends without a reason")
		}
	case Worked, ResourceProvisioned, ResourceUploaded, ResourceDeprovisioned, AccessLost:
	}
	for _, m := range ms {
		if !at.CanMove(m.State) || m.Code != int(m.State) {
			r.t.Fatalf("%T: %v (%d)", e, &MoveError{at, m.State}, m.Code)
		}
		at = m.State
	}
}

func (r *history) follows(f machine.Effect) {
	once := func(id string) {
		if id == "" || r.ids[id] {
			r.t.Fatalf("the id %s is used twice: %+v", id, f)
		}
		r.ids[id] = true
	}
	switch f := f.(type) {
	case machine.Send:
		once(f.ID)
		switch f.Type {
		case acquireType:
			r.wishes++
		case releaseType:
			r.wishes = 0
		default:
			r.answered++
		}
	case machine.Completion:
		once(f.ID)
		r.ends = append(r.ends, f.Type)
	case machine.Work:
		once(fmt.Sprint("work ", f.ID, " ", f.Attempt, " ", f.Offer))
		if !json.Valid(f.Input) || string(f.Input) == "null" {
			r.t.Fatalf("work %s has the input %s", f.Type, f.Input)
		}
	case machine.CancelWork, machine.Announce, machine.Claim, machine.Discard:
	}
}

func (r *history) worked(e task.Event) {
	asks, ok := e.(task.Requested)
	switch {
	case !ok:
	case asks.Type == WorkRequest:
		r.asked = true
	case asks.Type == WorkTerminate:
		r.told[asks.WorkID] = true
	}
	names := map[string]bool{}
	for _, t := range r.s.tasks.Open() {
		if names[t.Name] {
			r.t.Fatalf("two tasks %s are open", t.Name)
		}
		names[t.Name] = true
	}
}

// pass lets time pass, with everything that is due on the way.
func (r *history) pass(d time.Duration) {
	until := r.at.Add(d)
	for range 10_000 {
		due := r.s.Deadline()
		if due.IsZero() || due.After(until) {
			r.at = until
			return
		}
		if due.After(r.at) {
			r.at = due
		}
		before := len(r.log)
		r.give(Wake{})
		if len(r.log) == before {
			r.t.Fatalf("%s has a deadline at %s that it does not act on", r.s.Phase(), due)
		}
	}
	r.t.Fatal("time does not pass")
}

// finish lets every deadline fire, and looks at what came of it.
func (r *history) finish() {
	r.pass(30 * 24 * time.Hour)
	if !r.s.Ended() {
		r.t.Fatalf("it is still %s", r.s.Phase())
	}
	if r.s.Phase() != PhaseCompleted && r.s.Phase() != PhaseTerminated && r.s.Phase() != PhaseDeprovisioned || r.s.Outcome() == "" {
		r.t.Fatalf("it ended %s, %s", r.s.Phase(), r.s.Outcome())
	}
	want := 1
	if r.initiate.Asker == nil || r.withdrew {
		want = 0
	}
	if r.answered != want {
		r.t.Fatalf("whoever asked was answered %d times", r.answered)
	}
	if n := len(r.ends); n == 0 || n > 2 || n == 2 && r.ends[1] != DeprovisionedType || (r.s.Phase() == PhaseDeprovisioned) != (n == 2) {
		r.t.Fatalf("%s: the completions were %v", r.s.Phase(), r.ends)
	}
	if len(r.told) > 1 || len(r.told) == 1 && !r.asked {
		r.t.Fatalf("the connector was told %d times", len(r.told))
	}
	if r.wishes > MaxAcquisitions {
		r.t.Fatalf("%d wishes for access", r.wishes)
	}
}

// replay folds the log anew, which must lead to the same.
func (r *history) replay() {
	s := New("t-1")
	for _, l := range r.log {
		s = s.Evolve(l.at, l.e)
	}
	if !reflect.DeepEqual(s, r.s) {
		r.t.Fatalf("the log leads to %+v, not to %+v", s, r.s)
	}
}

// likely is what moves the transfer on where all goes well.
func (r *history) likely() Command {
	if r.s.l != nil && r.s.l.acquiring {
		n := fmt.Sprint(r.s.l.acquisitions)
		return Granted{Round: 1, AgreementID: "agreement-" + n, EDR: &EDR{ProcessID: "edr-" + n, Data: json.RawMessage(`{}`)}}
	}
	if r.s.Phase() == PhaseStarted && rapid.Bool().Draw(r.t, "suspend") {
		return Suspend{}
	}
	if r.s.Phase() == PhaseSuspended && rapid.Bool().Draw(r.t, "resume") {
		return Resume{}
	}
	return r.report()
}

func (r *history) command() Command {
	if rapid.Bool().Draw(r.t, "likely") {
		return r.likely()
	}
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(r.t, what) }
	switch rapid.IntRange(0, 15).Draw(r.t, "command") {
	case 0:
		return Suspend{Reason: "asleep"}
	case 1:
		return Resume{}
	case 2:
		if rapid.IntRange(0, 3).Draw(r.t, "really") > 0 {
			return Wake{}
		}
		return Terminate{By: pick("by", "", "kim", ByAsker)}
	case 3:
		return Deprovision{}
	case 4:
		return r.initiate
	case 5, 6:
		n := pick("process", "1", "1", "2", "3")
		return Granted{Negotiation: "n", Round: 1, NegotiationID: "n-" + n, AgreementID: "agreement-" + n, EDR: &EDR{ProcessID: "edr-" + n, Data: json.RawMessage(`{}`)}}
	case 7:
		return Refused{Error: orchestration.Fault{Step: "offer", Message: "no"}, Again: rapid.Bool().Draw(r.t, "again"), Rounds: 3}
	case 8, 9:
		n := rapid.IntRange(1, 3).Draw(r.t, "n")
		return Observed{
			ProcessID: r.s.processID(n), AgreementDead: rapid.Bool().Draw(r.t, "dead"),
			State: pick("state", "REQUESTED", "STARTED", "SUSPENDED", "COMPLETED", "TERMINATED", "WHATEVER"),
		}
	case 10:
		return Provisioned{ResourceDefinitionID: pick("resource", "d0", "d1", "d2", "d9"), ContentDataAddress: json.RawMessage(`{"type":"HttpData"}`)}
	case 11:
		return Deprovisioned{ProvisionedResourceID: pick("resource", "d0", "d1", "d2", "d9", "t-1"), Error: rapid.Bool().Draw(r.t, "error"), InProcess: rapid.Bool().Draw(r.t, "in process")}
	case 12:
		return Uploaded{ResourceDefinitionID: pick("resource", "d0", "d1"), Digest: pick("digest", "a", "b"), Content: json.RawMessage(`{}`)}
	case 13:
		return TakeOver{Placement: pick("placement", "one", "two"), Agent: "agent"}
	}
	return r.report()
}

// report is what an agent might say, mostly of a task that is open.
func (r *history) report() Command {
	on := orchestration.Report{WorkID: "nobody's", Attempt: 1}
	typ := WorkFetch
	if open := r.s.tasks.Open(); len(open) > 0 {
		t := rapid.SampledFrom(open).Draw(r.t, "task")
		on, typ = orchestration.Report{WorkID: t.WorkID, Attempt: t.Attempt}, t.Type
	}
	fault := orchestration.Fault{Message: "broken", Code: rapid.SampledFrom([]string{"", codeEDRDead, codeAgreementDead, codeRefused}).Draw(r.t, "code")}
	after := definition.Duration(time.Second)
	var c orchestration.Command
	switch rapid.IntRange(0, 9).Draw(r.t, "report") {
	case 0:
		c = orchestration.Heartbeat{Report: on, Agent: "agent"}
	case 1:
		c = orchestration.Wait{Report: on}
	case 2, 3:
		c = orchestration.Schedule{Report: on, After: after, State: r.said("STARTED", "REQUESTED", "SUSPENDED", "WHATEVER")}
	case 4:
		c = orchestration.Retry{Report: on, Error: fault}
	case 5:
		c = orchestration.Fail{Report: on, Error: fault}
	case 6:
		c = orchestration.Release{Report: on, Agent: "agent"}
	default:
		done := orchestration.Complete{Report: on, Output: json.RawMessage(`{}`)}
		switch typ {
		case WorkPoll:
			done.Output = r.said(saysCompleted, saysTerminated, saysLost, "WHATEVER")
		case WorkProvision:
			done.Output = json.RawMessage(`{"resource":{"dataAddress":{"type":"HttpData"}}}`)
		}
		c = done
	}
	return Report{c}
}

func (r *history) said(states ...string) json.RawMessage {
	return encoded(observation{State: rapid.SampledFrom(states).Draw(r.t, "state"), AgreementDead: rapid.Bool().Draw(r.t, "dead")})
}
