package transfer

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
)

// The tasks of a transfer, by name. Those of resources have the definition's id after it.
const (
	taskProvision   = "provision"
	taskRequest     = "request"
	taskPoll        = "poll"
	taskFetch       = "fetch"
	taskCollect     = "collect"
	taskSuspend     = "suspend"
	taskResume      = "resume"
	taskTerminate   = "terminate"
	taskDeprovision = "deprovision"
)

// The types of work that a transfer asks for. An activity cannot have them.
const (
	WorkProvision   = "provision"
	WorkDeprovision = "deprovision"
	WorkRequest     = "transfer-request"
	WorkPoll        = "transfer-poll"
	WorkSuspend     = "transfer-suspend"
	WorkResume      = "transfer-resume"
	WorkTerminate   = "transfer-terminate"
	WorkFetch       = "fetch"
	WorkCollect     = "collect"
)

// where is what every piece of work about a connector says.
type where struct {
	Connector      string `json:"connector,omitempty"`
	Provider       string `json:"provider"`
	CounterPartyID string `json:"counterPartyId,omitempty"`
}

// callback is who is told by a callback; agents make an address of it.
type callback struct {
	Aggregate string `json:"aggregate"`
	ID        string `json:"id"`
	Task      string `json:"task"`
}

func (l *live) where() where {
	return where{l.Connector, l.Provider, orElse(l.grant.CounterPartyID, l.CounterPartyID)}
}

func (s State) callback(task string) callback { return callback{Aggregate, s.id, task} }

// ask opens a task. parts tell it from others of its name, in earlier rounds.
func (s State) ask(spec task.Spec, input any, parts ...string) Event {
	spec.WorkID = task.WorkID(Aggregate, s.id, append([]string{spec.Name}, parts...)...)
	spec.Input = encoded(input)
	return Worked{task.Ask(spec)}
}

