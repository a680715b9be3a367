package transfer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/machine/machinetest"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

// initiated is what a command's beginning is recorded as.
func initiated(c Initiate) Initiated {
	e := Initiated{
		Provider: "http://provider:8181", Connector: c.Connector, Adapter: c.Adapter, AssetID: c.AssetID, Way: Pull, TransferType: "HttpData-PULL",
		Deadline: epoch.Add(DefaultDeadline), Fingerprint: "body", Asker: c.Asker,
	}
	return e
}

func acquires(n int, need string, ms ...Move) Acquiring {
	return Acquiring{Moves: ms, Negotiation: "consumer http://provider:8181", Need: need, Acquisition: n, Until: lasting(AcquireWithin)}
}

// fetches asks for the document, the n-th time.
func fetches(n, edr string, retries int) Event {
	in := `{"connector":"consumer","provider":"http://provider:8181","counterPartyId":"provider","adapter":"edc","assetId":"asset","edr":{"$sealed":"k.` + edr + `"}}`
	return Worked{task.Requested{Spec: task.Spec{
		WorkID: workID("fetch", n), Name: "fetch", Type: WorkFetch, Input: raw(in), Deadline: epoch.Add(DefaultDeadline),
		Policy: task.Policy{Retries: retries, AttemptTimeout: definition.Duration(FetchWithin)},
	}}}
}

func grants(n string, ms ...Move) AccessGranted {
	g := access(n)
	return AccessGranted{Moves: ms, NegotiationID: g.NegotiationID, Round: 1, AgreementID: g.AgreementID, CounterPartyID: "provider", Constraints: g.Constraints, EDR: g.EDR}
}

// where is what is said of a transfer with every fault.
const where = " (provider http://provider:8181, asset asset, offered under region eq eu, access acquired: 1)"

func TestAPullTransfer(t *testing.T) {
	t.Run("acquires access with an EDR", given().When(pull()).Then(initiated(pull()), acquires(1, NeedEDR, to(PhaseProvisioned)...)))
	t.Run("is started by that alone, and fetches", acquiring.When(access("1")).
		Then(grants("1", to(PhaseRequesting, PhaseStarted)...), fetches("1", "1", DefaultRetries)))
	t.Run("is completed by the document", started.When(done(`{"value":"x"}`, "fetch", "1")).
		Then(ended(task.Completed, "fetch", "1"), Ended{Moves: to(PhaseCompleting, PhaseCompleted), Outcome: OutcomeCompleted, Output: raw(`{"value":"x"}`)}))
	t.Run("is granted access at once where the provider is a plain one", stands(given().When(plain()), PhaseStarted))
	t.Run("tries again by itself what passes", stands(started.When(passes(fault("fetch", "503"), "fetch", "1")), PhaseStarted))
	t.Run("ends where the document cannot be had", started.When(fails(fault("parse", "no JSON"), "fetch", "1")).
		Then(failed(fault("parse", "no JSON"), "fetch", "1"), Ended{
			Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "parse: no JSON" + where, Error: ptr(fault("parse", "no JSON"+where)),
		}))
	t.Run("takes an answer that comes twice once", started.When(access("1")).Then())
	t.Run("takes another answer for none", started.When(access("2")).Then())
	t.Run("is not terminated once it is completed", completed.When(Terminate{}).Refuses(machine.BadState, "COMPLETED (800)"))
	t.Run("takes no report after the end", completed.When(fails(fault("", "late"), "fetch", "7")).Refuses(machine.BadState, "COMPLETED (800)"))
	t.Run("takes the report that ended it twice", completed.When(done(`{"value":"x"}`, "fetch", "1")).Then())
}

func TestTheSameTransferAgain(t *testing.T) {
	other := pull()
	other.Fingerprint = "another"
	t.Run("changes nothing", started.When(pull()).Then())
	t.Run("changes nothing after the end", completed.When(pull()).Then())
	begun := machinetest.For(func() State { return New(asker.Transfer()) })().When(asked(pull()))
	offered := asked(pull())
	offered.Deadline, offered.Fingerprint = definition.Duration(time.Hour), "what is left of the time"
	t.Run("of an activity that is offered anew changes nothing", begun.When(offered).Then())
	t.Run("with another body is a conflict", started.When(other).Refuses(machine.Conflict, "t-1", "another body"))
}

