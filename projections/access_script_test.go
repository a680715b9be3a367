package projections

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/task"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// sealedToken is how an EDR's token stands on the log.
const (
	sealedToken = `{"$sealed":"k1.bm90IHJlYWxseSBzZWFsZWQ"}`
	address     = "http://provider1:8282/protocol/2025-1"
	party       = "consumer " + address
)

func newScriptOf(t testing.TB, aggregate string, partition int32) *script {
	t.Helper()
	s := newScript(t, partition)
	s.aggregate = aggregate
	return s
}

func (s *script) transfer(id, cause string, input int64, events ...transfer.Event) {
	s.t.Helper()
	for _, e := range events {
		typ, data, err := schemas.EncodeTransferEvent(e)
		if err != nil {
			s.t.Fatal(err)
		}
		s.raw(id, cause, input, typ, data)
	}
}

func (s *script) negotiation(cause string, input int64, events ...negotiation.Event) {
	s.t.Helper()
	for _, e := range events {
		typ, data, err := schemas.EncodeNegotiationEvent(e)
		if err != nil {
			s.t.Fatal(err)
		}
		s.raw(party, cause, input, typ, data)
	}
}

func tmoves(phases ...transfer.Phase) (l []transfer.Move) {
	for _, p := range phases {
		l = append(l, transfer.Move{State: p, Code: int(p)})
	}
	return l
}

func nmoves(phases ...negotiation.Phase) (l []negotiation.Move) {
	for _, p := range phases {
		l = append(l, negotiation.Move{State: p, Code: int(p)})
	}
	return l
}

// job and the work of its node, and the transfer of the work's first attempt.
func workOf(job, node string) string     { return machine.ID("work", job, node) }
func transferOf(job, node string) string { return machine.ID("transfer", workOf(job, node), "1") }

// retrieving appends a job whose one activity waits for its transfer; done completes it.
func (s *script) retrieving(id, typ string) {
	plan := planOf(s.t, definition.Orchestration{Type: "fetching", Version: 1, Activities: []definition.Activity{{ID: "get", Type: typ}, {ID: "after", Type: "noop", DependsOn: definition.Names{"get"}}}})
	s.event(id, machine.ID("start", id), s.next(), orchestration.Started{Type: "fetching", Run: 1, Plan: plan, Input: json.RawMessage(`{}`), Deadline: s.at.Add(time.Hour)})
	s.event(id, machine.ID("start", id), s.command-1, orchestration.Requested{ActivityID: "get", Attempt: 1, WorkID: workOf(id, "get"), Deadline: s.at.Add(time.Hour)})
	s.event(id, machine.ID("start", id), s.command-1, orchestration.Waited{ActivityID: "get", Attempt: 1, Until: s.at.Add(time.Hour)})
}

func (s *script) retrieved(id, output string) {
	s.event(id, "done", s.next(), orchestration.Completed{ActivityID: "get", Attempt: 1, Output: json.RawMessage(output)})
}

// asked begins a pull transfer for a job's activity, as far as the wish for access.
func (s *script) asked(job string) string {
	id := transferOf(job, "get")
	s.transfer(id, "initiate-"+id, s.next(), transfer.Initiated{
		Provider: address, Connector: "consumer", Adapter: "edc", AssetID: "asset-1", Way: transfer.Pull, TransferType: "HttpData-PULL",
		Deadline: s.at.Add(time.Hour), Asker: &transfer.Asker{Aggregate: "orchestration", ID: job, ActivityID: "get", WorkID: workOf(job, "get"), Attempt: 1},
	}, transfer.Acquiring{Moves: tmoves(transfer.PhaseProvisioned), Negotiation: party, Need: "edr", Acquisition: 1, Until: s.at.Add(10 * time.Minute)})
	return id
}

// pulled goes on to its end: what it fetches fails once.
func (s *script) pulled(id string) {
	fetch := task.WorkID("transfer", id, "fetch")
	s.transfer(id, "granted", s.next(), transfer.AccessGranted{
		Moves: tmoves(transfer.PhaseRequesting, transfer.PhaseStarted), NegotiationID: "theirs-1", Round: 2, AgreementID: "agreement-1",
		CounterPartyID: "provider1", Constraints: "region eq eu", EDR: &transfer.EDR{ProcessID: "process-1", Data: json.RawMessage(sealedToken), ExpiresAt: s.at.Add(time.Hour)},
	}, transfer.Worked{Event: task.Requested{Spec: task.Spec{
		WorkID: fetch, Name: "fetch", Type: "fetch", Input: json.RawMessage(`{"assetId":"asset-1","edr":` + sealedToken + `}`), Deadline: s.at.Add(time.Hour),
	}}})
	s.transfer(id, "retry", s.next(), transfer.Worked{Event: task.Claimed{WorkID: fetch, Attempt: 1, Agent: "agent-1", Lease: s.at.Add(time.Minute)}},
		transfer.Worked{Event: task.Retrying{WorkID: fetch, Attempt: 1, Error: orchestration.Fault{Step: "fetch", Message: "503"}, At: s.at.Add(time.Second)}})
	s.transfer(id, "timer", -1, transfer.Worked{Event: task.Attempted{WorkID: fetch, Attempt: 2, Placement: "serve-1"}})
	s.transfer(id, "done", s.next(), transfer.Worked{Event: task.Ended{WorkID: fetch, Attempt: 2, How: task.Completed}}, transfer.Ended{
		Moves: tmoves(transfer.PhaseCompleting, transfer.PhaseCompleted), Outcome: transfer.OutcomeCompleted, Output: json.RawMessage(`{"value":"The quick"}`),
	})
}

