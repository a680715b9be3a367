package negotiation_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	. "github.com/waybill/waybill/domain/negotiation" //nolint:revive // the tests read as sentences of this package
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts in testdata say happens anew")

// TestTranscripts plays whole scenarios. A transcript has blocks of a line that says what happens from
// outside, and below it what the machine makes of it: its events, and, indented, what follows from
// them. Lines that begin with # are remarks.
//
//	config: <settings>                        before anything else
//	wish <waiter>: <asset>                    it needs an EDR
//	wish <waiter> agreement: <asset>
//	wish <waiter> type: <type>
//	release <waiter>
//	release <waiter> process|agreement: <what is dead>
//	offer <task>: <assets>                    complete with offers of these
//	complete|look|retry|fail <task>: <output, state, message>
//	observed <asset>: <observation of its round or process>
//	after <time>                              and let happen what is due
//
// Tasks are called by their name: the type of the work and the asset. Negotiations, agreements and processes
// are called n, a and p with a number, in the order they come up.
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

const key = "edc http://provider1"

var epoch = machinetest.Epoch

type transcript struct {
	t       *testing.T
	at      time.Time
	s       State
	given   int
	tasks   map[string]*asked // by name, of those that are open
	names   map[string]string // of IDs
	rounds  map[string]string // ID by asset
	process map[string]string
	out     strings.Builder
}

// asked is a piece of work that was asked for.
type asked struct {
	orchestration.Report
	name string
}

func newTranscript(t *testing.T) *transcript {
	t.Helper()
	return &transcript{
		t: t, at: epoch, s: New(key), tasks: map[string]*asked{}, names: map[string]string{}, rounds: map[string]string{}, process: map[string]string{},
	}
}

// play returns the transcript with what really happens.
func (p *transcript) play(text string) string {
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if p.out.Len() > 0 {
			p.out.WriteByte('\n')
		}
		for _, line := range strings.Split(block, "\n") {
			if strings.HasPrefix(line, " ") {
				continue
			}
			p.out.WriteString(line + "\n")
			if !strings.HasPrefix(line, "#") {
				p.line(line)
			}
		}
	}
	return p.named(p.out.String())
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// named calls what has an ID by its name.
func (p *transcript) named(text string) string {
	return uuids.ReplaceAllStringFunc(text, func(id string) string {
		if name, ok := p.names[id]; ok {
			return name
		}
		return id
	})
}

func (p *transcript) call(id, kind string) {
	if _, ok := p.names[id]; ok || id == "" {
		return
	}
	n := 1
	for _, name := range p.names {
		if strings.HasPrefix(name, kind) {
			n++
		}
	}
	p.names[id] = fmt.Sprintf("%s%d", kind, n)
}

func (p *transcript) line(line string) {
	head, rest, _ := strings.Cut(line, ": ")
	verb, name, _ := strings.Cut(head, " ")
	switch verb {
	case "config":
		var c Config
		p.decode(rest, &c)
		p.s = Configured(func(string) Config { return c })(key)
	case "wish":
		p.give(p.wish(name, rest))
	case "release":
		p.give(p.release(name, rest))
	case "offer":
		p.give(p.report("complete", name, p.offers(rest)))
	case "observed":
		p.give(p.observed(name, rest))
	case "after":
		p.after(name)
	default:
		p.give(p.report(verb, name, rest))
	}
}

func (p *transcript) wish(name, what string) Command {
	waiter, kind, _ := strings.Cut(name, " ")
	p.given++
	c := Acquire{
		Provider: "http://provider1", Connector: "edc", Need: NeedEDR, Waiter: waiter, AssetID: what,
		Reply: &Reply{Aggregate: "transfer", ID: waiter}, CommandID: fmt.Sprintf("c-%d", p.given),
	}
	switch kind {
	case "agreement":
		c.Need = NeedAgreement
	case "type":
		c.AssetID, c.AssetType = "", what
		c.Reply = &Reply{Aggregate: "orchestration", ID: "job", ActivityID: "acquire", WorkID: waiter, Attempt: 1}
	}
	return c
}

func (p *transcript) release(name, what string) Command {
	waiter, kind, dead := strings.Cut(name, " ")
	c := Release{Waiter: waiter, Dead: dead, Reason: "401 from the provider"}
	for id, name := range p.names {
		if name == what {
			what = id
		}
	}
	switch kind {
	case "process":
		c.Process = what
	case "agreement":
		c.Agreement = what
	default:
		c.Reason = ""
	}
	return c
}