func TestADeadEDR(t *testing.T) {
	dead := coded("fetch", "403", "edr-dead")
	reported := AccessLost{ProcessID: "edr-1", Error: dead}
	t.Run("is reported and replaced", started.When(fails(dead, "fetch", "1")).
		Then(failed(dead, "fetch", "1"), reported, acquires(2, NeedEDR)))
	anew := started.When(fails(dead, "fetch", "1"))
	t.Run("names its process", anew.Follows(
		machine.Send{
			ID: machine.ID("release", "t-1", "1"), Aggregate: "negotiation", Key: "consumer http://provider:8181", Type: "negotiation.release.v1",
			Value: raw(`{"waiter":"t-1","process":"edr-1","dead":true,"reason":"403"}`),
		},
		machine.Send{
			ID: machine.ID("acquire", "t-1", "2"), Aggregate: "negotiation", Key: "consumer http://provider:8181", Type: "negotiation.acquire.v1",
			Value: raw(`{"provider":"http://provider:8181","connector":"consumer","assetId":"asset","need":"edr","waiter":"t-1",
				"deadline":"2026-01-03T03:03:50Z","reply":{"aggregate":"transfer","id":"t-1"}}`),
		},
	))
	t.Run("is not taken for a new one", anew.When(access("1")).Then())
	refreshed := access("1")
	refreshed.EDR = &EDR{ProcessID: "edr-1", Data: raw(`{"$sealed":"k.another"}`)}
	t.Run("of a process that was refreshed meanwhile is replaced by its new token", stands(anew.When(refreshed).When(done(`{}`, "fetch", "2")), PhaseCompleted))
	t.Run("costs nothing but the time", anew.When(access("2")).Then(grants("2"), fetches("2", "2", DefaultRetries)))
	often := anew.When(access("2")).When(fails(dead, "fetch", "2")).When(access("3")).When(fails(dead, "fetch", "3")).When(access("4")).When(fails(dead, "fetch", "4"))
	t.Run("is replaced three times", stands(often, PhaseTerminated))
	t.Run("of a plain provider is a fault", stands(given().When(plain()).When(fails(dead, "fetch", "1")), PhaseTerminated))
}

func TestASuspendedPullTransfer(t *testing.T) {
	t.Run("lets its fetching rest and tells nobody", started.When(Suspend{Reason: "asleep", By: "kim"}).
		Then(dropped("the transfer is suspended", "fetch", "1"), Moved{Moves: to(PhaseSuspending, PhaseSuspended), Reason: "asleep", By: "kim"}))
	t.Run("takes it up again", suspended.When(Resume{By: "kim"}).
		Then(Moved{Moves: to(PhaseResuming, PhaseResumed, PhaseStarted), By: "kim"}, fetches("2", "1", DefaultRetries)))
	t.Run("cannot be suspended before it is started", acquiring.When(Suspend{}).Refuses(machine.BadState, "PROVISIONED does not lead to SUSPENDING"))
	t.Run("cannot be resumed before it is suspended", acquiring.When(Resume{}).Refuses(machine.BadState, "PROVISIONED does not lead to RESUMING"))
	t.Run("is terminated without a word to the connector", suspended.When(Terminate{Reason: "enough"}).
		Then(Ended{Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "enough"}))
	anew := started.When(fails(coded("fetch", "403", "edr-dead"), "fetch", "1")).When(Suspend{})
	t.Run("may be granted access while it rests", anew.When(access("2")).Then(grants("2")))
	t.Run("waits for access when it goes on", anew.When(Resume{}).Then(Moved{Moves: to(PhaseResuming, PhaseResumed, PhaseStarted)}))
}

func TestRefusedAccess(t *testing.T) {
	const why = "terminated (asset \"asset\" of http://provider:8181; offered with region eq us; rounds tried: 3)"
	no := Refused{Negotiation: "consumer http://provider:8181", Error: fault("negotiation", why), Rounds: 3, Constraints: "region eq us"}
	end := Ended{Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "negotiation: " + why, Error: ptr(fault("negotiation", why)), Refused: true}
	t.Run("ends it in the negotiation's words", acquiring.When(no).Then(end))
	t.Run("changes nothing where none is waited for", started.When(no).Then())
	t.Run("is waited for no longer than a time", acquiring.After(AcquireWithin).When(Wake{}).Then(Ended{
		Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Again: true,
		Reason: "deadline: PROVISIONED did not end in time: nothing was heard of negotiation consumer http://provider:8181 (provider http://provider:8181, asset asset, access acquired: 1)",
		Error:  ptr(fault("deadline", "PROVISIONED did not end in time: nothing was heard of negotiation consumer http://provider:8181 (provider http://provider:8181, asset asset, access acquired: 1)")),
	}))
}

