package transfer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// named is the name of the task about a resource.
func named(kind, definitionID string) string { return kind + ":" + definitionID }

// definitionID is the resource that a task is about.
func definitionID(name string) string {
	_, id, _ := strings.Cut(name, ":")
	return id
}

// provision asks for each resource of the manifest.
func (s State) provision(at time.Time, out []Event) []Event {
	type input struct {
		TransferID string     `json:"transferId"`
		Definition Definition `json:"definition"`
		AssetID    string     `json:"assetId"`
		Callback   callback   `json:"callback"`
	}
	until := s.l.within(at, ProvisionWithin)
	out = append(out, Moved{Moves: moves(PhaseProvisioning), Until: until})
	for _, d := range s.l.Manifest.Definitions {
		out = append(out, s.ask(task.Spec{Name: named(taskProvision, d.ID), Type: WorkProvision, Deadline: until, Policy: s.l.policy(0)},
			input{s.id, d, s.l.AssetID, s.callback(d.ID)}))
	}
	return out
}

// provisioned goes on once a resource is there.
func (s State) provisioned(at time.Time, out []Event, e ResourceProvisioned, but string) []Event {
	out = append(out, e)
	if s.others(but) == 0 {
		return s.acquire(at, out, moves(PhaseProvisioned))
	}
	return s.elsewhere(out, but)
}

// others is how many tasks but one are open.
func (s State) others(but string) int {
	n := 0
	for _, t := range s.tasks.Open() {
		if t.WorkID != but {
			n++
		}
	}
	return n
}

// waits goes on after an agent has handed a task on to somebody who will call back.
func (s State) waits(out []Event, workID string) []Event {
	if s.phase != PhaseProvisioning && s.phase != PhaseDeprovisioning {
		return out
	}
	return s.elsewhere(out, workID)
}

// elsewhere records that all that is left to do is with somebody outside.
func (s State) elsewhere(out []Event, but string) []Event {
	for _, t := range s.tasks.Open() {
		if t.WorkID != but && t.Phase != orchestration.ActivityWaiting {
			return out
		}
	}
	switch s.phase {
	case PhaseProvisioning:
		return append(out, Moved{Moves: moves(PhaseProvisioningRequested), Until: s.l.until})
	case PhaseDeprovisioning:
		return append(out, Moved{Moves: moves(PhaseDeprovisioningRequested), Until: s.l.until})
	default:
		return out
	}
}

func (s State) decideProvisioned(at time.Time, c Provisioned) ([]Event, error) {
	if s.phase.Over() {
		return nil, s.standing("nothing is provisioned for it any more")
	}
	r, ok := s.l.resource(c.ResourceDefinitionID)
	if !ok {
		return nil, s.noResource(c.ResourceDefinitionID)
	}
	if r.made {
		return nil, nil
	}
	type resource struct {
		ResourceDefinitionID string          `json:"resourceDefinitionId"`
		AssetID              string          `json:"assetId,omitempty"`
		ResourceName         string          `json:"resourceName,omitempty"`
		ContentDataAddress   json.RawMessage `json:"contentDataAddress,omitempty"`
		HasToken             bool            `json:"hasToken,omitempty"`
	}
	e := ResourceProvisioned{
		r.ID, encoded(resource{c.ResourceDefinitionID, c.AssetID, c.ResourceName, c.ContentDataAddress, c.HasToken}), c.Secret,
	}
	out, workID := s.calledBack(at, named(taskProvision, r.ID))
	return s.provisioned(at, out, e, workID), nil
}

// calledBack closes the task that a callback has an answer to, however far its agent is.
func (s State) calledBack(at time.Time, name string) (out []Event, workID string) {
	t, ok := s.tasks.Find(name)
	if !ok {
		return nil, ""
	}
	events, _, err := s.tasks.Decide(at, orchestration.Complete{Report: orchestration.Report{WorkID: t.WorkID, Attempt: t.Attempt}})
	if err != nil {
		events = s.tasks.Drop(t.WorkID, "a callback has answered")
	}
	return worked(events), t.WorkID
}

// overtaken says that a report is of a resource about which a callback has said more already.
func (s State) overtaken(c Report) bool {
	w, ok := c.Command.(orchestration.Wait)
	if !ok || s.l == nil {
		return false
	}
	for _, r := range s.l.resources {
		if r.made && w.WorkID == task.WorkID(Aggregate, s.id, named(taskProvision, r.ID)) ||
			r.gone && w.WorkID == task.WorkID(Aggregate, s.id, named(taskDeprovision, r.ID), strconv.Itoa(r.frees)) {
			return true
		}
	}
	return false
}