// reused appends a whole pull transfer with an EDR that is there, fetched by an agent of the owner's own
// process.
func (s *script) reused(id, job string) {
	fetch := task.WorkID("transfer", id, "fetch")
	s.transfer(id, machine.ID("initiate", id), s.next(), transfer.Initiated{
		Provider: address, Connector: "consumer", Adapter: "edc", AssetID: "asset-1", Way: transfer.Pull, TransferType: "HttpData-PULL", Fingerprint: "0123456789abcdef",
		Deadline: s.at.Add(time.Hour), Asker: &transfer.Asker{Aggregate: "orchestration", ID: job, ActivityID: "get", WorkID: machine.ID(id), Attempt: 1},
	}, transfer.Acquiring{Moves: tmoves(transfer.PhaseProvisioned), Negotiation: party, Need: "edr", Acquisition: 1, Until: s.at.Add(10 * time.Minute)})
	s.transfer(id, machine.ID("granted", id), s.next(), transfer.AccessGranted{
		Moves: tmoves(transfer.PhaseRequesting, transfer.PhaseStarted), NegotiationID: "theirs-1", Round: 2, AgreementID: "agreement-1",
		CounterPartyID: "provider1", EDR: &transfer.EDR{ProcessID: "process-1", Data: json.RawMessage(sealedToken), ExpiresAt: s.at.Add(time.Hour)},
	}, transfer.Worked{Event: task.Requested{Spec: task.Spec{
		WorkID: fetch, Name: "fetch", Type: "fetch", Input: json.RawMessage(`{"connector":"consumer","provider":"` + address + `","assetId":"asset-1","as":"parts-tree","edr":` + sealedToken + `}`), Deadline: s.at.Add(time.Hour),
	}, Placement: "serve-1"}})
	s.transfer(id, machine.ID("done", id), -1, transfer.Worked{Event: task.Ended{WorkID: fetch, Attempt: 1, How: task.Completed}}, transfer.Ended{
		Moves: tmoves(transfer.PhaseCompleting, transfer.PhaseCompleted), Outcome: transfer.OutcomeCompleted, Output: json.RawMessage(`{"value":"The quick","order":1}`),
	})
}

// pushed appends a push transfer that somebody outside asked for: it is provisioned by somebody who
// calls back, suspended and resumed, ended by the provider, and undone but for one resource.
func (s *script) pushed(id string) {
	manifest := &transfer.Manifest{}
	if err := json.Unmarshal([]byte(`{"definitions":[{"id":"d1","type":"http","secretKey":`+sealedToken+`},{"id":"d2","type":"directory"}]}`), manifest); err != nil {
		s.t.Fatal(err)
	}
	cause := machine.ID("initiate", id)
	s.transfer(id, cause, s.next(), transfer.Initiated{
		Provider: address, Connector: "consumer", Adapter: "edc", AssetID: "asset-2", Way: transfer.Push, TransferType: "HttpData-PUSH",
		Destination: json.RawMessage(`{"type":"HttpData","authCode":` + sealedToken + `}`), Manifest: manifest, Deadline: s.at.Add(time.Hour),
	}, transfer.Moved{Moves: tmoves(transfer.PhaseProvisioning)}, transfer.ResourceProvisioned{DefinitionID: "d2", Resource: json.RawMessage(`{"resourceName":"x"}`), Secret: json.RawMessage(sealedToken)},
		transfer.Moved{Moves: tmoves(transfer.PhaseProvisioningRequested), Until: s.at.Add(time.Hour)})
	s.transfer(id, "provisioned", s.next(), transfer.ResourceProvisioned{DefinitionID: "d1", Resource: json.RawMessage(`{"contentDataAddress":{"token":` + sealedToken + `}}`)},
		transfer.Acquiring{Moves: tmoves(transfer.PhaseProvisioned), Negotiation: party, Need: "agreement", Acquisition: 1, Until: s.at.Add(time.Hour)})
	s.transfer(id, "granted", s.next(), transfer.AccessGranted{Moves: tmoves(transfer.PhaseRequesting), NegotiationID: "theirs-2", Round: 1, AgreementID: "agreement-2"},
		transfer.Requested{Moves: tmoves(transfer.PhaseRequested), ProcessID: "process-2", Until: s.at.Add(time.Hour)})
	s.transfer(id, "observed", s.next(), transfer.Moved{Moves: tmoves(transfer.PhaseStarted), By: "connector"})
	s.transfer(id, machine.ID("suspend", id), s.next(), transfer.Moved{Moves: tmoves(transfer.PhaseSuspending), Reason: "provider asleep", By: "ada"})
	s.transfer(id, "suspended", s.next(), transfer.Moved{Moves: tmoves(transfer.PhaseSuspended)})
	s.transfer(id, machine.ID("resume", id), s.next(), transfer.Moved{Moves: tmoves(transfer.PhaseResuming), By: "ada"})
	s.transfer(id, "resumed", s.next(), transfer.Moved{Moves: []transfer.Move{{State: transfer.PhaseResumed, Code: 725, Inferred: true}, {State: transfer.PhaseStarted, Code: 600}}})
	fault := orchestration.Fault{Step: "request", Message: "the provider has terminated it", Code: "refused"}
	s.transfer(id, "terminated", s.next(), transfer.ResourceUploaded{DefinitionID: "d2", Digest: "00ff", Bytes: 43, Content: json.RawMessage(`{"value":1}`)},
		transfer.Ended{Moves: tmoves(transfer.PhaseTerminating, transfer.PhaseTerminated), Outcome: transfer.OutcomeTerminated, Reason: "request: the provider has terminated it", By: "connector", Error: &fault},
		transfer.Moved{Moves: tmoves(transfer.PhaseDeprovisioning)}, transfer.ResourceDeprovisioned{DefinitionID: "d2"},
		transfer.Moved{Moves: tmoves(transfer.PhaseDeprovisioningRequested), Until: s.at.Add(time.Hour)})
	left := orchestration.Fault{Step: "deprovision", Message: "nobody called back"}
	s.transfer(id, "timer", -1, transfer.ResourceDeprovisioned{DefinitionID: "d1", Error: &left}, transfer.Moved{Moves: tmoves(transfer.PhaseDeprovisioned), Error: &left})
}

