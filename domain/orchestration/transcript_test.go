package orchestration_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	. "github.com/waybill/waybill/domain/orchestration" //nolint:revive // the tests read as sentences of this package
	"github.com/waybill/waybill/domain/partstree"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts in testdata say happens anew")

// TestTranscripts plays whole orchestrations. A transcript has blocks of a line that says what
// happens from outside, and below it what the machine makes of it: its events, and,
// indented, what follows from them. Lines that begin with # are remarks.
//
//	start <type>: <input>         start partial <type>: <input>
//	define: <definition>
//	document <activity>: <document>           complete as the agent for retrieve does
//	lookup <activity>                         complete as the agent for registry-lookup does
//	registry <activity>: <document>           complete as a look into a registry does
//	aggregate <activity>                      complete as the agent for aggregate does
//	complete|wait|schedule|retry|fail|claim <activity>: <output, time, message, agent>
//	cancel: <reason>
//	rerun [<activities>]: <reason>            the history is read back first, as the runner does
//	dispose: <reason>
//	kim pauses: <reason>          kim resumes
//	kim pauses|resumes|retries|skips|completes|fails <activity>: <reason, output, message>
//	after <time>                              and let happen what is due
//
// Activities are called by their name.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no transcripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := newTranscript(t).play(string(b))
			if *rewrite {
				if err := os.WriteFile(f, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("%s: something else happens (-rewrite writes it down):\n%s", f, got)
			}
		})
	}
}

type transcript struct {
	t     *testing.T
	at    time.Time
	s     State
	log   []happened
	types map[string]definition.Orchestration
	nodes map[string]*asked // by name
	byID  map[string]string // the name
	out   strings.Builder
}

// happened is an event, and when.
type happened struct {
	at time.Time
	e  Event
}

// asked is an activity that was asked for.
type asked struct {
	Report
	input json.RawMessage
}

func newTranscript(t *testing.T) *transcript {
	t.Helper()
	p := &transcript{
		t: t, at: epoch, s: New("job-1"), types: map[string]definition.Orchestration{},
		nodes: map[string]*asked{}, byID: map[string]string{},
	}
	built, _ := definition.BuiltIns()
	for _, o := range built {
		p.types[o.Type] = o
	}
	return p
}

// play returns the transcript with what really happens.
func (p *transcript) play(text string) string {
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if p.out.Len() > 0 {
			p.out.WriteByte('\n')
		}
		for _, line := range strings.Split(block, "\n") {
			if strings.HasPrefix(line, "#") {
				p.out.WriteString(line + "\n")
				continue
			}
			if !strings.HasPrefix(line, " ") {
				p.out.WriteString(line + "\n")
				p.line(line)
			}
		}
	}
	return p.out.String()
}

func (p *transcript) line(line string) {
	head, rest, _ := strings.Cut(line, ": ")
	verb, name, _ := strings.Cut(head, " ")
	switch verb {
	case "define":
		var o definition.Orchestration
		p.decode(rest, &o)
		p.types[o.Type] = o
	case "start":
		typ, partial := strings.CutPrefix(name, "partial ")
		p.give(Start{Type: typ, Plan: compile(p.types[typ]), Input: json.RawMessage(rest), Partial: partial, Fingerprint: line})
	case "cancel":
		p.give(Cancel{Reason: rest})
	case "rerun":
		p.give(Rerun{Reason: rest, From: strings.Fields(name)})
	case "dispose":
		p.give(Dispose{Reason: rest})
	case "after":
		p.after(name)
	case "kim":
		verb, name, _ := strings.Cut(name, " ")
		p.give(p.order(verb, name, rest))
	default:
		p.give(p.report(verb, name, rest))
	}
}

func (p *transcript) after(d string) {
	until := p.at.Add(p.duration(d))
	for due := p.s.Deadline(); !due.IsZero() && !due.After(until); due = p.s.Deadline() {
		if due.After(p.at) { // what a pause held is due when it ends
			p.at = due
		}
		p.give(Wake{})
	}
	p.at = until
}

func (p *transcript) order(verb, name, rest string) Command {
	o := Order{ActivityID: name, By: "kim"}
	switch verb {
	case "pauses":
		if o.Reason = rest; name != "" {
			return PauseActivity{o}
		}
		return Pause{rest, "kim"}
	case "resumes":
		if o.Reason = rest; name != "" {
			return ResumeActivity{o}
		}
		return Resume{rest, "kim"}
	case "retries":
		o.Reason = rest
		return RetryActivity{o}
	case "skips":
		return SkipActivity{o, json.RawMessage(rest)}
	case "completes":
		return CompleteActivity{o, json.RawMessage(rest)}
	case "fails":
		return FailActivity{o, Fault{Message: rest}}
	}
	p.t.Fatalf("kim cannot do this: %q", verb)
	return nil
}

