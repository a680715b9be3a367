package transfer_test

import (
	"testing"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// asks is a task of a push transfer, by its work's type and input.
func asks(name, typ, input string, spec task.Spec, parts ...string) Event {
	spec.Name, spec.Type, spec.Input = name, typ, raw(`{"connector":"consumer","provider":"http://provider:8181","counterPartyId":"provider",`+input+`}`)
	spec.WorkID = workID(append([]string{name}, parts...)...)
	return Worked{task.Requested{Spec: spec}}
}

func polls(n string) Event {
	return asks("poll", WorkPoll, `"processId":"`+process(n)+`"`, task.Spec{Deadline: epoch.Add(DefaultDeadline), Policy: task.Policy{Retries: definition.MaxRetries}}, n)
}

// tells is the word to the connector that the process is not wanted any more.
func tells(reason, requested string) Event {
	return asks("terminate", WorkTerminate, `"processId":"`+process("1")+`","reason":"`+reason+`","requested":`+requested,
		task.Spec{Deadline: lasting(TerminateWithin), Policy: task.Policy{Retries: DefaultRetries}}, "1")
}

func observed(state string) Observed { return Observed{ProcessID: process("1"), State: state} }

func TestAPushTransfer(t *testing.T) {
	t.Run("acquires an agreement", stands(given().When(push()), PhaseProvisioned))
	t.Run("is requested under a name of ours", given().When(push()).When(access("1")).Then(
		AccessGranted{Moves: to(PhaseRequesting), NegotiationID: "negotiation-1", Round: 1, AgreementID: "agreement-1", CounterPartyID: "provider", Constraints: "region eq eu"},
		asks("request", WorkRequest, `"assetId":"asset","agreementId":"agreement-1","transferType":"HttpData-PUSH","processId":"`+process("1")+`",
			"destination":{"type":"HttpData","baseUrl":"http://sink"},"callback":{"aggregate":"transfer","id":"t-1","task":"`+process("1")+`"}`,
			task.Spec{Deadline: lasting(RequestWithin), Policy: task.Policy{Retries: DefaultRetries}}, "1"),
	))
	t.Run("is looked after once it is requested", requesting.When(done(`{"processId":"`+process("1")+`"}`, "request", "1")).Then(
		ended(task.Completed, "request", "1"),
		Requested{Moves: to(PhaseRequested), ProcessID: process("1"), Until: lasting(StartWithin)}, polls("1")))
	t.Run("is started by the provider's word", requested.When(observed("STARTED")).Then(Moved{Moves: to(PhaseStarted), By: ByConnector}))
	t.Run("is started by a look at it", requested.When(sees("STARTED", "poll", "1")).Then(
		Worked{task.Scheduled{WorkID: workID("poll", "1"), Attempt: 1, At: lasting(1e9), State: raw(`{"state":"STARTED"}`)}},
		Moved{Moves: to(PhaseStarted), By: ByConnector}))
	t.Run("is completed by the provider", sending.When(done(`{"state":"COMPLETED"}`, "poll", "1")).Then(
		ended(task.Completed, "poll", "1"), Ended{Moves: to(PhaseCompleting, PhaseCompleted), Outcome: OutcomeCompleted}))
}

func TestWhatAConnectorSays(t *testing.T) {
	t.Run("may come before its answer", requesting.When(observed("STARTED")).Then(
		Requested{Moves: to(PhaseStarted), ProcessID: process("1")}, polls("1")))
	early := requesting.When(observed("STARTED"))
	t.Run("makes its answer old", early.When(done(`{}`, "request", "1")).Then(ended(task.Completed, "request", "1")))
	t.Run("makes a lost answer no fault", early.When(fails(fault("request", "reset"), "request", "1")).Then(failed(fault("request", "reset"), "request", "1")))
	t.Run("leaves out states that are then inferred", requested.When(observed("SUSPENDED")).Then(Moved{Moves: passed(PhaseStarted, PhaseSuspended), By: ByConnector}))
	t.Run("leaves out all of them", suspending.When(observed("COMPLETED")).Then(
		dropped("the provider has completed the transfer", "poll", "1"), dropped("the provider has completed the transfer", "suspend", "1"),
		Ended{Moves: append(passed(PhaseSuspended, PhaseStarted, PhaseCompleting), to(PhaseCompleted)...), Outcome: OutcomeCompleted}))
	t.Run("changes nothing where it is an earlier state", sending.When(observed("REQUESTED")).Then())
	t.Run("changes nothing where it comes twice", sending.When(observed("STARTED")).Then())
	t.Run("is not understood always", sending.When(observed("BACKING_UP")).Then())
	t.Run("is about a process of ours", sending.When(Observed{ProcessID: "somebody's", State: "STARTED"}).Refuses(machine.NotFound, "somebody's"))
	t.Run("is about the process that the address was made for", requesting.When(Observed{ProcessID: "its own", Token: process("1"), State: "REQUESTED"}).Then(
		Requested{Moves: to(PhaseRequested), ProcessID: process("1"), Until: lasting(StartWithin)}, polls("1")))
	t.Run("may be from before a suspension, so that it is asked", paused.When(observed("STARTED")).Then(Worked{task.Nudged{WorkID: workID("poll", "1")}}))
	t.Run("is taken from whoever has asked it", paused.When(sees("STARTED", "poll", "1")).Then(
		Worked{task.Scheduled{WorkID: workID("poll", "1"), Attempt: 1, At: lasting(1e9), State: raw(`{"state":"STARTED"}`)}},
		Moved{Moves: to(PhaseStarted), By: ByConnector}))
	t.Run("changes nothing after the end", stands(sending.When(observed("COMPLETED")).When(observed("TERMINATED")), PhaseCompleted))
	t.Run("cannot be that a process is at an end without one", stands(sending.When(done(`{"state":"BACKING_UP"}`, "poll", "1")), PhaseTerminating))
}

func TestASuspendedPushTransfer(t *testing.T) {
	t.Run("tells the connector", sending.When(Suspend{Reason: "night"}).Then(
		Moved{Moves: to(PhaseSuspending), Reason: "night", Until: lasting(SuspendWithin)},
		asks("suspend", WorkSuspend, `"processId":"`+process("1")+`","reason":"night"`, task.Spec{Deadline: lasting(SuspendWithin), Policy: task.Policy{Retries: DefaultRetries}}, "1")))
	t.Run("is told once", suspending.When(Suspend{Reason: "again"}).Then())
	t.Run("is suspended when the connector says so", suspending.When(observed("SUSPENDED")).Then(Moved{Moves: to(PhaseSuspended), By: ByConnector}))
	t.Run("is looked at when the connector has taken the word", suspending.When(sees("STARTED", "poll", "1")).When(done(`{}`, "suspend", "1")).Then(
		ended(task.Completed, "suspend", "1"), Worked{task.Attempted{WorkID: workID("poll", "1"), Attempt: 2}}))
	t.Run("is looked at when the connector refuses the word", suspending.When(sees("STARTED", "poll", "1")).When(fails(fault("", "409"), "suspend", "1")).Then(
		failed(fault("", "409"), "suspend", "1"), Worked{task.Attempted{WorkID: workID("poll", "1"), Attempt: 2}}))
	t.Run("tells the connector to go on", paused.When(done(`{}`, "suspend", "1")).When(Resume{}).Then(
		Moved{Moves: to(PhaseResuming), Until: lasting(ResumeWithin)},
		asks("resume", WorkResume, `"processId":"`+process("1")+`","reason":"asked for"`, task.Spec{Deadline: lasting(ResumeWithin), Policy: task.Policy{Retries: DefaultRetries}}, "2")))
	t.Run("is resumed when the connector has taken the word", stands(resuming.When(done(`{}`, "resume", "2")), PhaseResumed))
	t.Run("goes on with the provider's start", stands(resumed.When(observed("STARTED")), PhaseStarted))
	t.Run("is resumed once", resumed.When(Resume{}).Then())
	t.Run("is not suspended before the connector knows of it", requesting.When(Suspend{}).Refuses(machine.BadState, "REQUESTING does not lead to SUSPENDING"))
	t.Run("is suspended a second time", stands(resumed.When(observed("STARTED")).When(Suspend{}), PhaseSuspending))
}

func TestTheConnectorIsToldOfTheEnd(t *testing.T) {
	t.Run("never, where it was told of nothing", given().When(push()).When(Terminate{Reason: "enough"}).Then(
		Ended{Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "enough"}))
	t.Run("after it was asked, where it has not answered", requesting.When(Terminate{Reason: "enough"}).Then(
		dropped("the transfer is terminated", "request", "1"),
		Moved{Moves: to(PhaseTerminating), Reason: "enough", Until: lasting(TerminateWithin)}, tells("enough", "false")))
	t.Run("where it knows of it", sending.When(Terminate{Reason: "enough"}).Then(
		dropped("the transfer is terminated", "poll", "1"),
		Moved{Moves: to(PhaseTerminating), Reason: "enough", Until: lasting(TerminateWithin)}, tells("enough", "true")))
	t.Run("once", terminating.When(Terminate{Reason: "really"}).Then())
	t.Run("and then it is over", terminating.When(done(`{"told":true}`, "terminate", "1")).Then(
		ended(task.Completed, "terminate", "1"), Ended{Moves: to(PhaseTerminated), Outcome: OutcomeTerminated, Reason: "enough", By: "kim"}))
	t.Run("and if it cannot be, that is said", terminating.When(fails(fault("", "500"), "terminate", "1")).Then(
		failed(fault("", "500"), "terminate", "1"),
		Ended{Moves: to(PhaseTerminated), Outcome: OutcomeTerminated, Reason: "enough; the connector could not be told: 500", By: "kim"}))
	t.Run("not where it says so itself", sending.When(Observed{ProcessID: process("1"), State: "TERMINATED", Detail: "policy"}).Then(
		dropped("the transfer is terminated", "poll", "1"),
		Ended{
			Moves: to(PhaseTerminated), Outcome: OutcomeTerminated, By: ByConnector, Again: true,
			Reason: "request: the connector has terminated the transfer process: policy" + where,
			Error:  ptr(fault("request", "the connector has terminated the transfer process: policy"+where)),
		}))
	t.Run("not where it has refused the request", stands(requesting.When(fails(coded("request", "400", "refused"), "request", "1")), PhaseTerminated))
	t.Run("but where nobody knows what came of the request", stands(requesting.When(fails(fault("request", "reset"), "request", "1")), PhaseTerminating))
	t.Run("not where the provider has completed it", stands(landed.When(Terminate{}), PhaseDeprovisioning))
}

func TestADeadAgreement(t *testing.T) {
	dead := coded("request", "400 no such agreement", "agreement-dead")
	t.Run("is reported and replaced", requesting.When(fails(dead, "request", "1")).Then(
		failed(dead, "request", "1"), AccessLost{AgreementID: "agreement-1", Error: dead}, acquires(2, NeedAgreement)))
	anew := requesting.When(fails(dead, "request", "1"))
	t.Run("is not taken for a new one", anew.When(access("1")).Then())
	t.Run("leaves nothing to tell", anew.When(Terminate{Reason: "enough"}).Then(
		Ended{Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "enough"}))
	t.Run("leaves nothing to suspend", sending.When(done(`{"state":"TERMINATED","agreementDead":true}`, "poll", "1")).When(Suspend{}).Refuses(machine.BadState, "requested anew"))
	second := anew.When(access("2"))
	t.Run("is followed by a process of another name", second.When(Observed{ProcessID: process("2"), State: "REQUESTED"}).Then(
		Requested{Moves: to(PhaseRequested), ProcessID: process("2"), Until: lasting(StartWithin)}, polls("2")))
	t.Run("makes what is said of the old process old", second.When(observed("STARTED")).Then())
	t.Run("of which the connector tells ends nothing", stands(requested.When(Observed{ProcessID: process("1"), State: "TERMINATED", AgreementDead: true}), PhaseRequested))
	t.Run("is what a connector has that forgot everything", stands(sending.When(done(`{"state":"LOST"}`, "poll", "1")), PhaseStarted))
	t.Run("ends what cannot be requested anew", stands(paused.When(done(`{"state":"LOST"}`, "poll", "1")), PhaseTerminated))
}