// roundOf is our id of a round.
func roundOf(asset string, round int) string {
	return machine.ID("negotiation", party, asset, itoa(round))
}

func (s *script) work(asset, typ, n string) (task.Requested, string) {
	id := task.WorkID("negotiation", party, typ, asset, n)
	return task.Requested{Spec: task.Spec{WorkID: id, Name: typ + " " + asset, Type: typ, Input: json.RawMessage(`{"assetId":"` + asset + `","edr":` + sealedToken + `}`), Deadline: s.at.Add(time.Hour)}}, id
}

// started begins a round.
func (s *script) started(asset string, round int) negotiation.Started {
	return negotiation.Started{
		AssetID: asset, Round: round, ID: roundOf(asset, round), Tried: round, Moves: nmoves(negotiation.PhaseInitial, negotiation.PhaseRequesting), CounterPartyID: "provider1",
		Offer: negotiation.Offer{AssetID: asset, OfferID: "offer-1", Policy: json.RawMessage(`{"@type":"Offer"}`), Constraints: "region eq eu"}, Until: s.at.Add(time.Minute), Deadline: s.at.Add(time.Hour),
	}
}

// negotiated appends the negotiations of asset-1: two wait, the first round is terminated by the
// provider, the second brings access. A third wish is granted at once, a fourth waits for a type.
func (s *script) negotiated(waiters ...string) {
	for i, w := range waiters {
		wish := negotiation.Wish{Waiter: w, AssetID: "asset-1", Need: negotiation.NeedEDR, Deadline: s.at.Add(time.Hour), Reply: &negotiation.Reply{Aggregate: "transfer", ID: w}}
		if i == 0 {
			wish.Reply = nil // somebody outside
		}
		s.negotiation(machine.ID("acquire", w), s.next(), negotiation.Joined{Wish: wish})
	}
	catalog, id := s.work("asset-1", "catalog", "1")
	s.negotiation(machine.ID("acquire", waiters[0]), s.command-1, negotiation.CatalogRequested{AssetID: "asset-1"}, negotiation.Worked{Event: catalog})
	request, requestID := s.work("asset-1", "negotiation-request", "1")
	s.negotiation("catalog", s.next(), negotiation.Worked{Event: task.Ended{WorkID: id, Attempt: 1, How: task.Completed}},
		negotiation.CatalogReceived{AssetID: "asset-1", ParticipantID: "provider1", Offers: []negotiation.Offer{{AssetID: "asset-1", OfferID: "offer-1"}}, Until: s.at.Add(time.Minute)},
		s.started("asset-1", 1), negotiation.Worked{Event: request})
	s.negotiation("requested", s.next(), negotiation.Worked{Event: task.Ended{WorkID: requestID, Attempt: 1, How: task.Completed}},
		negotiation.Moved{AssetID: "asset-1", Round: 1, Moves: nmoves(negotiation.PhaseRequested), NegotiationID: "theirs-0", Until: s.at.Add(time.Minute)})
	again, againID := s.work("asset-1", "negotiation-request", "2")
	s.negotiation("observed", s.next(),
		negotiation.Moved{AssetID: "asset-1", Round: 1, Moves: nmoves(negotiation.PhaseTerminating, negotiation.PhaseTerminated), Reason: "no reason given", By: negotiation.ByProvider},
		s.started("asset-1", 2), negotiation.Worked{Event: again})
	s.negotiation("faulty", s.next(), negotiation.Worked{Event: task.Retrying{WorkID: againID, Attempt: 1, Error: orchestration.Fault{Step: "negotiation", Message: "502"}, At: s.at.Add(time.Second)}})
}