func (s State) noResource(id string) error {
	return machine.Refuse(machine.NotFound, fmt.Sprintf("transfer %s has no resource %q", s.id, id))
}

func (s State) decideUploaded(c Uploaded) ([]Event, error) {
	if s.phase >= PhaseCompleting {
		return nil, s.standing("nobody reads any more what is pushed")
	}
	r, ok := s.l.resource(c.ResourceDefinitionID)
	switch {
	case !ok:
		return nil, s.noResource(c.ResourceDefinitionID)
	case r.upload == nil:
		return []Event{ResourceUploaded{r.ID, c.Digest, c.Bytes, c.Content}}, nil
	case r.upload.Digest == c.Digest:
		return nil, nil
	}
	return nil, machine.Refuse(machine.Conflict, fmt.Sprintf("something else was pushed to resource %q of transfer %s before", r.ID, s.id))
}

// deprovision asks for what was provisioned to be undone, once the transfer is over.
func (s State) deprovision(at time.Time, out []Event) []Event {
	until := at.Add(DeprovisionWithin)
	begun := false
	for i := range s.l.resources {
		r := &s.l.resources[i]
		if !r.made {
			continue
		}
		if !begun {
			out, begun = append(out, Moved{Moves: moves(PhaseDeprovisioning), Until: until}), true
		}
		out = append(out, s.free(r, until))
	}
	return out
}

// free asks for one resource to be undone.
func (s State) free(r *resource, until time.Time) Event {
	type input struct {
		TransferID string          `json:"transferId"`
		Definition Definition      `json:"definition"`
		AssetID    string          `json:"assetId"`
		Resource   json.RawMessage `json:"resource,omitempty"`
		Secret     json.RawMessage `json:"secret,omitempty"`
		Callback   callback        `json:"callback"`
	}
	return s.ask(task.Spec{Name: named(taskDeprovision, r.ID), Type: WorkDeprovision, Deadline: until, Policy: s.l.policy(0)},
		input{s.id, r.Definition, s.l.AssetID, r.resource, r.secret, s.callback(r.ID)}, strconv.Itoa(r.frees+1))
}

// freeAgain asks anew for what somebody outside has not called back about.
func (s State) freeAgain() []Event {
	var out []Event
	for _, t := range s.tasks.Open() {
		if r, ok := s.l.resource(definitionID(t.Name)); ok && t.Phase == orchestration.ActivityWaiting {
			out = append(out, worked(s.tasks.Drop(t.WorkID, "it is asked for anew"))...)
			out = append(out, s.free(r, t.Deadline))
		}
	}
	return out
}

// deprovisioned goes on once a resource is gone, or left behind with an error.
func (s State) deprovisioned(out []Event, e ResourceDeprovisioned, but string) []Event {
	out = append(out, e)
	if s.others(but) > 0 {
		return s.elsewhere(out, but)
	}
	return append(out, Moved{Moves: moves(PhaseDeprovisioned), Error: orElse(s.l.left, e.Error)})
}

func (s State) decideDeprovisioned(at time.Time, c Deprovisioned) ([]Event, error) {
	switch {
	case s.l == nil:
		return nil, s.standing("nothing of it is left to be deprovisioned")
	case s.phase != PhaseDeprovisioning && s.phase != PhaseDeprovisioningRequested:
		return nil, s.standing("nothing of it is being deprovisioned")
	}
	r, ok := s.made(c.ProvisionedResourceID)
	switch {
	case !ok:
		return nil, s.noResource(c.ProvisionedResourceID)
	case r.gone, c.InProcess:
		return nil, nil
	}
	e := ResourceDeprovisioned{DefinitionID: r.ID}
	if c.Error {
		e.Error = &orchestration.Fault{Step: stepDeprovision, Message: machine.Clip(orElse(c.ErrorMessage, "the provisioner says no more than that it failed"), maxReasonBytes)}
	}
	out, workID := s.calledBack(at, named(taskDeprovision, r.ID))
	return s.deprovisioned(out, e, workID), nil
}

// made finds a provisioned resource by its definition, by its name, or, where there is but one, by
// the transfer: EDC's own provisioner calls it that.
func (s State) made(id string) (*resource, bool) {
	var found []*resource
	for i := range s.l.resources {
		r := &s.l.resources[i]
		var has struct {
			ResourceName string `json:"resourceName"`
		}
		switch {
		case !r.made:
			continue
		case r.ID == id:
			return r, true
		case json.Unmarshal(r.resource, &has) == nil && has.ResourceName != "" && has.ResourceName == id, id == s.id:
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return nil, false
	}
	return found[0], true
}