// answer is what follows for whoever asked.
func answer(typ string, value any) machine.Effect {
	return machine.Send{ID: machine.ID("answer", "t-1"), Aggregate: "orchestration", Key: "job-1", Type: typ, Value: value}
}

// answers is the test that the last command answers whoever asked so; nil: not at all.
func answers(s scenario, c Command, want machine.Effect) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		state := s.State(t)
		events, err := state.Decide(epoch, c)
		if err != nil {
			t.Fatal(err)
		}
		var got []machine.Effect
		for _, e := range events {
			for _, f := range state.Follow(epoch, e) {
				if send, ok := f.(machine.Send); ok && send.Aggregate == "orchestration" {
					got = append(got, f)
				}
			}
			state = state.Evolve(epoch, e)
		}
		a, errA := json.Marshal(got)
		b, errB := json.Marshal([]machine.Effect{want})
		if want == nil {
			b = []byte("null")
		}
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("whoever asked is answered\n%s, not\n%s", a, b)
		}
	}
}

func TestWhoeverAsked(t *testing.T) {
	begun := given().When(asked(pull()))
	fetching := begun.When(access("1"))
	report := orchestration.Report{WorkID: "w-1", Attempt: 2}
	t.Run("is handed the output and what it spawns", answers(fetching,
		Report{orchestration.Complete{Report: on("fetch", "1"), Output: raw(`{"value":"x"}`), Key: "n-1", Spawn: []definition.Activity{{ID: "n-2", Type: "retrieve"}}}},
		answer("work.complete.v1", orchestration.Complete{Report: report, Output: raw(`{"value":"x"}`), Key: "n-1", Spawn: []definition.Activity{{ID: "n-2", Type: "retrieve"}}})))
	t.Run("tries again what passes, with another transfer", answers(fetching,
		Report{orchestration.Retry{Report: on("fetch", "1"), Error: fault("fetch", "429"), After: definition.Duration(time.Minute)}},
		answer("work.retry.v1", orchestration.Retry{Report: report, Error: fault("fetch", "429"+where), After: definition.Duration(time.Minute)})))
	t.Run("is told what cannot work", answers(fetching, fails(fault("parse", "no JSON"), "fetch", "1"),
		answer("work.fail.v1", orchestration.Fail{Report: report, Error: fault("parse", "no JSON"+where)})))
	t.Run("is told that somebody has terminated it", answers(fetching, Terminate{By: "kim"},
		answer("work.fail.v1", orchestration.Fail{Report: report, Error: fault("terminate", "terminated by kim")})))
	t.Run("is told nothing where it does not want it any more", answers(fetching, Terminate{By: ByAsker}, nil))
	t.Run("keeps what is large under its own id", func(t *testing.T) {
		for _, w := range fetching.State(t).Follow(epoch, fetches("1", "1", 0)) {
			if w, ok := w.(machine.Work); ok && w.Owner != "" && w.Owner != "job-1" {
				t.Error(w.Owner)
			}
		}
	})
}