// granted ends it well.
func (s *script) granted(waiters ...string) {
	edr, edrID := s.work("asset-1", "edr-request", "1")
	s.negotiation("finalized", s.next(), negotiation.Moved{
		AssetID: "asset-1", Round: 2, Moves: append([]negotiation.Move{{State: negotiation.PhaseRequested, Code: 200, Inferred: true}}, nmoves(negotiation.PhaseAgreed, negotiation.PhaseVerifying, negotiation.PhaseVerified, negotiation.PhaseFinalized)...),
		NegotiationID: "theirs-1", AgreementID: "agreement-1", Until: s.at.Add(24 * time.Hour),
	}, negotiation.EDRRequested{AssetID: "asset-1", Round: 2, ProcessID: "process-1", Deadline: s.at.Add(time.Minute)}, negotiation.Worked{Event: edr})
	s.negotiation("edr", s.next(), negotiation.Worked{Event: task.Ended{WorkID: edrID, Attempt: 1, How: task.Completed}},
		negotiation.EDRGranted{AssetID: "asset-1", Round: 2, ProcessID: "process-1", Data: json.RawMessage(sealedToken), ExpiresAt: s.at.Add(time.Hour), Until: s.at.Add(50 * time.Minute), EvictAt: s.at.Add(2 * time.Hour)},
		negotiation.Served{AssetID: "asset-1", Round: 2, AgreementID: "agreement-1", ProcessID: "process-1", Waiters: waiters})
	s.negotiation(machine.ID("acquire", "late"), s.next(), negotiation.Served{
		AssetID: "asset-1", Round: 2, AgreementID: "agreement-1", ProcessID: "process-1", Waiters: []string{"late"}, Wish: &negotiation.Wish{Waiter: "late", AssetID: "asset-1", Need: negotiation.NeedEDR},
	})
	s.negotiation(machine.ID("acquire", "typed"), s.next(), negotiation.Joined{Wish: negotiation.Wish{Waiter: "typed", AssetType: "registry", Need: negotiation.NeedEDR, Reply: &negotiation.Reply{Aggregate: "orchestration", ID: "job-typed", ActivityID: "get"}}})
	s.negotiation("listed", s.next(), negotiation.Listed{Waiter: "typed", AssetType: "registry", Assets: []string{"registry-1", "registry-2"}}, s.started("registry-1", 1))
}

// streams are the logs of a job that fetches, of one that acquires, of a push, and of the negotiations.
func streams(t testing.TB) map[string][]*kgo.Record {
	t.Helper()
	jobs, transfers, negotiations := newScript(t, 0), newScriptOf(t, schemas.AggregateTransfer, 0), newScriptOf(t, schemas.AggregateNegotiation, 0)
	for _, j := range []string{"job-ended", "job-waiting"} {
		jobs.retrieving(j, "retrieve")
	}
	jobs.retrieving("job-typed", "acquire")
	done, waits := transfers.asked("job-ended"), transfers.asked("job-waiting")
	_ = waits
	negotiations.negotiated("outside", done)
	negotiations.granted("outside", done)
	second := negotiation.Wish{Waiter: waits, AssetID: "asset-3", Need: negotiation.NeedEDR, Reply: &negotiation.Reply{Aggregate: "transfer", ID: waits}}
	negotiations.negotiation("acquire", negotiations.next(), negotiation.Joined{Wish: second}, negotiations.started("asset-3", 1))
	transfers.pulled(done)
	transfers.pushed("push-1")
	jobs.retrieved("job-ended", `{"value":"The quick"}`)
	for _, s := range []*script{jobs, transfers, negotiations} {
		s.position(schemas.Position{})
	}
	return map[string][]*kgo.Record{
		schemas.AggregateOrchestration: jobs.take(0), schemas.AggregateTransfer: transfers.take(0), schemas.AggregateNegotiation: negotiations.take(0),
	}
}

// feed folds streams in an order of one's own: next says of which the next record is taken, and whether a
// batch ends with it.
func feed(t testing.TB, db *DB, streams map[string][]*kgo.Record, next func(left []string) (string, bool)) {
	t.Helper()
	parts := map[string]*partition{}
	at := map[string]int{}
	for a := range streams {
		parts[a] = &partition{topic: a + itoa(int(db.docs.commits)), aggregate: a, stored: -1} // another one each time
	}
	for {
		var left []string
		for _, a := range aggregates {
			if at[a] < len(streams[a]) {
				left = append(left, a)
			}
		}
		if len(left) == 0 {
			break
		}
		a, end := next(left)
		if err := db.writer.apply(t.Context(), parts[a], streams[a][at[a]]); err != nil {
			t.Fatal(err)
		}
		at[a]++
		if end {
			flushed(t, db)
		}
	}
	flushed(t, db)
}

func flushed(t testing.TB, db *DB) {
	t.Helper()
	changed, err := db.writer.flush()
	if err != nil {
		t.Fatal(err)
	}
	db.committed(changed)
}

// inTurn takes one stream after the other, all in one batch.
func inTurn(left []string) (string, bool) { return left[0], false }

func allViews(t testing.TB, path string) string {
	t.Helper()
	return views(t, path) + dump(t, path, "SELECT * FROM transfers ORDER BY id") + dump(t, path, "SELECT * FROM negotiations ORDER BY id") +
		dump(t, path, "SELECT waiter, asset, doc FROM waiter ORDER BY 1, 2") + dump(t, path, "SELECT waiter, created, doc FROM wish ORDER BY 1")
}

