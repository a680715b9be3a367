package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/internal/standin"
)

// The rows of what somebody has asked for meanwhile.
const (
	rowSuspended   = "transfer SUSPENDED"
	rowTerminating = "transfer TERMINATING"
)

// wish is the reason that is given with a verb.
const wish = "somebody wants it so"

// terminates is how a transfer ends that somebody did not want any more.
const terminates want = "TERMINATED"

// ofVerbs are pushes that are suspended or terminated by somebody, times what can go wrong then.
func ofVerbs() []*cell {
	return append(suspended(), terminated()...)
}

// direct is a transfer of its own that is held in a stage until a verb is given.
func direct(row, column string, w want, hold standin.Stage, more ...func(p *place) *standin.Fault) *cell {
	return &cell{row: row, column: column, push: true, direct: true, want: w, set: func(p *place) []*standin.Fault {
		faults := []*standin.Fault{p.edc.OnStage(hold, standin.Stay(), standin.When{Times: 1})}
		for _, f := range more {
			faults = append(faults, f(p))
		}
		return faults
	}}
}

// on makes something go wrong with a request.
func on(op standin.Op, e standin.RequestEffect, times int) func(p *place) *standin.Fault {
	return func(p *place) *standin.Fault { return p.edc.OnRequest(op, e, standin.When{Times: times}) }
}

// suspended are pushes that are suspended while data flows and go on afterwards.
func suspended() []*cell {
	// paused does something while the transfer is suspended, then wants it to go on.
	paused := func(column string, w want, do func(ctx context.Context, p *place) error, more ...func(p *place) *standin.Fault) *cell {
		c := direct(rowSuspended, column, w, standin.TransferStarted, more...)
		c.during = func(ctx context.Context, p *place) error {
			if err := p.suspend(ctx); err != nil {
				return err
			}
			if err := do(ctx, p); err != nil {
				return err
			}
			return p.verb(ctx, "resume")
		}
		return c
	}
	nothing := func(context.Context, *place) error { return nil }
	dead := paused("the provider dies", fails, func(_ context.Context, p *place) error { p.provider.Kill(); return nil })
	dead.mend = func(ctx context.Context, p *place) error { return p.provider.Restart(ctx, false) }
	// we is suspended before serve is killed, and resumed afterwards.
	we := direct(rowSuspended, "serve is killed", completes, standin.TransferStarted)
	we.crash = true
	we.before = func(ctx context.Context, p *place) error { return p.suspend(ctx) }
	we.during = func(ctx context.Context, p *place) error { return p.verb(ctx, "resume") }
	return []*cell{
		paused("all is well", completes, nothing),
		paused("the reply to suspend is lost", completes, nothing, on(standin.SuspendTransfer, standin.LoseReply(), 1)),
		paused("suspend fails twice", completes, nothing, on(standin.SuspendTransfer, standin.Refuse(503), 2)),
		paused("the reply to resume is lost", completes, nothing, on(standin.ResumeTransfer, standin.LoseReply(), 1)),
		paused("resume fails twice", completes, nothing, on(standin.ResumeTransfer, standin.Refuse(503), 2)),
		paused("resume hangs once", completes, nothing, on(standin.ResumeTransfer, standin.Hang(), 1)),
		paused("the connector dies and comes back", completes, func(ctx context.Context, p *place) error {
			p.edc.Kill()
			return p.edc.Restart(ctx, false)
		}),
		paused("the connector forgets", fails, func(ctx context.Context, p *place) error {
			p.edc.Kill()
			return p.edc.Restart(ctx, true)
		}),
		paused("the provider forgets", fails, func(ctx context.Context, p *place) error {
			p.provider.Kill()
			return p.provider.Restart(ctx, true)
		}),
		dead, we,
	}
}

