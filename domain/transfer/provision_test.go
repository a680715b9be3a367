package transfer_test

import (
	"testing"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

const bucket = `{"resource":{"dataAddress":{"type":"HttpData"}}}`

func provided(id, resource string) ResourceProvisioned {
	return ResourceProvisioned{DefinitionID: id, Resource: raw(resource)}
}

func TestProvisioning(t *testing.T) {
	one := given().When(landing("a"))
	t.Run("asks for each resource", stands(provisioning, PhaseProvisioning))
	t.Run("is done with the last", provisioning.When(done(bucket, "provision:a")).When(done(bucket, "provision:b")).Then(
		ended(task.Completed, "provision:b"), provided("b", `{"dataAddress":{"type":"HttpData"}}`), acquires(1, NeedAgreement, to(PhaseProvisioned)...)))
	t.Run("keeps what is there and waits for the rest", provisioning.When(done(bucket, "provision:a")).When(waits("provision:b")).Then(
		Worked{task.Waited{WorkID: workID("provision:b"), Attempt: 1}}, Moved{Moves: to(PhaseProvisioningRequested), Until: lasting(ProvisionWithin)}))
	t.Run("waits in any order", provisioning.When(waits("provision:b")).When(done(bucket, "provision:a")).Then(
		ended(task.Completed, "provision:a"), provided("a", `{"dataAddress":{"type":"HttpData"}}`), Moved{Moves: to(PhaseProvisioningRequested), Until: lasting(ProvisionWithin)}))
	t.Run("is not elsewhere as long as an agent is at it", stands(provisioning.When(waits("provision:b")), PhaseProvisioning))
	callback := Provisioned{ResourceDefinitionID: "b", AssetID: "asset", ResourceName: "bucket", ContentDataAddress: raw(`{"type":"HttpData"}`), Secret: raw(`{"$sealed":"k.1"}`), HasToken: true}
	t.Run("is done by a callback", elsewhere.When(callback).Then(
		ended(task.Completed, "provision:b"),
		ResourceProvisioned{"b", raw(`{"resourceDefinitionId":"b","assetId":"asset","resourceName":"bucket","contentDataAddress":{"type":"HttpData"},"hasToken":true}`), raw(`{"$sealed":"k.1"}`)},
		acquires(1, NeedAgreement, to(PhaseProvisioned)...)))
	t.Run("is done by one that overtakes the agent's word", stands(one.When(Provisioned{ResourceDefinitionID: "a"}), PhaseProvisioned))
	t.Run("lets the agent's word come after it", one.When(Provisioned{ResourceDefinitionID: "a"}).When(waits("provision:a")).Then())
	t.Run("is done by one that comes while a fault is waited out", stands(one.When(passes(fault("", "timeout"), "provision:a")).When(Provisioned{ResourceDefinitionID: "a"}), PhaseProvisioned))
	t.Run("takes a callback twice", ready.When(Provisioned{ResourceDefinitionID: "b", ResourceName: "bucket"}).Then())
	t.Run("knows its resources", elsewhere.When(Provisioned{ResourceDefinitionID: "z"}).Refuses(machine.NotFound, `"z"`))
	t.Run("is over after the end", freed.When(Provisioned{ResourceDefinitionID: "b"}).Refuses(machine.BadState, "DEPROVISIONED (1000)"))
	t.Run("that cannot be ends the transfer and undoes what was made", stands(provisioning.When(done(bucket, "provision:a")).When(fails(fault("", "no"), "provision:b")), PhaseDeprovisioning))
	t.Run("that cannot be ends it at once where nothing was made", stands(provisioning.When(fails(fault("", "no"), "provision:b")), PhaseTerminated))
	t.Run("is tried a limited number of times", func(t *testing.T) {
		s := given().When(landing("a")).State(t)
		for n := range DefaultRetries + 1 {
			report := orchestration.Retry{Report: orchestration.Report{WorkID: workID("provision:a"), Attempt: n + 1}, Error: fault("provision", "503")}
			events, err := s.Decide(epoch, Report{report})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				s = s.Evolve(epoch, e)
			}
			if n < DefaultRetries {
				s = wait(t, s, s.Deadline().Sub(epoch))
			}
		}
		if s.Phase() != PhaseTerminated {
			t.Errorf("it is %s", s.Phase())
		}
	})
}

func TestWhatIsPushedToAResource(t *testing.T) {
	pushed := Uploaded{ResourceDefinitionID: "a", Digest: "5fec", Bytes: 9, Content: raw(`{"text":"x"}`)}
	t.Run("is recorded", ready.When(pushed).Then(ResourceUploaded{DefinitionID: "a", Digest: "5fec", Bytes: 9, Content: raw(`{"text":"x"}`)}))
	t.Run("may come twice", ready.When(pushed).When(pushed).Then())
	other := pushed
	other.Digest = "d4735"
	t.Run("is not replaced", ready.When(pushed).When(other).Refuses(machine.Conflict, `"a"`))
	t.Run("has a resource", ready.When(Uploaded{ResourceDefinitionID: "z"}).Refuses(machine.NotFound, `"z"`))
	t.Run("is not taken any more once it is collected", landed.When(pushed).Refuses(machine.BadState, "COMPLETING"))
}