func TestTransfersAndNegotiationsAreTheSameInWhateverOrderTheirPartitionsAreRead(t *testing.T) {
	all := streams(t)
	first := open(t, filepath.Join(t.TempDir(), "first.db"))
	feed(t, first, all, inTurn)
	want := allViews(t, first.cfg.Path)
	if !strings.Contains(want, "DEPROVISIONED") || !strings.Contains(want, "FINALIZED") {
		t.Fatal(want)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 8 {
		db := open(t, filepath.Join(t.TempDir(), "other.db"))
		batch, forgets := 1+rng.IntN(20), i%2 == 0
		feed(t, db, all, func(left []string) (string, bool) {
			end := rng.IntN(batch) == 0
			if forgets && !db.writer.batch.open {
				w := db.writer
				w.jobs, w.transfers, w.parties, w.accesses = jobCache{}, cache[*transferring]{}, cache[*counterparty]{}, cache[*access]{}
			}
			return left[rng.IntN(len(left))], end
		})
		if got := allViews(t, db.cfg.Path); got != want {
			t.Fatalf("another order made other rows:\n%s\nwant\n%s", got, want)
		}
	}
}

func TestEventsOfTransfersThatAreThereAlreadyChangeNothing(t *testing.T) {
	all := streams(t)
	once, thrice := open(t, filepath.Join(t.TempDir(), "once.db")), open(t, filepath.Join(t.TempDir(), "thrice.db"))
	feed(t, once, all, inTurn)
	doubled := map[string][]*kgo.Record{}
	for a, records := range all {
		for range 3 {
			for _, r := range records {
				again := *r
				again.Offset = int64(len(doubled[a]))
				doubled[a] = append(doubled[a], &again)
			}
		}
	}
	feed(t, thrice, doubled, inTurn)
	if got, want := allViews(t, thrice.cfg.Path), allViews(t, once.cfg.Path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	for what, events := range map[string]func(db *DB) (Page, error){
		"transfer":    func(db *DB) (Page, error) { return db.TransferEvents(t.Context(), "push-1", 0, 0, "") },
		"negotiation": func(db *DB) (Page, error) { return db.NegotiationEvents(t.Context(), roundOf("asset-1", 2), 0, 0, "") },
	} {
		a, err := events(once)
		b, err2 := events(thrice)
		if err != nil || err2 != nil || len(a.Items) == 0 || document(t, a) != document(t, b) {
			t.Errorf("%s: %d events once, %d thrice, %v %v", what, len(a.Items), len(b.Items), err, err2)
		}
	}
}

func TestATransferShowsWhereItStands(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, streams(t), inTurn)
	for name, id := range map[string]string{"transfer-pull": transferOf("job-ended", "get"), "transfer-waiting": transferOf("job-waiting", "get"), "transfer-push": "push-1"} {
		x, err := db.Transfer(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", document(t, x))
	}
	for name, id := range map[string]string{"negotiation-terminated": roundOf("asset-1", 1), "negotiation-finalized": roundOf("asset-1", 2), "negotiation-waited": roundOf("asset-3", 1), "negotiation-typed": roundOf("registry-1", 1)} {
		x, err := db.Negotiation(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", document(t, x))
	}
}

func TestANodeShowsOnWhomItsTransferWaits(t *testing.T) {
	for step, want := range map[string]struct{ state, kind, id, negotiation string }{
		"job":         {"WAITING", WaitTransfer, transferOf("job-waiting", "get"), ""},
		"transfer":    {"WAITING", WaitProvider, address, ""},
		"negotiation": {"WAITING", WaitNegotiation, roundOf("asset-3", 1), roundOf("asset-3", 1)},
	} {
		t.Run(step, func(t *testing.T) {
			all := streams(t)
			if step == "job" {
				delete(all, schemas.AggregateTransfer)
			}
			if step != "negotiation" {
				delete(all, schemas.AggregateNegotiation)
			}
			db := open(t, filepath.Join(t.TempDir(), "p.db"))
			feed(t, db, all, inTurn)
			for range 2 { // the second time from the cache, where it is one to keep
				doc, err := db.JobDocument(t.Context(), "job-waiting")
				if err != nil {
					t.Fatal(err)
				}
				var j Job
				if err := json.Unmarshal(doc, &j); err != nil {
					t.Fatal(err)
				}
				n := j.Nodes[0]
				if n.State != want.state || n.WaitingOn == nil || n.WaitingOn.Kind != want.kind || n.WaitingOn.ID != want.id ||
					value(n.TransferID) != transferOf("job-waiting", "get") || value(n.NegotiationID) != want.negotiation {
					t.Fatal(document(t, n))
				}
				if j.Nodes[1].TransferID != nil {
					t.Error(document(t, j.Nodes[1]))
				}
			}
			for column, of := range map[string]string{"waiting_on": `{"kind":"` + want.kind + `","id":"` + want.id + `"}`, "negotiation_id": want.negotiation} {
				if of == "" {
					of = "<nil>"
				}
				if got := dump(t, db.cfg.Path, "SELECT "+column+" AS c FROM nodes WHERE job_id = 'job-waiting' AND id = 'get'"); got != "c="+of+" \n" {
					t.Errorf("the view has %q", got)
				}
			}
		})
	}
}

func TestATransferShowsHowTheCatalogIsAskedForIt(t *testing.T) {
	all := streams(t)
	transfers, negotiations := newScriptOf(t, schemas.AggregateTransfer, 0), newScriptOf(t, schemas.AggregateNegotiation, 0)
	id := transfers.asked("job-waiting")
	negotiations.negotiation("acquire", negotiations.next(), negotiation.Joined{Wish: negotiation.Wish{
		Waiter: id, AssetID: "asset-1", Need: negotiation.NeedEDR, Reply: &negotiation.Reply{Aggregate: "transfer", ID: id},
	}})
	catalog, work := negotiations.work("asset-1", "catalog", "1")
	other, _ := negotiations.work("asset-2", "catalog", "1")
	negotiations.negotiation("acquire", negotiations.command-1, negotiation.CatalogRequested{AssetID: "asset-1"},
		negotiation.Worked{Event: catalog}, negotiation.Worked{Event: other})
	negotiations.negotiation("faulty", negotiations.next(), negotiation.Worked{Event: task.Retrying{
		WorkID: work, Attempt: 1, Error: orchestration.Fault{Step: "catalog", Message: "connection refused"}, At: negotiations.at.Add(time.Second),
	}})
	for _, s := range []*script{transfers, negotiations} {
		s.position(schemas.Position{})
	}
	all[schemas.AggregateTransfer], all[schemas.AggregateNegotiation] = transfers.take(0), negotiations.take(0)
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, all, inTurn)
	x, err := db.Transfer(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if x.WaitingOn == nil || x.WaitingOn.Kind != WaitProvider || len(x.Tasks) != 1 || x.Tasks[0].Type != "catalog" || x.Tasks[0].State != "RETRYING" ||
		!strings.Contains(string(x.Tasks[0].Error), "connection refused") {
		t.Error(document(t, x))
	}
}

func TestAnActivityThatAcquiresShowsItsNegotiation(t *testing.T) {
	all := streams(t)
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, all, inTurn)
	j, err := db.Job(t.Context(), "job-typed", -1)
	if err != nil || j.Nodes[0].WaitingOn == nil || j.Nodes[0].WaitingOn.Kind != WaitNegotiation || j.Nodes[0].WaitingOn.ID != roundOf("registry-1", 1) {
		t.Fatal(document(t, j), err)
	}
	s := newScript(t, 0)
	s.retrieving("job-one", "acquire")
	s.retrieved("job-one", `{"id":"`+roundOf("asset-1", 2)+`","assetId":"asset-1"}`)
	s.position(schemas.Position{})
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateOrchestration: s.take(0)}, inTurn)
	j, err = db.Job(t.Context(), "job-one", -1)
	if err != nil || value(j.Nodes[0].NegotiationID) != roundOf("asset-1", 2) {
		t.Fatal(document(t, j), err)
	}
	p, err := db.Negotiations(t.Context(), AccessFilter{Job: "job-one"})
	if err != nil || len(p.Items) != 1 {
		t.Fatal(document(t, p), err)
	}
}

