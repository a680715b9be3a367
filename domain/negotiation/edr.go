package negotiation

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/task"
)

// margin is how long before its end an EDR is not handed out any more: it is used a moment later.
const margin = 2 * time.Second

// longest is how long any EDR is used, whatever it says itself.
const longest = 10 * 365 * 24 * time.Hour

// process asks for an EDR for those who wait: for another token of one that has run out, where the
// connector has a call for that, else for a process. One that was reported dead is not refreshed: late reports
// of it name its process, and would be taken for reports of the new token.
func (d *decision) process(a *access) {
	if !d.pullable(a) {
		return
	}
	asset, deadline := a.asset, d.at.Add(d.s.cfg.Process)
	in := d.where(a.party)
	in.AssetID = asset
	if d.s.cfg.Refresh && a.edr.phase == EDRValid {
		in.ProcessID, in.EDR = a.edr.process, a.edr.data
		d.emit(EDRRequested{AssetID: asset, Round: a.round, ProcessID: a.edr.process, Refresh: true, Deadline: deadline})
		d.ask(workRefresh, workRefresh, asset, in, deadline.Add(grace))
		return
	}
	id := d.foreign("edr", d.s.id, asset, strconv.Itoa(a.round), strconv.Itoa(a.edr.asked+1))
	in.AgreementID, in.TransferType, in.ProcessID = a.agreement, pull(d.s.cfg.TransferType, a.offer.Formats), id
	in.Callback = &Callback{aggregate, d.s.id, id}
	d.emit(EDRRequested{AssetID: asset, Round: a.round, ProcessID: id, Deadline: deadline})
	d.ask(workEDR, workEDR, asset, in, deadline.Add(grace))
}

// dead takes down that the process under way brings no EDR.
func (d *decision) dead(a *access, why string, end bool) {
	d.emit(EDRDead{AssetID: a.asset, Round: a.round, ProcessID: a.edr.process, Reason: why, End: end})
}

// processRequested goes on when the connector has taken the request for a process, or has not.
func (d *decision) processRequested(a *access, end *task.End) {
	asset := a.asset
	if end.Completed {
		in := d.where(a.party)
		in.AssetID, in.ProcessID = asset, a.edr.process
		d.ask(workEDRPoll, workEDRPoll, asset, in, a.until.Add(grace))
		return
	}
	if end.Fault.Code == codeAgreementDead {
		d.disown(a, end.Fault.Message)
		return
	}
	d.dead(a, end.Fault.Message, end.Again)
	d.failed(asset, atEDR, end.Fault, end.Again)
}

// processPolled goes on with what the process behind an EDR, or its refreshing, has come to.
func (d *decision) processPolled(a *access, end *task.End) {
	asset, refreshing := a.asset, a.edr.refreshing()
	var look Look
	fault := outcomeOf(end, &look)
	switch {
	case fault != nil && refreshing:
		d.dead(a, "it was not refreshed: "+fault.Message, false)
		d.proceed(asset)
	case fault != nil:
		d.dead(a, fault.Message, true)
		d.failed(asset, atEDR, *fault, end.Again)
	case len(look.EDR) > 0 && (look.State == stateStarted || look.State == ""):
		d.granted(a, look)
	case look.State == stateLost:
		d.lost(a, fmt.Sprintf("the connector knows process %s no longer", a.edr.process), false)
	case look.AgreementDead:
		d.disown(a, cmp.Or(look.Detail, "the provider ended the process behind the EDR for it"))
	default:
		text := fmt.Sprintf("the process %s behind the EDR was %s", a.edr.process, cmp.Or(look.State, "without an EDR"))
		if look.Detail != "" {
			text += ": " + look.Detail
		}
		d.lost(a, text, look.State == stateStarted)
	}
}

// granted takes the EDR.
func (d *decision) granted(a *access, look Look) {
	asset := a.asset
	e := EDRGranted{AssetID: asset, Round: a.round, ProcessID: a.edr.process, Data: look.EDR, ExpiresAt: look.ExpiresAt, Until: d.at.Add(d.s.cfg.EDR)}
	if x := look.ExpiresAt; !x.IsZero() {
		left := x.Sub(d.at)
		if left <= 0 {
			d.lost(a, fmt.Sprintf("the EDR of process %s had run out when it came", a.edr.process), true)
			return
		}
		e.Until = x.Add(-min(margin, left/2)) // what it says itself wins
	}
	if most := d.at.Add(longest); e.Until.After(most) {
		e.Until = most // a time that no event can be written with would hold up everybody's
	}
	if e.EvictAt = e.Until; d.s.cfg.Refresh {
		e.EvictAt = e.Until.Add(d.s.cfg.EDR) // it can still be refreshed
	}
	d.emit(e)
	d.proceed(asset)
}

// lost goes on after a process that brought no EDR: with another, a limited number of times, then
// with another agreement.
func (d *decision) lost(a *access, why string, end bool) {
	asset := a.asset
	d.dead(a, why, end)
	if a = d.b.accesses.get(asset); a == nil {
		return
	}
	if a.lost < d.s.cfg.Processes || len(a.waiters) == 0 {
		d.proceed(asset)
		return
	}
	d.disown(a, fmt.Sprintf("%d processes brought no EDR, the last: %s", a.lost, why))
}

// overdue gives up a process that brings no EDR in time.
func (d *decision) overdue(a *access) {
	text := fmt.Sprintf("the process %s behind the EDR did not start in time", a.edr.process)
	d.drop(a.work, text)
	if a.edr.refreshing() {
		asset := a.asset
		d.dead(a, "it was not refreshed in time", false)
		d.proceed(asset)
		return
	}
	d.lost(a, text, true)
}

// processObserved takes down what a callback says of the process behind an EDR. The EDR itself comes
// with it, before the connector's own store has it.
func (d *decision) processObserved(a *access, c Observed) {
	c.Detail = clip(c.Detail)
	switch {
	case a.edr.phase == EDRPending && !a.edr.refreshing() && c.State == stateStarted && len(c.EDR) > 0 && len(c.EDR) <= maxEDR:
		d.drop(a.work, "the connector has said it by itself")
		d.granted(a, Look{EDR: c.EDR, ExpiresAt: c.ExpiresAt})
	case a.edr.phase == EDRPending:
		d.nudge(workEDRPoll, a.asset)
	case a.edr.phase == EDRValid && ends(c.State):
		d.emit(EDRDead{AssetID: a.asset, Round: a.round, ProcessID: c.ProcessID, Reason: cmp.Or(c.Detail, "the connector says that its process is "+c.State)})
	}
}

// ends says that an EDR opens nothing once its process is in that state.
func ends(state string) bool {
	switch state {
	case "SUSPENDED", "COMPLETED", "TERMINATED", "DEPROVISIONED":
		return true
	}
	return false
}