func TestWhatCannotBeATransfer(t *testing.T) {
	with := func(change func(*Initiate)) Initiate {
		c := asked(pull())
		change(&c)
		return c
	}
	// It is an end, not a refusal: whoever asked has to be answered.
	ends := func(c Initiate, want string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			events, err := given().State(t).Decide(epoch, c)
			if err != nil {
				t.Fatal(err)
			}
			end, ok := events[len(events)-1].(Ended)
			if !ok || end.Outcome != OutcomeTerminated || end.Error == nil || end.Error.Step+": "+end.Error.Message != end.Reason || !strings.Contains(end.Reason, want) || strings.Contains(end.Reason, "secret") {
				t.Errorf("it ended with %+v, want %q", end, want)
			}
		}
	}
	t.Run("an address that is not allowed", ends(with(func(c *Initiate) { c.Problem = ptr(fault("address", "host provider is not allowed")) }), "address: host provider is not allowed"))
	t.Run("an address that is none", ends(with(func(c *Initiate) { c.Provider = "ftp://provider" }), "address: provider: the address"))
	t.Run("an address with a password, which nobody sees", ends(with(func(c *Initiate) { c.Provider = "http://u:secret@provider" }), "provider …@provider"))
	t.Run("an address that is endless", func(t *testing.T) {
		events, err := given().State(t).Decide(epoch, with(func(c *Initiate) { c.Provider = "http://" + strings.Repeat("a", 1<<20) }))
		if end, ok := events[len(events)-1].(Ended); err != nil || !ok || len(end.Reason) > 8<<10 {
			t.Errorf("it ends with %d bytes", len(end.Reason))
		}
	})
	t.Run("no asset", ends(with(func(c *Initiate) { c.AssetID = "" }), "request: assetId is empty"))
	t.Run("an asset that cannot stand in an id", ends(with(func(c *Initiate) { c.AssetID = "a\x1fb" }), "no control characters"))
	t.Run("a push from a plain provider", ends(with(func(c *Initiate) { c.Adapter, c.TransferType = "", "HttpData-PUSH" }), "is no connector"))
	t.Run("a push to nowhere", ends(with(func(c *Initiate) { c.TransferType = "HttpData-push" }), "neither a destination nor a manifest"))
	t.Run("a destination that is none", ends(with(func(c *Initiate) { c.Destination = raw(`"here"`) }), "destination is not an object"))
	t.Run("properties that are none", ends(with(func(c *Initiate) { c.Properties = raw(`7`) }), "properties is not an object"))
	t.Run("two resources of one id", ends(with(func(c *Initiate) { *c = asked(landing("a", "a")) }), `the id "a" is there already`))
	t.Run("a resource without a type", ends(with(func(c *Initiate) { *c = asked(landing("a")); c.Manifest.Definitions[0].Type = "" }), "no id or no type"))
	t.Run("too many resources", ends(with(func(c *Initiate) { *c = asked(landing(make([]string, MaxDefinitions+1)...)) }), "over the limit of 100"))
	t.Run("endless retries", ends(with(func(c *Initiate) { c.Retry = &definition.Retry{Limit: ptr(1001)} }), "retry.limit 1001"))
}

func TestDeadlines(t *testing.T) {
	hasty := pull()
	hasty.Deadline = definition.Duration(time.Minute)
	late := given().When(hasty).When(access("1")).After(time.Minute).When(Wake{})
	t.Run("the whole has one", late.Then(
		dropped("the transfer is terminated", "fetch", "1"),
		Ended{
			Moves: to(PhaseTerminating, PhaseTerminated), Outcome: OutcomeTerminated, Reason: "deadline: the transfer did not end within 1m0s; it was STARTED" + where,
			Error: ptr(fault("deadline", "the transfer did not end within 1m0s; it was STARTED"+where)),
		}))
	for name, c := range map[string]struct {
		s      scenario
		within time.Duration
	}{
		"PROVISIONING":           {provisioning, ProvisionWithin},
		"PROVISIONING_REQUESTED": {elsewhere, ProvisionWithin},
		"PROVISIONED":            {acquiring, AcquireWithin},
		"REQUESTED":              {requested, StartWithin},
		"SUSPENDING":             {suspending, SuspendWithin},
		"RESUMING":               {resuming, ResumeWithin},
		"RESUMED":                {resumed, ResumeWithin},
	} {
		t.Run(name+" has one", func(t *testing.T) {
			if got := c.s.State(t).Deadline(); got.After(lasting(c.within)) || got.IsZero() {
				t.Errorf("it waits until %s", got)
			}
			s := wait(t, c.s.State(t), c.within)
			if s.Phase() < PhaseTerminating {
				t.Errorf("it is %s", s.Phase())
			}
		})
	}
	t.Run("one of a state in which work is offered ends too", func(t *testing.T) {
		if s := wait(t, requesting.State(t), RequestWithin+TerminateWithin); s.Phase() != PhaseTerminated {
			t.Errorf("it is %s", s.Phase())
		}
	})
	t.Run("TERMINATING has one", func(t *testing.T) {
		if s := wait(t, terminating.State(t), TerminateWithin); s.Phase() != PhaseTerminated {
			t.Errorf("it is %s", s.Phase())
		}
	})
	t.Run("DEPROVISIONING_REQUESTED has one", func(t *testing.T) {
		if s := wait(t, freeing.State(t), DeprovisionWithin); s.Phase() != PhaseDeprovisioned || s.Outcome() != OutcomeCompleted {
			t.Errorf("it is %s", s.Phase())
		}
	})
}

// wait lets everything happen that is due within a time.
func wait(t *testing.T, s State, d time.Duration) State {
	t.Helper()
	for due := s.Deadline(); !due.IsZero() && !due.After(lasting(d)); due = s.Deadline() {
		events, err := s.Decide(due, Wake{})
		if err != nil || len(events) == 0 {
			t.Fatalf("nothing happens at %s: %v", due, err)
		}
		for _, e := range events {
			s = s.Evolve(due, e)
		}
	}
	return s
}
