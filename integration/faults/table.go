package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

// want is how the job of a cell ends.
type want string

const (
	completes want = "COMPLETED"
	fails     want = "ERROR"
)

// cell is one state with one fault.
type cell struct {
	row, column string
	push        bool
	direct      bool // a transfer that no job has asked for
	want        want
	// set makes it go wrong, before the job is asked for.
	set func(p *place) []*standin.Fault
	// before is done before serve is killed, where it is.
	before func(ctx context.Context, p *place) error
	// during is done once the first of the faults has struck.
	during func(ctx context.Context, p *place) error
	// mend makes all well again before the asset is wanted once more; the faults are mended in any
	// case.
	mend func(ctx context.Context, p *place) error
	// check says what is wrong with what the provider has counted.
	check func(n standin.ProviderCounts, transfers []standin.Transfer) string
	// crash is for cells that hold until serve has been killed.
	crash bool
}

func (c *cell) name() string {
	way := "pull"
	if c.push {
		way = "push"
	}
	return c.row + ": " + c.column + " (" + way + ")"
}

// The step before there is an offer, and the one after there is an agreement.
const (
	stepCatalog = "catalog"
	stepEDR     = "edr"
)

// table lists all cells.
func table() []*cell {
	var all []*cell
	for _, push := range []bool{false, true} {
		for _, r := range requests(push) {
			all = append(all, ofRequest(r, push)...)
		}
		for _, r := range states(push) {
			all = append(all, ofState(r, push)...)
		}
	}
	return append(append(all, ofCallbacks()...), ofVerbs()...)
}

// requests are what is asked on the way to a document, pulled or pushed.
func requests(push bool) []standin.Op {
	ops := []standin.Op{standin.Catalog, standin.Negotiate, standin.GetNegotiation, standin.RequestTransfer, standin.GetTransfer}
	if push {
		return ops
	}
	return append(ops, standin.GetEDR, standin.Document)
}

// states are those that something can stay in.
func states(push bool) []standin.Stage {
	negotiation := []standin.Stage{
		standin.NegotiationInitial, standin.NegotiationRequesting, standin.NegotiationRequested,
		standin.NegotiationAgreed, standin.NegotiationVerifying, standin.NegotiationVerified,
	}
	transfer := []standin.Stage{
		standin.TransferInitial, standin.TransferProvisioned, standin.TransferRequesting, standin.TransferRequested,
	}
	if push {
		return append(transfer, standin.TransferStarted) // the negotiations are the same
	}
	return append(negotiation, transfer...)
}

// oneFault is a fault for all that is asked.
func oneFault(op standin.Op, e standin.RequestEffect, w standin.When) func(*place) []*standin.Fault {
	return func(p *place) []*standin.Fault { return []*standin.Fault{p.edc.OnRequest(op, e, w)} }
}

// once says that a lost reply has not made anybody ask twice.
func once(op standin.Op) func(standin.ProviderCounts, []standin.Transfer) string {
	return func(n standin.ProviderCounts, transfers []standin.Transfer) string {
		if op == standin.Negotiate && n.Negotiations != 1 {
			return fmt.Sprintf("%d negotiations", n.Negotiations)
		}
		if op == standin.RequestTransfer && (len(transfers) != 1 || transfers[0].Told.Requests != 1) {
			return fmt.Sprintf("%d processes, %+v", len(transfers), transfers)
		}
		return ""
	}
}

// ofRequest are the faults of one request. Those that poll are not asked where callbacks say all:
// they lose theirs.
func ofRequest(op standin.Op, push bool) []*cell {
	quiet := op == standin.GetNegotiation || op == standin.GetTransfer || op == standin.GetEDR
	row := func(column string, w want, e standin.RequestEffect, when standin.When) *cell {
		fault := oneFault(op, e, when)
		return &cell{row: string(op), column: column, push: push, want: w, set: func(p *place) []*standin.Fault {
			if quiet {
				p.edc.OnCallback("", standin.Lose(), standin.When{})
			}
			return fault(p)
		}}
	}
	lost := row("the reply is lost", completes, standin.LoseReply(), standin.When{Times: 1})
	lost.check = once(op)
	cells := []*cell{
		row("slow", completes, standin.Slow(300*time.Millisecond), standin.When{}),
		row("every second fails", completes, standin.Refuse(503), standin.When{Every: 2}),
		row("the first two fail", completes, standin.Refuse(500), standin.When{Times: 2}),
		row("cut off once", completes, standin.Cut(), standin.When{Times: 1}),
		lost,
		row("hangs once", completes, standin.Hang(), standin.When{Times: 1}),
		row("always fails", fails, standin.Refuse(503), standin.When{}),
		row("always hangs", fails, standin.Hang(), standin.When{}),
	}
	if op == standin.Document { // there a 404 is the last word
		return cells
	}
	return append(cells, row("booting twice", completes, standin.Boot(), standin.When{Times: 2}))
}