func TestAJobHasTheEventsOfItsTransfersAndNegotiations(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, streams(t), inTurn)
	whole, err := db.AllEvents(t.Context(), "job-ended", MaxPageSize, "")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int64{}
	for _, it := range whole.Items {
		var e Event
		if err := json.Unmarshal(it, &e); err != nil {
			t.Fatal(err)
		}
		if e.Sequence <= seen[e.Aggregate] {
			t.Errorf("%s %d follows %d", e.Aggregate, e.Sequence, seen[e.Aggregate])
		}
		seen[e.Aggregate] = e.Sequence
		if strings.Contains(string(it), "$sealed") || strings.Contains(string(it), "bm90IHJlYWxseSBzZWFsZWQ") {
			t.Errorf("what is sealed is shown: %s", it)
		}
	}
	if len(seen) != 3 || seen["transfer"] != 9 {
		t.Fatalf("%v in %d events", seen, len(whole.Items))
	}
	if !strings.Contains(document(t, whole), `"edr": "`+seal.Redacted+`"`) {
		t.Error("it does not say that something is sealed")
	}
	for _, size := range []int{1, 2, 5, 7} {
		var items []json.RawMessage
		for next := ""; ; {
			p, err := db.AllEvents(t.Context(), "job-ended", size, next)
			if err != nil || len(p.Items) > size {
				t.Fatal(len(p.Items), err)
			}
			items = append(items, p.Items...)
			if next = p.Next; next == "" {
				break
			}
		}
		if got, want := document(t, items), document(t, whole.Items); got != want {
			t.Fatalf("pages of %d: %d items, want %d", size, len(items), len(whole.Items))
		}
	}
	if _, err := db.AllEvents(t.Context(), "nobody", 0, ""); !IsNotFound(err) {
		t.Error(err)
	}
}