func (p *transcript) offers(assets string) string {
	var c Catalog
	c.ParticipantID = "provider1"
	for _, asset := range strings.Fields(assets) {
		name, unacceptable := strings.CutSuffix(asset, "!")
		o := Offer{AssetID: name, OfferID: "offer of " + name, Policy: json.RawMessage(`{"@type":"Offer"}`), Formats: []string{"HttpData-PULL"}}
		if unacceptable {
			o.Unacceptable = "policy gold-only"
		}
		if strings.Contains(name, "region") {
			o.Constraints = "region eq us"
		}
		c.Offers = append(c.Offers, o)
	}
	b, err := json.Marshal(c)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func (p *transcript) observed(asset, rest string) Command {
	var o Observed
	p.decode(rest, &o)
	if o.EDR != nil || o.ProcessID != "" {
		o.ProcessID = p.process[asset]
	} else {
		o.Round = p.rounds[asset]
	}
	return o
}

func (p *transcript) report(verb, name, rest string) Command {
	var w *asked
	for called, x := range p.tasks {
		if p.named(called) == name {
			w = x
		}
	}
	if w == nil {
		p.t.Fatalf("no work %q is asked for", name)
	}
	switch verb {
	case "complete":
		return Report{Command: orchestration.Complete{Report: w.Report, Output: json.RawMessage(rest)}}
	case "look":
		return Report{Command: orchestration.Schedule{
			Report: w.Report, After: definition.Duration(5 * time.Second), State: json.RawMessage(fmt.Sprintf(`{"state":%q}`, rest)),
		}}
	case "retry":
		return Report{Command: orchestration.Retry{Report: w.Report, Error: Fault{Message: rest}}}
	case "fail":
		return Report{Command: orchestration.Fail{Report: w.Report, Error: Fault{Message: rest}}}
	}
	p.t.Fatalf("nobody knows how to %s", verb)
	return nil
}

func (p *transcript) decode(text string, into any) {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

func (p *transcript) after(d string) {
	long, err := time.ParseDuration(d)
	if err != nil {
		p.t.Fatal(err)
	}
	until := p.at.Add(long)
	for due := p.s.Deadline(); !due.IsZero() && !due.After(until); due = p.s.Deadline() {
		p.at = due
		p.give(Wake{})
	}
	p.at = until
}

// give hands a command in, twice, and writes down what it makes happen.
func (p *transcript) give(c Command) {
	events, err := p.s.Decide(p.at, c)
	if err != nil {
		p.out.WriteString("  refused: " + err.Error() + "\n")
		return
	}
	for _, e := range events {
		p.out.WriteString("  " + p.say(e) + "\n")
		for _, f := range p.s.Follow(p.at, e) {
			p.follow(f)
		}
		p.s = p.s.Evolve(p.at, e)
	}
	if again, err := p.s.Decide(p.at, c); len(again) > 0 || err != nil {
		if _, woken := c.(Wake); !woken {
			p.t.Errorf("%v, given twice, makes happen %v, %v", c, again, err)
		}
	}
}

func (p *transcript) follow(f machine.Effect) {
	switch f := f.(type) {
	case machine.Work:
		p.tasks[f.ActivityID] = &asked{orchestration.Report{WorkID: f.ID, Attempt: f.Attempt}, f.ActivityID}
		fmt.Fprintf(&p.out, "    > work %s", f.ActivityID)
		if f.Attempt > 1 || f.Offer > 1 {
			fmt.Fprintf(&p.out, ", attempt %d, offer %d", f.Attempt, f.Offer)
		}
		p.out.WriteByte('\n')
	case machine.CancelWork:
		fmt.Fprintf(&p.out, "    > cancel %s: %s\n", f.Type, f.Reason)
	case machine.Send:
		b, _ := json.Marshal(f.Value)
		fmt.Fprintf(&p.out, "    > %s to %s %s: %s\n", f.Type, f.Aggregate, f.Key, b)
	case machine.Completion:
		switch v := f.Value.(type) {
		case RoundCompletion:
			fmt.Fprintf(&p.out, "    > %s: %s, round %d\n", f.Type, v.AssetID, v.Round)
		case WaiterCompletion:
			fmt.Fprintf(&p.out, "    > %s: %s\n", f.Type, v.Waiter)
		}
	case machine.Announce, machine.Claim, machine.Discard:
	}
}

// say is an event in words.
func (p *transcript) say(e Event) string {
	switch e := e.(type) {
	case Worked:
		return p.sayWork(e.Event)
	case Started:
		p.call(e.ID, "n")
		p.rounds[e.AssetID] = e.ID
		return fmt.Sprintf("started %s, round %d, tried %d", e.AssetID, e.Round, e.Tried)
	case Moved:
		var states []string
		for _, m := range e.Moves {
			states = append(states, m.State.String()+map[bool]string{true: " (inferred)"}[m.Inferred])
		}
		text := fmt.Sprintf("moved %s, round %d: %s", e.AssetID, e.Round, strings.Join(states, ", "))
		if e.Reason != "" {
			text += fmt.Sprintf(", by %s: %s", e.By, e.Reason)
		}
		return text
	case EDRRequested:
		p.call(e.ProcessID, "p")
		p.process[e.AssetID] = e.ProcessID
	case Joined, Listed, Served, Failed, Answered, Left, CatalogRequested, CatalogReceived, CatalogFailed, AgreementDead, EDRGranted, EDRDead, Evicted:
	}
	b, _ := json.Marshal(e)
	name := strings.TrimPrefix(fmt.Sprintf("%T", e), "negotiation.")
	return name + " " + string(b)
}

func (p *transcript) sayWork(e task.Event) string {
	name := e.Work()
	for _, w := range p.tasks {
		if w.WorkID == e.Work() {
			name = w.name
		}
	}
	switch e := e.(type) {
	case task.Requested:
		return "requested " + e.Name
	case task.Scheduled:
		return "scheduled " + name
	case task.Retrying:
		return "retrying " + name + ": " + e.Error.Message
	case task.Ended:
		return fmt.Sprintf("ended %s, %s", name, e.How)
	case task.Attempted, task.Offered, task.Claimed, task.Extended, task.Waited, task.Nudged:
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "task.")) + " " + name
}