// ofState are the faults of one state.
func ofState(s standin.Stage, push bool) []*cell {
	at := func(column string, w want, e standin.StageEffect, when standin.When) *cell {
		return &cell{row: string(s), column: column, push: push, want: w, set: func(p *place) []*standin.Fault {
			return []*standin.Fault{p.edc.OnStage(s, e, when)}
		}}
	}
	// then holds the first in the state, does something, and lets it go.
	then := func(column string, w want, do func(ctx context.Context, p *place) error) *cell {
		c := at(column, w, standin.Stay(), standin.When{Times: 1})
		c.during = do
		return c
	}
	// A push that nobody says anything about any more is ended by its deadline, and with it the
	// activity: nobody knows what the provider has done.
	stuck, forgotten := completes, completes
	if push {
		stuck = fails
		if s == standin.TransferRequested || s == standin.TransferStarted {
			forgotten = fails
		}
	}
	all := []*cell{
		at("slow", completes, standin.Take(300*time.Millisecond), standin.When{}),
		at("stays once", stuck, standin.Stay(), standin.When{Times: 1}),
		at("ended once", completes, standin.End(), standin.When{Times: 1}),
		at("always ended", fails, standin.End(), standin.When{}),
		at("always stays", fails, standin.Stay(), standin.When{}),
		then("the provider hangs for a while", completes, func(ctx context.Context, p *place) error {
			p.provider.Pause()
			p.mend()
			err := pause(ctx, 300*time.Millisecond)
			p.provider.Resume()
			return err
		}),
		then("the connector hangs for a while", completes, func(ctx context.Context, p *place) error {
			p.edc.Pause()
			p.mend()
			err := pause(ctx, 300*time.Millisecond)
			p.edc.Resume()
			return err
		}),
		then("the provider forgets", forgotten, func(ctx context.Context, p *place) error {
			p.provider.Kill()
			p.mend()
			return p.provider.Restart(ctx, true)
		}),
		then("the connector dies and comes back", completes, func(ctx context.Context, p *place) error {
			p.edc.Kill()
			p.mend()
			return p.edc.Restart(ctx, false)
		}),
		then("the connector forgets", completes, func(ctx context.Context, p *place) error {
			p.edc.Kill()
			p.mend()
			return p.edc.Restart(ctx, true)
		}),
	}
	dead := then("the provider dies", fails, func(_ context.Context, p *place) error {
		p.provider.Kill()
		p.mend()
		return nil
	})
	dead.mend = func(ctx context.Context, p *place) error { return p.provider.Restart(ctx, false) }
	gone := then("the connector dies", fails, func(_ context.Context, p *place) error {
		p.edc.Kill()
		p.mend()
		return nil
	})
	gone.mend = func(ctx context.Context, p *place) error { return p.edc.Restart(ctx, false) }
	we := at("serve is killed", completes, standin.Stay(), standin.When{Times: 1})
	we.crash, we.check = true, func(n standin.ProviderCounts, transfers []standin.Transfer) string {
		if n.Negotiations != 1 || len(transfers) != 1 || transfers[0].Told.Requests != 1 {
			return fmt.Sprintf("%d negotiations, processes %+v", n.Negotiations, transfers)
		}
		return ""
	}
	return append(all, dead, gone, we)
}

// ofCallbacks are faults of what a connector tells by itself.
func ofCallbacks() []*cell {
	var all []*cell
	for _, push := range []bool{false, true} {
		for column, e := range map[string]standin.CallbackEffect{
			"lost": standin.Lose(), "repeated": standin.Repeat(), "late": standin.Late(200 * time.Millisecond), "overtaken": standin.Behind(2),
		} {
			all = append(all, &cell{row: "callbacks", column: column, push: push, want: completes, set: func(p *place) []*standin.Fault {
				return []*standin.Fault{p.edc.OnCallback("", e, standin.When{})}
			}})
		}
	}
	return all
}

// explained says what a reason leaves out. An attempt that ends at the catalog knows of no offer,
// and one that has an agreement of the attempt before has tried no round.
func explained(p *place, reason fault) string {
	var missing []string
	say := func(what string, texts ...string) {
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(reason.Message, text) }) {
			missing = append(missing, what)
		}
	}
	if reason.Step == "" {
		missing = append(missing, "the step")
	}
	say("the provider", p.provider.Address(standin.Protocol2025))
	say("the asset", p.asset)
	if reason.Step != stepCatalog {
		say("the constraints", constraint)
	}
	if reason.Step != stepCatalog && reason.Step != stepEDR {
		say("the rounds", "rounds tried: ", "access acquired: ") // who has no access, and who has had it
	}
	return strings.Join(missing, ", ")
}