func TestTheRoundsOfAnAssetShareItsHistoryWithoutGapsOrRepeats(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, streams(t), func(left []string) (string, bool) { return left[0], true }) // a piece for each event
	var sequences []int64
	for _, round := range []int{1, 2} {
		p, err := db.NegotiationEvents(t.Context(), roundOf("asset-1", round), 0, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			var e Event
			if err := json.Unmarshal(it, &e); err != nil {
				t.Fatal(err)
			}
			if e.ID != party || e.Aggregate != schemas.AggregateNegotiation {
				t.Error(string(it))
			}
			sequences = append(sequences, e.Sequence)
		}
	}
	for i := 1; i < len(sequences); i++ {
		if sequences[i] <= sequences[i-1] {
			t.Fatal(sequences)
		}
	}
	if len(sequences) != 18 {
		t.Fatalf("%d events: %v", len(sequences), sequences)
	}
}

func TestTransfersAndNegotiationsAreListedNewestFirst(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, streams(t), inTurn)
	ids := func(p Page, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var l []string
		for _, it := range p.Items {
			var x struct{ ID string }
			if err := json.Unmarshal(it, &x); err != nil {
				t.Fatal(err)
			}
			l = append(l, x.ID)
		}
		return strings.Join(l, " ")
	}
	done, waits := transferOf("job-ended", "get"), transferOf("job-waiting", "get")
	for _, tc := range []struct {
		f    AccessFilter
		want string
	}{
		{AccessFilter{}, "push-1 " + waits + " " + done},
		{AccessFilter{State: "COMPLETED"}, done},
		{AccessFilter{State: "DEPROVISIONED"}, "push-1"},
		{AccessFilter{Job: "job-waiting"}, waits},
		{AccessFilter{Asset: "asset-2", Connector: "consumer", Provider: address}, "push-1"},
		{AccessFilter{Provider: "http://elsewhere"}, ""},
	} {
		if got := ids(db.Transfers(t.Context(), tc.f)); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.f, got, tc.want)
		}
	}
	first, second, third, typed := roundOf("asset-1", 1), roundOf("asset-1", 2), roundOf("asset-3", 1), roundOf("registry-1", 1)
	for _, tc := range []struct {
		f    AccessFilter
		want string
	}{
		{AccessFilter{}, third + " " + typed + " " + second + " " + first},
		{AccessFilter{State: "FINALIZED"}, second},
		{AccessFilter{State: "TERMINATED"}, first},
		{AccessFilter{Asset: "asset-1"}, second + " " + first},
		{AccessFilter{Job: "job-ended"}, second},
		{AccessFilter{Job: "job-waiting"}, third},
		{AccessFilter{Job: "job-typed"}, typed},
	} {
		if got := ids(db.Negotiations(t.Context(), tc.f)); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.f, got, tc.want)
		}
	}
	p, err := db.Transfers(t.Context(), AccessFilter{Limit: 1})
	if err != nil || p.Next == "" {
		t.Fatal(err)
	}
	s := newScriptOf(t, schemas.AggregateTransfer, 1)
	s.at = s.at.Add(time.Hour)
	s.pushed("push-2") // newer than the page
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateTransfer: s.take(0)}, inTurn)
	if got := ids(db.Transfers(t.Context(), AccessFilter{Cursor: p.Next})); got != waits+" "+done {
		t.Errorf("the next page has %s", got)
	}
	for _, f := range []AccessFilter{{State: "FINALIZED"}, {Cursor: "nonsense"}} {
		if _, err := db.Transfers(t.Context(), f); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}

func TestCommandsToTransfersAndNegotiationsAreAnswered(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	feed(t, db, streams(t), inTurn)
	for id, want := range map[string]struct {
		aggregate string
		events    int
	}{
		machine.ID("initiate", "push-1"): {schemas.AggregateTransfer, 4},
		machine.ID("suspend", "push-1"):  {schemas.AggregateTransfer, 1},
		machine.ID("resume", "push-1"):   {schemas.AggregateTransfer, 1},
		machine.ID("acquire", "outside"): {schemas.AggregateNegotiation, 1},
		machine.ID("acquire", "late"):    {schemas.AggregateNegotiation, 1},
	} {
		c, err := db.Command(t.Context(), id)
		if err != nil || c.State != CommandAccepted || c.Aggregate != want.aggregate || len(c.Events) < want.events {
			t.Errorf("%s: %s, %v", id, document(t, c), err)
		}
	}
	for _, id := range []string{"initiate-" + transferOf("job-ended", "get"), "observed", machine.ID("acquire", transferOf("job-ended", "get"))} {
		if _, err := db.Command(t.Context(), id); !IsNotFound(err) {
			t.Errorf("what a machine asked for, or reported, is remembered: %s, %v", id, err)
		}
	}
}