func (p *transcript) report(verb, name, rest string) Command {
	n := p.nodes[name]
	if n == nil {
		p.t.Fatalf("%s %s: it was not asked for", verb, name)
	}
	switch verb {
	case "document":
		return p.document(n, rest)
	case "lookup":
		return p.lookup(n)
	case "registry":
		return p.registry(n, rest)
	case "aggregate":
		return p.aggregate(n)
	case "complete":
		return Complete{Report: n.Report, Output: json.RawMessage(rest)}
	case "wait":
		return Wait{Report: n.Report, After: definition.Duration(p.duration(rest))}
	case "schedule":
		return Schedule{Report: n.Report, After: definition.Duration(p.duration(rest))}
	case "retry":
		return Retry{Report: n.Report, Error: Fault{Step: "fetch", Message: rest}}
	case "fail":
		return Fail{Report: n.Report, Error: Fault{Step: "fetch", Message: rest}}
	case "claim":
		return Heartbeat{Report: n.Report, Agent: rest}
	}
	p.t.Fatalf("what is %q?", verb)
	return nil
}

func (p *transcript) document(n *asked, text string) Command {
	d, err := partstree.Parse([]byte(text))
	if err != nil {
		return Fail{Report: n.Report, Error: Fault{Step: "parse", Message: err.Error()}}
	}
	var in partstree.Request
	p.decode(string(n.input), &in)
	output, err := json.Marshal(partstree.Output{Value: d.Value, Order: d.Order})
	if err != nil {
		p.t.Fatal(err)
	}
	return Complete{Report: n.Report, Output: output, Key: partstree.NodeID(in.ConnectorURL, in.File), Spawn: partstree.Spawn(d)}
}

func (p *transcript) lookup(n *asked) Command {
	var in struct {
		Provider, GlobalAssetID string
		Offers                  []partstree.Registry
	}
	p.decode(string(n.input), &in)
	return Complete{Report: n.Report, Output: json.RawMessage(`{"value":""}`), Spawn: partstree.SpawnRegistries(in.Provider, "", in.GlobalAssetID, in.Offers)}
}

func (p *transcript) registry(n *asked, text string) Command {
	var in partstree.RegistryRequest
	p.decode(string(n.input), &in)
	entries, err := partstree.Lookup([]byte(text), in.ConnectorURL, in.Properties.GlobalAssetID)
	if err != nil {
		return Fail{Report: n.Report, Error: Fault{Step: "parse", Message: err.Error()}}
	}
	output, err := json.Marshal(partstree.RegistryOutput{Submodels: len(entries)})
	if err != nil {
		p.t.Fatal(err)
	}
	return Complete{Report: n.Report, Output: output, Spawn: partstree.Spawn(partstree.Document{TransferProcesses: entries})}
}

func (p *transcript) aggregate(n *asked) Command {
	var in struct {
		Documents []struct{ Output *partstree.Output }
	}
	p.decode(string(n.input), &in)
	var outputs []partstree.Output
	for _, d := range in.Documents {
		if d.Output != nil {
			outputs = append(outputs, *d.Output)
		}
	}
	output, err := json.Marshal(map[string]any{"value": partstree.Join(outputs)})
	if err != nil {
		p.t.Fatal(err)
	}
	return Complete{Report: n.Report, Output: output}
}