// terminated are pushes that are ended by somebody once the provider has been asked: it hears of
// that exactly once.
func terminated() []*cell {
	var all []*cell
	for _, f := range []struct {
		column string
		more   []func(p *place) *standin.Fault
	}{
		{"all is well", nil},
		{"the reply is lost", []func(p *place) *standin.Fault{on(standin.TerminateTransfer, standin.LoseReply(), 1)}},
		{"fails twice", []func(p *place) *standin.Fault{on(standin.TerminateTransfer, standin.Refuse(500), 2)}},
		{"cut off once", []func(p *place) *standin.Fault{on(standin.TerminateTransfer, standin.Cut(), 1)}},
		{"hangs once", []func(p *place) *standin.Fault{on(standin.TerminateTransfer, standin.Hang(), 1)}},
		{"booting twice", []func(p *place) *standin.Fault{on(standin.TerminateTransfer, standin.Boot(), 2)}},
	} {
		c := direct(rowTerminating, f.column, terminates, standin.TransferRequested, f.more...)
		c.during = func(ctx context.Context, p *place) error {
			if err := p.reaches(ctx, "REQUESTED"); err != nil {
				return err
			}
			return p.verb(ctx, "terminate")
		}
		c.check = func(_ standin.ProviderCounts, transfers []standin.Transfer) string {
			if len(transfers) != 1 || transfers[0].Told.Terminations != 1 {
				return fmt.Sprintf("told %+v, want one termination", transfers)
			}
			return ""
		}
		all = append(all, c)
	}
	return all
}

// suspend suspends the transfer once data flows, and waits for that.
func (p *place) suspend(ctx context.Context) error {
	if err := p.reaches(ctx, "STARTED"); err != nil {
		return err
	}
	if err := p.verb(ctx, "suspend"); err != nil {
		return err
	}
	return p.reaches(ctx, "SUSPENDED")
}

// transferred is what is looked at of a transfer.
type transferred struct {
	State   string  `json:"state"`
	Outcome *string `json:"outcome"`
	Reason  *string `json:"reason"`
	Error   *fault  `json:"error"`
}

// transfer looks at the transfer of a place; one that the view does not have yet has no state.
func (p *place) transfer(ctx context.Context, id string) (transferred, error) {
	var t transferred
	err := p.s.api.Insist(ctx, http.MethodGet, "/v1/transfers/"+id, nil, &t)
	if api.Is(err, http.StatusNotFound) {
		err = nil
	}
	return t, err
}

// start asks for a transfer of its own.
func (p *place) start(ctx context.Context, id string) error {
	body, err := json.Marshal(map[string]any{
		"id": id, "provider": p.provider.Address(standin.Protocol2025), "assetId": p.asset, "transferType": standin.Push,
		"destination": map[string]string{"type": "HttpData", "baseUrl": p.sink}, "deadline": "PT45S",
	})
	if err != nil {
		return err
	}
	return p.s.api.Insist(ctx, http.MethodPost, "/v1/transfers", body, nil)
}

func (p *place) verb(ctx context.Context, name string) error {
	return p.s.api.Insist(ctx, http.MethodPost, "/v1/transfers/"+p.id+"/"+name, []byte(`{"reason": "`+wish+`"}`), nil)
}

// reaches waits until the transfer is in a state.
func (p *place) reaches(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, strikesWithin, errors.New("it never was "+state))
	defer cancel()
	for {
		t, err := p.transfer(ctx, p.id)
		if err != nil || t.State == state {
			return err
		}
		if err := pause(ctx, look); err != nil {
			return fmt.Errorf("it is %s: %w", t.State, err)
		}
	}
}

// ended waits for the end of a transfer and says how it is, as of a job.
func (p *place) ended(ctx context.Context, id string) (job, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, endsWithin, fmt.Errorf("transfer %s has no end after %s", id, endsWithin))
	defer cancel()
	for {
		t, err := p.transfer(ctx, id)
		switch {
		case err != nil:
			return job{}, err
		case t.State == "COMPLETED":
			return job{State: t.State}, nil
		case t.State == string(terminates):
			return job{State: t.verdict(), Error: t.why()}, nil
		}
		if err := pause(ctx, look); err != nil {
			return job{State: t.State}, err
		}
	}
}

// verdict tells an end that somebody wanted from one that nobody did.
func (t transferred) verdict() string {
	if t.Reason != nil && *t.Reason == wish {
		return string(terminates)
	}
	return string(fails)
}

func (t transferred) why() *fault {
	f := fault{}
	if t.Error != nil {
		f.Step = t.Error.Step
	}
	if t.Reason != nil {
		f.Message = *t.Reason
	}
	return &f
}