func TestWhoAsksFromOutsideIsToldWhatBecameOfIt(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	all := streams(t)
	feed(t, db, all, inTurn)
	for _, waiter := range []string{"outside", "late"} {
		w, err := db.Wish(t.Context(), waiter)
		if err != nil || w.State != WishGranted || w.NegotiationID != roundOf("asset-1", 2) || w.ProcessID != "process-1" || w.AssetID != "asset-1" {
			t.Errorf("%s, %v", document(t, w), err)
		}
	}
	if _, err := db.Wish(t.Context(), "typed"); !IsNotFound(err) {
		t.Errorf("an activity's wish is kept: %v", err)
	}
	s := newScriptOf(t, schemas.AggregateNegotiation, 0)
	s.seq[party] = int64(len(all[schemas.AggregateNegotiation]) - 1)
	missing := negotiation.Fault{Step: "catalog", Message: "the provider offers nothing like that", Code: "not-found"}
	s.negotiation("x", s.next(), negotiation.Joined{Wish: negotiation.Wish{Waiter: "w-1", AssetID: "nothing", Need: negotiation.NeedAgreement}},
		negotiation.Joined{Wish: negotiation.Wish{Waiter: "w-2", AssetType: "registry", Need: negotiation.NeedEDR}}, negotiation.Joined{Wish: negotiation.Wish{Waiter: "w-3", AssetType: "nothing", Need: negotiation.NeedEDR}},
		negotiation.Joined{Wish: negotiation.Wish{Waiter: "w-4", AssetID: "nothing", Need: negotiation.NeedEDR}})
	s.negotiation("y", s.next(), negotiation.Failed{AssetID: "nothing", Waiters: []string{"w-1"}, Error: missing}, negotiation.Listed{Waiter: "w-2", AssetType: "registry", Assets: []string{"a", "b"}},
		negotiation.Served{AssetID: "a", Round: 1, AgreementID: "x", Waiters: []string{"w-2"}}, negotiation.Failed{AssetID: "b", Waiters: []string{"w-2"}, Error: missing, Rounds: 1},
		negotiation.Answered{Waiter: "w-2", AssetType: "registry", Offers: []negotiation.OfferState{{AssetID: "a", AgreementID: "x"}, {AssetID: "b", Error: &missing}}},
		negotiation.Failed{AssetType: "nothing", Waiters: []string{"w-3"}, Error: missing}, negotiation.Left{Waiter: "w-4"})
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateNegotiation: s.take(0)}, func(left []string) (string, bool) { return left[0], true })
	for waiter, want := range map[string]string{"w-1": WishRefused, "w-2": WishGranted, "w-3": WishRefused, "w-4": WishRefused} {
		w, err := db.Wish(t.Context(), waiter)
		if err != nil || w.State != want || (want == WishRefused) != (w.Error != nil) || (waiter == "w-2") != (len(w.Offers) == 2) {
			t.Errorf("%s, %v", document(t, w), err)
		}
		if err := db.WaitAnswered(limited(t), waiter); err != nil {
			t.Error(err)
		}
	}
	if left := dump(t, db.cfg.Path, "SELECT * FROM waiter WHERE waiter LIKE 'w-%'"); left != "" {
		t.Errorf("somebody waits still: %s", left)
	}
}

func TestAnEDRIsHeldSealedAndForgottenWhenItIsDead(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	all := streams(t)
	feed(t, db, all, inTurn)
	e, err := db.EDR(t.Context(), roundOf("asset-1", 2))
	if err != nil || string(e.Sealed) != sealedToken || e.Connector != "consumer" || e.EDR.State != EDRGranted || value(e.EDR.ProcessID) != "process-1" {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := db.EDR(t.Context(), "nobody"); !IsNotFound(err) {
		t.Error(err)
	}
	s := newScriptOf(t, schemas.AggregateNegotiation, 0)
	s.seq[party] = int64(len(all[schemas.AggregateNegotiation]) - 1)
	s.negotiation("dead", s.next(), negotiation.EDRDead{AssetID: "asset-1", Round: 2, ProcessID: "process-1", Reason: "403"})
	s.negotiation("timer", -1, negotiation.Evicted{Accesses: []string{"asset-1"}})
	records := s.take(0)
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateNegotiation: records[:1]}, inTurn)
	if e, err = db.EDR(t.Context(), roundOf("asset-1", 2)); err != nil || e.Sealed != nil || e.EDR.State != EDRDead {
		t.Fatalf("%+v, %v", e, err)
	}
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateNegotiation: records}, inTurn)
	n, err := db.Negotiation(t.Context(), roundOf("asset-1", 2))
	if err != nil || n.EDR.State != EDRNone || n.Agreement.State != AgreementEvicted || n.State != "FINALIZED" {
		t.Fatalf("%s, %v", document(t, n), err)
	}
}

func TestAnEDRGoesWithItsAgreement(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "p.db"))
	all := streams(t)
	feed(t, db, all, inTurn)
	s := newScriptOf(t, schemas.AggregateNegotiation, 0)
	s.seq[party] = int64(len(all[schemas.AggregateNegotiation]) - 1)
	s.negotiation("refused", s.next(), negotiation.AgreementDead{AssetID: "asset-1", Round: 2, AgreementID: "agreement-1", Reason: "409"})
	feed(t, db, map[string][]*kgo.Record{schemas.AggregateNegotiation: s.take(0)}, inTurn)
	n, err := db.Negotiation(t.Context(), roundOf("asset-1", 2))
	if err != nil || n.Agreement.State != AgreementDead || n.EDR.State != EDRDead || n.EDR.Until != nil {
		t.Fatalf("%s, %v", document(t, n), err)
	}
	if e, err := db.EDR(t.Context(), roundOf("asset-1", 2)); err != nil || e.Sealed != nil {
		t.Fatalf("%+v, %v", e, err)
	}
}
