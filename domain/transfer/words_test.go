package transfer_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// The words that the tests of this package are written with.

var (
	given = machinetest.For(func() State { return New("t-1") })
	epoch = machinetest.Epoch
)

type scenario = machinetest.Scenario[State, Command, Event]

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func ptr[T any](v T) *T { return &v }

// pull is a transfer that we fetch, through a connector.
func pull() Initiate {
	return Initiate{Provider: "http://Provider:8181/", AssetID: "asset", Connector: "consumer", Adapter: AdapterEDC, Fingerprint: "body"}
}

// push is a transfer that the provider sends to an address of ours.
func push() Initiate {
	c := pull()
	c.TransferType, c.Destination = "HttpData-PUSH", raw(`{"type":"HttpData","baseUrl":"http://sink"}`)
	return c
}

// landing is a push transfer to what is provisioned for it: so many resources.
func landing(definitions ...string) Initiate {
	c := pull()
	c.TransferType, c.Manifest = "HttpData-PUSH", &Manifest{}
	for _, id := range definitions {
		c.Manifest.Definitions = append(c.Manifest.Definitions, Definition{ID: id, Type: "local"})
	}
	return c
}

func plain() Initiate {
	c := pull()
	c.Adapter, c.Connector = AdapterHTTP, "plain"
	return c
}

var asker = Asker{Aggregate: "orchestration", ID: "job-1", ActivityID: "root", WorkID: "w-1", Attempt: 2}

// asked is a transfer that an activity asks for.
func asked(c Initiate) Initiate {
	c.Asker = &asker
	return c
}

func workID(parts ...string) string { return task.WorkID("transfer", "t-1", parts...) }

// on is the first attempt at a task.
func on(parts ...string) orchestration.Report {
	return orchestration.Report{WorkID: workID(parts...), Attempt: 1}
}

func done(output string, parts ...string) Report {
	return Report{orchestration.Complete{Report: on(parts...), Output: raw(output)}}
}

func fails(f orchestration.Fault, parts ...string) Report {
	return Report{orchestration.Fail{Report: on(parts...), Error: f}}
}

func passes(f orchestration.Fault, parts ...string) Report {
	return Report{orchestration.Retry{Report: on(parts...), Error: f}}
}

func waits(parts ...string) Report { return Report{orchestration.Wait{Report: on(parts...)}} }

// sees is an agent that has looked and will look again.
func sees(state string, parts ...string) Report {
	return Report{orchestration.Schedule{Report: on(parts...), After: 1e9, State: raw(`{"state":"` + state + `"}`)}}
}

func fault(step, message string) orchestration.Fault {
	return orchestration.Fault{Step: step, Message: message}
}

func coded(step, message, code string) orchestration.Fault {
	return orchestration.Fault{Step: step, Message: message, Code: code}
}

// access is what the negotiation grants the n-th time.
func access(n string) Granted {
	return Granted{
		Negotiation: "consumer http://provider:8181", Round: 1, NegotiationID: "negotiation-" + n, AssetID: "asset", AgreementID: "agreement-" + n,
		CounterPartyID: "provider", Constraints: "region eq eu", EDR: &EDR{ProcessID: "edr-" + n, Data: raw(`{"$sealed":"k.` + n + `"}`)},
	}
}

func to(states ...Phase) []Move {
	var l []Move
	for _, p := range states {
		l = append(l, Move{State: p, Code: int(p)})
	}
	return l
}

// passed marks all but the last state as inferred.
func passed(states ...Phase) []Move {
	l := to(states...)
	for i := range l[:len(l)-1] {
		l[i].Inferred = true
	}
	return l
}

// process is our id of the n-th process at the connector.
func process(n string) string {
	return machine.ID("process", "t-1", strconv.FormatInt(epoch.UnixMicro(), 10), n)
}

func ended(how task.Ending, parts ...string) Event {
	return Worked{task.Ended{WorkID: workID(parts...), Attempt: 1, How: how}}
}

func failed(f orchestration.Fault, parts ...string) Event {
	return Worked{task.Ended{WorkID: workID(parts...), Attempt: 1, How: task.Failed, Error: &f}}
}

func dropped(why string, parts ...string) Event {
	return Worked{task.Ended{WorkID: workID(parts...), Attempt: 1, How: task.Dropped, Error: &orchestration.Fault{Message: why}}}
}

// The states that scenarios begin in.
var (
	acquiring = given().When(pull())
	started   = acquiring.When(access("1"))
	suspended = started.When(Suspend{Reason: "asleep"})

	requesting  = given().When(push()).When(access("1"))
	requested   = requesting.When(done(`{"processId":"`+process("1")+`"}`, "request", "1"))
	sending     = requested.When(Observed{ProcessID: process("1"), State: "STARTED"})
	suspending  = sending.When(Suspend{})
	paused      = suspending.When(Observed{ProcessID: process("1"), State: "SUSPENDED"})
	resuming    = paused.When(Resume{})
	resumed     = resuming.When(done(`{}`, "resume", "2"))
	terminating = sending.When(Terminate{Reason: "enough", By: "kim"})

	provisioning   = given().When(landing("a", "b"))
	elsewhere      = provisioning.When(done(`{"resource":{"dataAddress":{"type":"HttpData"}}}`, "provision:a")).When(waits("provision:b"))
	ready          = elsewhere.When(Provisioned{ResourceDefinitionID: "b", ResourceName: "bucket"})
	landed         = ready.When(access("1")).When(done(`{}`, "request", "1")).When(Observed{Token: process("1"), State: "COMPLETED"})
	deprovisioning = landed.When(done(`{"value":"x"}`, "collect"))
	freeing        = deprovisioning.When(done(`{}`, "deprovision:a", "1")).When(waits("deprovision:b", "1"))
	freed          = freeing.When(Deprovisioned{ProvisionedResourceID: "b"})
	completed      = started.When(done(`{"value":"x"}`, "fetch", "1"))
	terminated     = started.When(Terminate{Reason: "enough", By: "kim"})
)

// stands is the test that everything so far leads to a state.
func stands(s scenario, want Phase) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if got := s.State(t).Phase(); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}

func lasting(d time.Duration) time.Time { return epoch.Add(d) }