// encoded writes a value that always encodes.
func encoded(v any) json.RawMessage {
	b, err := machine.Encode(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

// owner is whose the results are, where they are handed on.
func (l *live) owner() string {
	if l.Asker == nil {
		return ""
	}
	return l.Asker.ID
}

// fetch asks for the document. An activity that asked has a policy of its own, and makes another
// transfer of its next attempt.
func (s State) fetch(edr *EDR) Event {
	l := s.l
	type input struct {
		where
		Adapter    string          `json:"adapter"`
		AssetID    string          `json:"assetId"`
		EDR        json.RawMessage `json:"edr,omitempty"`
		As         string          `json:"as,omitempty"`
		Properties json.RawMessage `json:"properties,omitempty"`
	}
	in := input{where: l.where(), Adapter: orElse(l.Adapter, AdapterHTTP), AssetID: l.AssetID, As: l.As, Properties: l.Properties}
	if edr != nil {
		in.EDR = edr.Data
	}
	policy := l.policy(FetchWithin)
	if l.Asker != nil {
		policy.Retries = 0
	}
	return s.ask(task.Spec{Name: taskFetch, Type: WorkFetch, Deadline: l.Deadline, Policy: policy, Owner: l.owner()}, in, strconv.Itoa(l.fetches+1))
}

// request asks the connector for a process of our own that sends the document to us.
func (s State) request(at time.Time, agreement string) Event {
	l := s.l
	type input struct {
		where
		AssetID      string          `json:"assetId"`
		AgreementID  string          `json:"agreementId"`
		TransferType string          `json:"transferType"`
		ProcessID    string          `json:"processId"`
		Destination  json.RawMessage `json:"destination,omitempty"`
		Callback     callback        `json:"callback"`
	}
	n := l.processes + 1
	process := s.processID(n)
	in := input{
		where: l.where(), AssetID: l.AssetID, AgreementID: agreement, TransferType: l.TransferType,
		ProcessID: process, Destination: l.Destination, Callback: s.callback(process),
	}
	if r, address := l.landing(); r != nil {
		in.Destination = address
	}
	return s.ask(task.Spec{Name: taskRequest, Type: WorkRequest, Deadline: l.within(at, RequestWithin), Policy: l.policy(0)}, in, strconv.Itoa(n))
}

// landing is the provisioned resource that the provider sends to, and its address; nil where
// whoever asked gave a destination.
func (l *live) landing() (*resource, json.RawMessage) {
	if len(l.Destination) > 0 {
		return nil, nil
	}
	for i := range l.resources {
		var has struct {
			DataAddress        json.RawMessage `json:"dataAddress"`
			ContentDataAddress json.RawMessage `json:"contentDataAddress"`
		}
		if r := &l.resources[i]; json.Unmarshal(r.resource, &has) == nil {
			switch {
			case len(has.DataAddress) > 0:
				return r, has.DataAddress
			case len(has.ContentDataAddress) > 0:
				return r, has.ContentDataAddress
			}
		}
	}
	return nil, nil
}

// processInput is about a process that the connector was asked for.
type processInput struct {
	where
	ProcessID string `json:"processId"`
	Reason    string `json:"reason,omitempty"`
}

// poll asks how far the connector's process is, again and again, as long as the transfer lasts. That
// the connector is away for a while is no fault of the transfer's.
func (s State) poll(process string) Event {
	l := s.l
	policy := task.Policy{Retries: definition.MaxRetries}
	return s.ask(task.Spec{Name: taskPoll, Type: WorkPoll, Deadline: l.Deadline, Policy: policy}, processInput{l.where(), process, ""}, strconv.Itoa(l.processes))
}

// tell tells the connector to suspend or resume the process, the n-th such word.
func (s State) tell(name string, n int, reason string, until time.Time) Event {
	typ := WorkSuspend
	if name == taskResume {
		typ = WorkResume
	}
	l := s.l
	return s.ask(task.Spec{Name: name, Type: typ, Deadline: until, Policy: l.policy(0)}, processInput{l.where(), l.process, orElse(reason, "asked for")}, strconv.Itoa(n))
}

// tellEnd tells the connector that the process is not wanted any more. Where it has not answered the
// request, the agent asks first whether it knows of any.
func (s State) tellEnd(at time.Time, reason string, requested bool) Event {
	type input struct {
		processInput
		Requested bool `json:"requested"`
	}
	l := s.l
	return s.ask(task.Spec{Name: taskTerminate, Type: WorkTerminate, Deadline: at.Add(TerminateWithin), Policy: task.Policy{Retries: DefaultRetries}},
		input{processInput{l.where(), l.process, reason}, requested}, strconv.Itoa(l.processes))
}

// collect asks for what has landed in a resource.
func (s State) collect(r *resource) Event {
	l := s.l
	type input struct {
		where
		TransferID string          `json:"transferId"`
		AssetID    string          `json:"assetId"`
		Resource   json.RawMessage `json:"resource"`
		Secret     json.RawMessage `json:"secret,omitempty"`
		As         string          `json:"as,omitempty"`
		Properties json.RawMessage `json:"properties,omitempty"`
	}
	in := input{l.where(), s.id, l.AssetID, r.withUpload(), r.secret, l.As, l.Properties}
	return s.ask(task.Spec{Name: taskCollect, Type: WorkCollect, Deadline: l.Deadline, Policy: l.policy(FetchWithin), Owner: l.owner()}, in)
}

// withUpload is the resource with what was pushed to it.
func (r *resource) withUpload() json.RawMessage {
	if r.upload == nil {
		return r.resource
	}
	members := map[string]json.RawMessage{}
	if json.Unmarshal(r.resource, &members) != nil || members == nil {
		members = map[string]json.RawMessage{}
	}
	members["content"] = r.upload.Content
	members["digest"] = encoded(r.upload.Digest)
	members["bytes"] = encoded(r.upload.Bytes)
	return encoded(members)
}

// decideReport lets agents say what came of a task.
func (s State) decideReport(at time.Time, c Report) ([]Event, error) {
	if r, ok := c.Command.(orchestration.Retry); ok && s.phase == PhaseTerminating && s.isRequest(r.WorkID) {
		c.Command = orchestration.Fail{Report: r.Report, Error: r.Error} // it is not made anew
	}
	events, end, err := s.tasks.Decide(at, c.Command)
	if err != nil {
		if s.overtaken(c) {
			return nil, nil
		}
		if s.l == nil {
			err = s.standing("its work has ended")
		}
		return nil, err
	}
	if end != nil {
		return s.finish(at, worked(events), end, c), nil
	}
	out := s.abandoned(at, events)
	if len(events) == 0 {
		return out, nil
	}
	if r, ok := c.Command.(orchestration.Schedule); ok {
		return s.looked(at, out, r), nil
	}
	if r, ok := c.Command.(orchestration.Wait); ok {
		return s.waits(out, r.WorkID), nil
	}
	return out, nil
}

// isRequest says that a work id is that of the request that is open.
func (s State) isRequest(workID string) bool {
	t, ok := s.tasks.Find(taskRequest)
	return ok && t.WorkID == workID
}

// finish goes on after the end of a task.
func (s State) finish(at time.Time, out []Event, end *task.End, r Report) []Event {
	kind := kindOf(end.Task)
	if s.l == nil {
		return out
	}
	if end.Completed {
		return s.done(at, out, end, kind)
	}
	c := s.causeOf(end, kind)
	if retry, ok := r.Command.(orchestration.Retry); ok {
		c.after = retry.After
	}
	return s.failed(at, out, end, kind, c)
}

// kindOf is the name of a task without the resource it is about.
func kindOf(t task.Task) string {
	switch t.Type {
	case WorkProvision:
		return taskProvision
	case WorkDeprovision:
		return taskDeprovision
	}
	return t.Name
}

// done goes on after a task that was completed.
func (s State) done(at time.Time, out []Event, end *task.End, kind string) []Event {
	switch kind {
	case taskProvision:
		var made struct {
			Resource json.RawMessage `json:"resource"`
			Secret   json.RawMessage `json:"secret"`
		}
		if json.Unmarshal(end.Report.Output, &made) != nil {
			made.Resource = nil // it is there, and has nothing to say
		}
		return s.provisioned(at, out, ResourceProvisioned{definitionID(end.Name), made.Resource, made.Secret}, end.WorkID)
	case taskDeprovision:
		return s.deprovisioned(out, ResourceDeprovisioned{DefinitionID: definitionID(end.Name)}, end.WorkID)
	case taskFetch, taskCollect:
		return s.complete(at, out, end.Report)
	case taskRequest:
		return s.requested(at, out, end.Report.Output)
	case taskPoll:
		return s.polled(at, out, end)
	case taskSuspend, taskResume:
		return s.obeyed(at, out, kind)
	case taskTerminate:
		return s.ended(at, out, s.l.end, "")
	}
	return out
}

// failed goes on after a task that came to nothing.
func (s State) failed(at time.Time, out []Event, end *task.End, kind string, c cause) []Event {
	l := s.l
	switch kind {
	case taskDeprovision:
		return s.deprovisioned(out, ResourceDeprovisioned{definitionID(end.Name), c.fault}, end.WorkID)
	case taskTerminate:
		return s.ended(at, out, l.end, "the connector could not be told: "+c.fault.Message)
	case taskSuspend, taskResume:
		// What it is instead, the connector will say; if it does not, the state's deadline ends it.
		return s.lookNow(out)
	case taskFetch:
		if c.fault.Code == codeEDRDead && l.grant.EDR != nil {
			return s.lose(at, out, AccessLost{ProcessID: l.grant.EDR.ProcessID, Error: *c.fault}, c)
		}
	case taskRequest:
		switch {
		case l.told:
			return out // a callback has said that it is there
		case s.phase == PhaseTerminating && (c.fault.Code == codeRefused || c.fault.Code == codeAgreementDead):
			return s.ended(at, out, l.end, "") // there is nothing to be told about
		case s.phase == PhaseTerminating:
			return append(out, s.tellEnd(at, l.end.Reason, false))
		case c.fault.Code == codeAgreementDead:
			c.silent = true
			return s.lose(at, out, AccessLost{AgreementID: l.grant.AgreementID, Error: *c.fault}, c)
		case c.fault.Code == codeRefused:
			c.silent = true
		}
	}
	return s.terminate(at, out, c)
}

// The codes of a fault that a transfer goes by.
const (
	codeEDRDead       = "edr-dead"
	codeAgreementDead = "agreement-dead"
	codeRefused       = "refused"
)