func TestDeprovisioning(t *testing.T) {
	t.Run("follows the end of what was provisioned", stands(deprovisioning, PhaseDeprovisioning))
	t.Run("follows a termination", stands(ready.When(Terminate{}), PhaseDeprovisioning))
	t.Run("asks for each resource that was made", stands(provisioning.When(done(bucket, "provision:a")).When(Terminate{}).When(done(`{}`, "deprovision:a", "1")), PhaseDeprovisioned))
	t.Run("may be elsewhere", deprovisioning.When(done(`{}`, "deprovision:a", "1")).When(waits("deprovision:b", "1")).Then(
		Worked{task.Waited{WorkID: workID("deprovision:b", "1"), Attempt: 1}}, Moved{Moves: to(PhaseDeprovisioningRequested), Until: lasting(DeprovisionWithin)}))
	t.Run("is done by a callback", freeing.When(Deprovisioned{ProvisionedResourceID: "b"}).Follows(
		machine.Completion{ID: machine.ID("completion", "transfer", "t-1", "DEPROVISIONED"), Type: DeprovisionedType, Value: Completion{
			ID: "t-1", Provider: "http://provider:8181", Connector: "consumer", AssetID: "asset", State: PhaseDeprovisioned, Code: 1000, Outcome: OutcomeCompleted,
			ProcessID: process("1"), AgreementID: "agreement-1", StartedAt: epoch, EndedAt: epoch,
		}},
	))
	t.Run("is called the resource's name too", stands(freeing.When(Deprovisioned{ProvisionedResourceID: "bucket"}), PhaseDeprovisioned))
	single := provisioningOf("a").When(Terminate{})
	t.Run("is called the transfer's id where there is but one", stands(single.When(Deprovisioned{ProvisionedResourceID: "t-1"}), PhaseDeprovisioned))
	t.Run("is not where there are two", deprovisioning.When(Deprovisioned{ProvisionedResourceID: "t-1"}).Refuses(machine.NotFound, "t-1"))
	t.Run("goes on where the callback says so", freeing.When(Deprovisioned{ProvisionedResourceID: "b", InProcess: true}).Then())
	t.Run("keeps what went wrong and the outcome", freeing.When(Deprovisioned{ProvisionedResourceID: "b", Error: true, ErrorMessage: "locked"}).Once().Then( // the last one is over with it
		ended(task.Completed, "deprovision:b", "1"), ResourceDeprovisioned{"b", ptr(fault("deprovision", "locked"))},
		Moved{Moves: to(PhaseDeprovisioned), Error: ptr(fault("deprovision", "locked"))}))
	t.Run("takes a callback twice", deprovisioning.When(Deprovisioned{ProvisionedResourceID: "b"}).When(Deprovisioned{ProvisionedResourceID: "b"}).Then())
	t.Run("lets the agent's word come after the callback", deprovisioning.When(Deprovisioned{ProvisionedResourceID: "b"}).When(waits("deprovision:b", "1")).Then())
	t.Run("is over at its end", freed.When(Deprovisioned{ProvisionedResourceID: "b"}).Refuses(machine.BadState, "DEPROVISIONED (1000)"))
	t.Run("is not asked for before the end", ready.When(Deprovisioned{ProvisionedResourceID: "b"}).Refuses(machine.BadState, "PROVISIONED"))
	t.Run("happens by itself", deprovisioning.When(Deprovision{}).Then())
	again := freeing.When(Deprovision{})
	t.Run("is asked for again where nobody has called back", func(t *testing.T) {
		events, err := freeing.State(t).Decide(epoch, Deprovision{})
		if got := brief(events, err); got != "task dropped: it is asked for anew; asked for deprovision:b" {
			t.Error(got)
		}
	})
	t.Run("is asked for again once", again.When(Deprovision{}).Then())
	t.Run("is done however often it was asked for", stands(again.When(done(`{}`, "deprovision:b", "2")), PhaseDeprovisioned))
	t.Run("has nothing to do where nothing was provisioned", completed.When(Deprovision{}).Refuses(machine.BadState, "nothing was provisioned"))
	t.Run("comes after the end", ready.When(Deprovision{}).Refuses(machine.BadState, "PROVISIONED does not lead to DEPROVISIONING"))
	late := landed.When(fails(fault("collect", "gone"), "collect"))
	t.Run("follows what cannot be collected", stands(late, PhaseDeprovisioning))
}

// provisioningOf is a push transfer whose resources are all there.
func provisioningOf(definitions ...string) scenario {
	s := given().When(landing(definitions...))
	for _, d := range definitions {
		s = s.When(done(bucket, "provision:"+d))
	}
	return s
}