func (p *transcript) decode(text string, v any) {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

func (p *transcript) duration(text string) time.Duration {
	d, err := definition.ParseDuration(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// remembered is the state with all that happened before an end.
func (p *transcript) remembered() State {
	s := New("job-1").Remember()
	for _, x := range p.log {
		s = s.Evolve(x.at, x.e)
	}
	return s
}

func (p *transcript) give(c Command) {
	if p.s.NeedsHistory(c) {
		p.s = p.remembered()
	}
	events, err := p.s.Decide(p.at, c)
	if err != nil {
		p.say("  refused: %v", err)
	}
	for _, e := range events {
		p.say("  %s", p.event(e))
		for _, f := range p.s.Follow(p.at, e) {
			p.say("    > %s", p.effect(f))
		}
		p.s = p.s.Evolve(p.at, e)
		p.log = append(p.log, happened{p.at, e})
	}
	p.s = p.s.Forget()
	if again, _ := p.s.Decide(p.at, c); len(again) > 0 {
		if _, ok := c.(Wake); !ok {
			p.say("  AND AGAIN: %v", again)
		}
	}
}

func (p *transcript) say(format string, args ...any) {
	fmt.Fprintf(&p.out, format+"\n", args...)
}

func (p *transcript) name(id string) string {
	if n, ok := p.byID[id]; ok {
		return n
	}
	return id
}

// when is a time as seen from the start, in seconds.
func (p *transcript) when(t time.Time) string {
	return "+" + t.Sub(epoch).Round(time.Second).String()
}

func (p *transcript) event(e Event) string {
	switch e := e.(type) {
	case Started:
		return "started " + e.Type
	case Requested:
		return fmt.Sprintf("requested %s, attempt %d%s", p.name(e.ActivityID), e.Attempt, signed(e.By, e.Reason))
	case Offered:
		return fmt.Sprintf("offered %s again, attempt %d, offer %d, at %s", p.name(e.ActivityID), e.Attempt, e.Offer, p.when(p.at))
	case Claimed:
		return fmt.Sprintf("claimed %s by %s until %s", p.name(e.ActivityID), e.Agent, p.when(e.Lease))
	case Extended:
		return fmt.Sprintf("extended %s until %s", p.name(e.ActivityID), p.when(e.Lease))
	case Waited:
		return fmt.Sprintf("waits %s until %s", p.name(e.ActivityID), p.when(e.Until))
	case Scheduled:
		return fmt.Sprintf("scheduled %s for %s", p.name(e.ActivityID), p.when(e.At))
	case Retrying:
		return fmt.Sprintf("retrying %s at %s: %s", p.name(e.ActivityID), p.when(e.At), failed(e.Error))
	case Completed:
		return p.completed(e)
	case Failed:
		return fmt.Sprintf("failed %s%s: %s%s", p.name(e.ActivityID), map[bool]string{true: ", a tombstone"}[e.Continued], failed(e.Error), signed(e.By, e.Reason))
	case Paused:
		return "paused" + signed(e.By, e.Reason)
	case Resumed:
		return "resumed as " + e.State.String() + signed(e.By, e.Reason)
	case ActivityPaused:
		return "paused " + p.name(e.ActivityID) + signed(e.By, e.Reason)
	case ActivityResumed:
		return "resumed " + p.name(e.ActivityID) + signed(e.By, e.Reason)
	case Skipped:
		return fmt.Sprintf("skipped %s: %s%s", p.name(e.ActivityID), e.Output, signed(e.By, e.Reason))
	case TransfersFinished:
		return "transfers finished"
	case Compensating:
		return p.compensating(e)
	case Ended:
		return p.ended(e)
	case RerunStarted:
		return fmt.Sprintf("run %d, of %s", e.Run, strings.Join(p.nameAll(e.Reset), ", "))
	case Disposed:
		return "disposed of by " + p.started(e.Start)
	case BlobsRemoved:
		return fmt.Sprintf("removed %d blobs", e.Blobs)
	}
	return fmt.Sprintf("%T", e)
}

func (p *transcript) completed(e Completed) string {
	s := fmt.Sprintf("completed %s: %s%s", p.name(e.ActivityID), e.Output, signed(e.By, e.Reason))
	for _, a := range e.Spawned {
		p.byID[a.ID] = a.Name
		s += "\n    spawned " + a.Name
	}
	for _, id := range e.Shared {
		s += "\n    shares " + p.name(id)
	}
	for _, id := range e.Cycles {
		s += "\n    does not follow the way back to " + p.name(id)
	}
	return s
}

func (p *transcript) compensating(e Compensating) string {
	s := "is " + e.State.String()
	if e.Error != nil {
		s += ": " + failed(*e.Error)
	}
	for _, a := range e.Undo {
		p.byID[a.ID] = "undo " + a.Name
		s += "\n    undo " + a.Name
		if len(a.DependsOn) > 0 {
			s += " after " + strings.Join(p.nameAll(a.DependsOn), ", ")
		}
	}
	return s
}

// started is a start command, indented.
func (p *transcript) started(value json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, value, "    ", "  "); err != nil {
		p.t.Fatal(err)
	}
	return b.String()
}

func (p *transcript) nameAll(ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = p.name(id)
	}
	return names
}

func (p *transcript) ended(e Ended) string {
	s := "ended " + e.State.String()
	if e.Output != nil {
		s += ": " + string(e.Output)
	}
	if e.Error != nil {
		s += ": " + failed(*e.Error)
	}
	if c := e.Compensation; c != nil {
		s += fmt.Sprintf("\n    compensation %s: %d of %d undone, %d failed", c.State, c.Completed, c.Total, c.Failed)
	}
	for _, f := range e.Failures {
		s += "\n    failure of " + f.Name + ": " + failed(f)
	}
	return s
}

// signed says who wanted it, and why, where somebody did.
func signed(by, reason string) string {
	switch {
	case by == "":
		return ""
	case reason == "":
		return " (by " + by + ")"
	}
	return " (by " + by + ": " + reason + ")"
}

func failed(f Failure) string {
	return fmt.Sprintf("%s: %s (attempts: %d)", f.Step, f.Message, f.Attempts)
}

func (p *transcript) effect(f machine.Effect) string {
	switch f := f.(type) {
	case machine.Work:
		p.nodes[p.name(f.ActivityID)] = &asked{Report{f.ID, f.Attempt}, f.Input}
		return fmt.Sprintf("work %s %s", f.Type, f.Input)
	case machine.CancelWork:
		return fmt.Sprintf("cancel work %s, attempt %d: %s", f.Type, f.Attempt, f.Reason)
	case machine.Completion:
		return "completion " + f.Type
	case machine.Send:
		return "send " + f.Type + " to " + f.Key
	case machine.Announce, machine.Claim, machine.Discard:
	}
	return fmt.Sprintf("%T", f)
}
