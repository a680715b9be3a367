package transfer_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// TestTranscripts plays whole transfers. A transcript has blocks of a line that says what happens
// from outside, and below it what the machine makes of it: its events, and, indented,
// what follows from them. Lines that begin with # are remarks.
//
//	initiate: <command>                       initiate plain: <command>
//	granted: <command>     refused: <command>     observed: <STATE>
//	complete|wait|schedule|retry|fail|claim <task>: <output, state, fault, agent>
//	provisioned|deprovisioned|uploaded: <command>
//	suspend|resume|terminate|deprovision: <reason>
//	after <time>                              and let happen what is due
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no transcripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, f, (&transcript{t: t, at: epoch, s: New("t-1"), work: map[string]machine.Work{}}).play(string(b)))
		})
	}
}

type transcript struct {
	t    *testing.T
	at   time.Time
	s    State
	work map[string]machine.Work // the last of each name
	out  strings.Builder
}

func (p *transcript) play(text string) string {
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if p.out.Len() > 0 {
			p.out.WriteByte('\n')
		}
		for _, line := range strings.Split(block, "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
				p.out.WriteString(line + "\n")
			case !strings.HasPrefix(line, " "):
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
	if verb == "after" {
		p.after(name)
		return
	}
	p.give(p.command(verb, name, rest))
}

func decoded[C any](p *transcript, text string) C {
	p.t.Helper()
	var c C
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	return c
}

func (p *transcript) command(verb, name, rest string) Command {
	switch verb {
	case "initiate":
		c := decoded[Initiate](p, rest)
		c.Connector, c.Adapter, c.Fingerprint = "consumer", AdapterEDC, rest
		if name == "plain" {
			c.Connector, c.Adapter = "plain", AdapterHTTP
		}
		return c
	case "granted":
		return decoded[Granted](p, rest)
	case "refused":
		return decoded[Refused](p, rest)
	case "observed":
		return Observed{ProcessID: process("1"), State: rest}
	case "provisioned":
		return decoded[Provisioned](p, rest)
	case "deprovisioned":
		return decoded[Deprovisioned](p, rest)
	case "uploaded":
		return decoded[Uploaded](p, rest)
	case "suspend":
		return Suspend{Reason: rest, By: "kim"}
	case "resume":
		return Resume{Reason: rest, By: "kim"}
	case "terminate":
		return Terminate{Reason: rest, By: "kim"}
	case "deprovision":
		return Deprovision{Reason: rest}
	}
	return Report{p.report(verb, name, rest)}
}

func (p *transcript) report(verb, name, rest string) orchestration.Command {
	w, ok := p.work[name]
	if !ok {
		p.t.Fatalf("nobody has asked for %q", name)
	}
	on := orchestration.Report{WorkID: w.ID, Attempt: w.Attempt}
	switch verb {
	case "complete":
		return orchestration.Complete{Report: on, Output: raw(rest)}
	case "wait":
		return orchestration.Wait{Report: on}
	case "schedule":
		return orchestration.Schedule{Report: on, After: 1e9, State: raw(rest)}
	case "retry":
		return orchestration.Retry{Report: on, Error: decoded[orchestration.Fault](p, rest)}
	case "fail":
		return orchestration.Fail{Report: on, Error: decoded[orchestration.Fault](p, rest)}
	case "claim":
		return orchestration.Heartbeat{Report: on, Agent: rest}
	}
	p.t.Fatalf("nobody knows what %q means", verb)
	return nil
}

func (p *transcript) after(text string) {
	d, err := time.ParseDuration(text)
	if err != nil {
		p.t.Fatal(err)
	}
	until := p.at.Add(d)
	for due := p.s.Deadline(); !due.IsZero() && !due.After(until); due = p.s.Deadline() {
		if due.After(p.at) {
			p.at = due
		}
		p.give(Wake{})
	}
	p.at = until
}

func (p *transcript) give(c Command) {
	events, err := p.s.Decide(p.at, c)
	if err != nil {
		fmt.Fprintf(&p.out, "  refused: %v\n", err)
		return
	}
	for _, e := range events {
		fmt.Fprintf(&p.out, "  %s\n", told(e))
		for _, f := range p.s.Follow(p.at, e) {
			fmt.Fprintf(&p.out, "    > %s\n", p.effect(f))
		}
		p.s = p.s.Evolve(p.at, e)
	}
}

func (p *transcript) effect(f machine.Effect) string {
	show := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		return string(b)
	}
	switch f := f.(type) {
	case machine.Work:
		p.work[f.ActivityID] = f
		return fmt.Sprintf("work %s %s", f.Type, f.Input)
	case machine.CancelWork:
		return fmt.Sprintf("cancel work %s: %s", f.Type, f.Reason)
	case machine.Send:
		return fmt.Sprintf("%s to %s %s %s", f.Type, f.Aggregate, f.Key, show(f.Value))
	case machine.Completion:
		return fmt.Sprintf("completion %s %s", f.Type, show(f.Value))
	case machine.Announce, machine.Claim, machine.Discard:
	}
	return show(f)
}

// told is an event in a few words.
func told(e Event) string {
	switch e := e.(type) {
	case Worked:
		return toldTask(e.Event)
	case Initiated:
		return "initiated, " + string(e.Way) + " " + e.TransferType
	case Moved:
		return "moved" + states(e.Moves) + because(e.Reason, e.By)
	case Acquiring:
		return fmt.Sprintf("acquiring%s %s for the %d. time", states(e.Moves), e.Need, e.Acquisition)
	case AccessGranted:
		return "access granted" + states(e.Moves)
	case AccessLost:
		return "access lost: " + e.ProcessID + e.AgreementID
	case Requested:
		return "requested" + states(e.Moves)
	case ResourceProvisioned:
		return "provisioned " + e.DefinitionID + " " + string(e.Resource)
	case ResourceUploaded:
		return "uploaded to " + e.DefinitionID
	case ResourceDeprovisioned:
		if e.Error != nil {
			return "left behind " + e.DefinitionID + ": " + e.Error.Message
		}
		return "deprovisioned " + e.DefinitionID
	case Ended:
		return fmt.Sprintf("ended%s, %s%s", states(e.Moves), e.Outcome, because(e.Reason, e.By))
	}
	return fmt.Sprintf("%T", e)
}

func because(reason, by string) string {
	if reason != "" {
		reason = ": " + reason
	}
	if by != "" {
		by = " (by " + by + ")"
	}
	return by + reason
}

func states(ms []Move) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, " %s", m.State)
		if m.Inferred {
			b.WriteString("?")
		}
	}
	return b.String()
}

func toldTask(e task.Event) string {
	switch e := e.(type) {
	case task.Requested:
		return "asked for " + e.Name
	case task.Ended:
		if e.Error != nil {
			return fmt.Sprintf("task %s: %s", e.How, e.Error.Message)
		}
		return fmt.Sprintf("task %s", e.How)
	case task.Attempted, task.Claimed, task.Extended, task.Nudged, task.Offered, task.Retrying, task.Scheduled, task.Waited:
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "task."))
}
