package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// playedConfig is how the program runs that plays, and that goes on from what was played: there are no
// agents, and what the connector says is the player's doing.
func playedConfig() app.Config {
	soon := func(d time.Duration) definition.Duration { return definition.Duration(d) }
	return app.Config{
		// Nothing that was sealed is opened: there are no agents.
		SealKeys: "golden:" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		Roles:    []string{app.RoleMachines, app.RoleProjections, app.RoleAPI}, Shards: 2, KeepBlobs: time.Second,
		Connectors: connectors.Config{Connectors: []connectors.Connector{{
			Name: "edc", Adapter: connectors.AdapterEDC, ManagementURL: "http://127.0.0.1:1", Match: []string{"http://*:8282"},
			Refresh: connectors.RefreshTractusX,
			TTL:     connectors.TTL{Agreement: soon(4 * time.Second), EDR: soon(2 * time.Second), Catalog: soon(time.Second)},
		}}},
	}
}

// player does by the roll of dice, again and again the same, all that callers, agents, connectors and
// operators can do, until every wire type is on the log.
type player struct {
	ctx    context.Context
	t      *testing.T
	dice   *rand.Rand
	cl     *kgo.Client
	topics kafka.Topics
	kind   bool // everybody is: whatever is asked for is done at once

	seen      map[string]bool // wire types
	jobs      []string
	transfers []string
	process   map[string]string // of transfers, the connector's
	waiting   []machine.Work    // what somebody outside will report about
	slow      []slowWork        // what an agent is at
	given     []*kgo.Record
	n         int
}

// slowWork is a piece of work that is done, after another heartbeat, at a time.
type slowWork struct {
	machine.Work
	at time.Time
}

// undisturbed are the jobs that run as they would: one whose large input is removed after its end, and one that
// fails at its last activity and is undone.
const (
	largeJob  = "large"
	undoneJob = "undone"
)

func newPlayer(ctx context.Context, t *testing.T, m *app.Main, kind bool) *player {
	t.Helper()
	topics := m.Kafka().Topics()
	cl, err := m.Kafka().NewClient(
		kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+strings.TrimSuffix(topics.Shards(), "shards")+".*"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMaxAge(time.Second), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &player{
		ctx: ctx, t: t, dice: rand.New(rand.NewPCG(1, 2)), cl: cl, topics: topics, kind: kind,
		seen: map[string]bool{}, process: map[string]string{},
	}
}

// missing are the wire types that are not on the log yet.
func (p *player) missing() []string {
	return slices.DeleteFunc(schemas.Names(), func(name string) bool {
		return p.seen[name] || name == schemas.ShardCheckpoint // comes with the end
	})
}

// turn takes in what is new on the log and answers what is asked of agents.
func (p *player) turn() {
	ctx, cancel := context.WithTimeout(p.ctx, 100*time.Millisecond)
	defer cancel()
	p.cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		env, err := kafka.ParseCloudEvent(r)
		if err != nil {
			return
		}
		p.seen[env.Type] = true
		switch env.Type {
		case schemas.TransferInitiated:
			p.transfers = append(p.transfers, string(r.Key))
		case schemas.WorkRequested:
			var w machine.Work
			if err := json.Unmarshal(r.Value, &w); err != nil {
				p.t.Error(err)
				return
			}
			p.work(w)
		}
	})
}

// beat goes on with what agents are at.
func (p *player) beat() {
	for len(p.slow) > 0 && time.Now().After(p.slow[0].at) {
		w := p.slow[0].Work
		p.slow = p.slow[1:]
		p.report(w, schemas.WorkHeartbeat, say{"agent": "player"})
		p.done(w)
	}
}

// give writes a command.
func (p *player) give(aggregate, key, wireType string, value any) {
	data, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			p.t.Error(err)
			return
		}
		data = string(b)
	}
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(p.dice.UintN(256))
	}
	r := &kgo.Record{
		Topic: p.topics.Commands(aggregate), Key: []byte(key), Value: []byte(data),
		Headers: kafka.CloudEvent{ID: uuid.UUID(raw).String(), Source: "player", Type: wireType, Subject: key, Time: time.Now().UTC()}.Headers(),
	}
	if err := p.cl.ProduceSync(p.ctx, r).FirstErr(); err != nil && p.ctx.Err() == nil {
		p.t.Error(err)
	}
	p.given = append(p.given, r)
}

type say map[string]any

// report says something of a piece of work.
func (p *player) report(w machine.Work, wireType string, more say) {
	said := say{"workId": w.ID, "attempt": w.Attempt}
	for k, v := range more {
		said[k] = v
	}
	p.give(w.Aggregate, w.AggregateID, wireType, said)
}

func (p *player) one(of int) bool { return !p.kind && p.dice.IntN(of) == 0 }

// work answers as an agent.
func (p *player) work(w machine.Work) {
	switch {
	case w.AggregateID == undoneJob && w.ActivityID == "c":
		p.report(w, schemas.WorkFail, say{"error": say{"step": "call", "message": "it cannot work"}})
		return
	case w.AggregateID == undoneJob, w.AggregateID == largeJob:
	case p.one(9):
		p.report(w, schemas.WorkHeartbeat, say{"agent": "player"})
		p.nudge(w)
		if p.one(2) {
			p.report(w, schemas.WorkRelease, say{"agent": "player"})
			return
		}
		p.slow = append(p.slow, slowWork{w, time.Now().Add(4 * time.Second)})
		return
	case p.one(8):
		p.report(w, schemas.WorkSchedule, say{"after": "PT0.3S", "state": say{"state": pick(p, "REQUESTED", "STARTED", "SUSPENDED"), "seen": 1}})
		return
	case p.one(8):
		p.report(w, schemas.WorkRetry, say{"after": "PT0.1S", "error": say{"step": "call", "message": "the other side is away"}})
		return
	case p.one(10), w.Type == "fetch" && p.one(2):
		code := map[string]string{"fetch": "edr-dead", "transfer-request": "agreement-dead", "transfer-poll": "agreement-dead"}[w.Type]
		p.report(w, schemas.WorkFail, say{"error": say{"step": "call", "message": "it cannot work", "code": code}})
		return
	case p.one(6):
		p.report(w, schemas.WorkWait, say{"after": "PT1H"})
		p.waiting = append(p.waiting, w)
		return
	}
	p.done(w)
}

// nudge lets a connector call back while an agent is looking.
func (p *player) nudge(w machine.Work) {
	var in struct {
		AssetID   string `json:"assetId"`
		Key       string `json:"key"`
		ProcessID string `json:"processId"`
	}
	if json.Unmarshal(w.Input, &in) != nil || w.Aggregate != schemas.AggregateNegotiation {
		return
	}
	p.give(w.Aggregate, w.AggregateID, schemas.NegotiationObserved, say{"assetId": in.AssetID, "round": in.Key, "processId": in.ProcessID, "state": "FINALIZED"})
}

func pick(p *player, from ...string) string {
	if p.kind {
		return from[0]
	}
	return from[p.dice.IntN(len(from))]
}

// done completes a piece of work.
func (p *player) done(w machine.Work) {
	var in struct {
		AssetID   string `json:"assetId"`
		AssetType string `json:"assetType"`
		ProcessID string `json:"processId"`
	}
	_ = json.Unmarshal(w.Input, &in)
	out := say{"output": say{"value": w.ActivityID}}
	good := time.Hour
	if !p.kind {
		good = time.Duration(p.dice.IntN(4)) * time.Second
	}
	expiry := time.Now().Add(good).UTC().Format(time.RFC3339)
	switch w.Type {
	case "catalog":
		offer := say{"assetId": in.AssetID, "offerId": "o-1", "policy": say{"permission": []string{"use"}}, "formats": []string{"HttpData-PULL", "HttpData-PUSH"}}
		if p.one(6) {
			offer["unacceptable"] = "region eq us"
		}
		offers := []say{offer}
		if in.AssetType != "" {
			offers = []say{{"assetId": "reg-1", "offerId": "o-1"}, {"assetId": "reg-2", "offerId": "o-2"}}
		}
		out["output"] = say{"participantId": "BPN1", "offers": offers}
	case "negotiation-request":
		out["output"] = say{"negotiationId": "n-" + in.AssetID}
	case "negotiation-poll":
		out["output"] = say{"state": pick(p, "FINALIZED", "FINALIZED", "FINALIZED", "TERMINATED"), "agreementId": "agreement-" + uuid.NewString(), "assetId": in.AssetID}
	case "edr-request", "edr-poll", "edr-refresh":
		state := pick(p, "STARTED", "STARTED", "STARTED", "STARTED", "TERMINATED", "LOST")
		out["output"] = say{"state": state, "edr": say{"$sealed": "k1.bm90IHJlYWxseSBzZWFsZWQ"}, "expiresAt": expiry, "agreementDead": p.one(4)}
	case "transfer-request":
		out["output"] = say{}
		p.process[w.AggregateID] = in.ProcessID
	case "transfer-poll":
		out["output"] = say{"state": pick(p, "COMPLETED", "COMPLETED", "STARTED", "TERMINATED", "LOST"), "agreementDead": p.one(4)}
	case "provision":
		out["output"] = say{"resource": say{"dataAddress": say{"type": "HttpData", "baseUrl": "http://127.0.0.1:1"}}}
	case "steps.example.com":
		if !strings.Contains(w.ActivityID, "-") && p.one(2) {
			out["spawn"] = []say{{"id": w.ActivityID + "-1", "type": "steps.example.com"}, {"id": w.ActivityID + "-2", "type": "steps.example.com", "dependsOn": []string{w.ActivityID + "-1"}}}
		}
	}
	p.report(w, schemas.WorkComplete, out)
}

const (
	maxPlayedJobs      = 25
	maxPlayedTransfers = 40
	playedProvider     = "http://provider1:8282"
)

// define puts the definitions that the jobs run by.
func define(p *program) {
	put := func(path, body string) {
		p.call(http.MethodPut, "/v1/definitions/"+path+"?set=golden", body, http.StatusCreated, nil)
	}
	put("activities/steps.example.com", `{"deadline":"P50Y","attemptTimeout":"P50Y","retry":{"limit":4,"baseDelay":"PT0.2S"}}`)
	put("orchestrations/steps", `{"compensate":true,"schema":{"type":"object"},"output":["c.value",{"source":"a.**","target":"all"}],"activities":[
		{"id":"a","type":"steps.example.com","with":{"large":"{{input.large}}"}},{"id":"b","type":"steps.example.com","dependsOn":"a","onError":"continue"},{"id":"c","type":"steps.example.com","dependsOn":["a","b"],"context":["a"]}]}`)
	put("orchestrations/plain", `{"activities":[{"id":"a","type":"steps.example.com"},{"id":"b","type":"steps.example.com"},{"id":"c","type":"aggregate","dependsOn":["a","b"],"with":{"documents":[]}}]}`)
	put("orchestrations/moves", `{"activities":[
		{"id":"a","type":"retrieve","onError":"continue","with":{"file":"doc","connectorUrl":"`+playedProvider+`"}},
		{"id":"b","type":"transfer","onError":"continue","with":{"assetId":"part","provider":"`+playedProvider+`","transferType":"HttpData-PUSH","manifest":{"definitions":[{"id":"d1","type":"elsewhere"}]}}},
		{"id":"c","type":"acquire","onError":"continue","with":{"provider":"`+playedProvider+`","assetType":"registry","need":"agreement"}},
		{"id":"d","type":"aggregate","dependsOn":["a","b","c"],"with":{"documents":[]}}]}`)
}

// poke does something that nobody has asked for.
func (p *player) poke() {
	p.n++
	switch p.dice.IntN(9) {
	case 0, 1, 2:
		p.start()
	case 3, 4:
		p.operate()
	case 5:
		p.redefine()
	case 6:
		p.callBack()
	default:
		p.wish()
	}
	if n := len(p.waiting); n > 0 && p.dice.IntN(3) == 0 {
		i := p.dice.IntN(n)
		w := p.waiting[i]
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.done(w)
	}
}

func (p *player) start() {
	if len(p.jobs) < maxPlayedJobs {
		id := fmt.Sprintf("job-%d", len(p.jobs))
		p.jobs = append(p.jobs, id)
		p.give(schemas.AggregateOrchestration, id, schemas.OrchestrationStart, say{
			"type": pick(p, "steps", "plain", "moves", "moves"), "input": say{"n": p.n}, "deadline": "P50Y", "labels": say{"team": "blue"}, "partial": p.one(2),
		})
	}
	if len(p.transfers) < maxPlayedTransfers && p.one(2) {
		c := say{"provider": playedProvider, "assetId": pick(p, "doc", "part"), "deadline": "P50Y", "as": "", "transferType": pick(p, "HttpData-PULL", "HttpData-PUSH")}
		if p.one(2) {
			c["manifest"] = say{"definitions": []say{{"id": "d1", "type": "elsewhere"}}}
		}
		p.give(schemas.AggregateTransfer, uuid.NewString(), schemas.TransferInitiate, c)
	}
	if p.one(3) { // refused, and unreadable
		p.give(schemas.AggregateOrchestration, "nobody", schemas.OrchestrationStart, `{"type":"missing"}`)
		p.give(schemas.AggregateOrchestration, "nobody", schemas.OrchestrationStart, `{"type":`)
	}
}

// operate says what operators say.
func (p *player) operate() {
	who := say{"by": "ada", "reason": "because"}
	if len(p.jobs) > 0 {
		job := p.jobs[p.dice.IntN(len(p.jobs))]
		p.give(schemas.AggregateOrchestration, job, pick(p, schemas.OrchestrationCancel, schemas.OrchestrationPause, schemas.OrchestrationResume,
			schemas.OrchestrationResume, schemas.OrchestrationRerun, schemas.OrchestrationDispose), who)
		about := say{"by": "ada", "reason": "because", "activityId": pick(p, "a", "b", "c")}
		p.give(schemas.AggregateOrchestration, job, pick(p, schemas.ActivityRetry, schemas.ActivitySkip, schemas.ActivityComplete,
			schemas.ActivityFail, schemas.ActivityPause, schemas.ActivityResume, schemas.ActivityResume), about)
	}
	if len(p.transfers) > 0 && p.one(3) {
		p.give(schemas.AggregateTransfer, p.transfers[p.dice.IntN(len(p.transfers))],
			pick(p, schemas.TransferSuspend, schemas.TransferResume, schemas.TransferResume, schemas.TransferTerminate, schemas.TransferDeprovision), who)
	}
}

// redefine changes a definition that nobody runs by, or deletes it.
func (p *player) redefine() {
	if p.one(2) {
		p.give(schemas.AggregateDefinition, "orchestration/scratch", schemas.DefinitionPut,
			fmt.Sprintf(`{"type":"scratch","description":"%d","activities":[{"id":"a","type":"noop"}]}`, p.n))
		return
	}
	p.give(schemas.AggregateDefinition, "orchestration/scratch", schemas.DefinitionDelete, `{}`)
}

// callBack is what connectors and provisioners call back with.
func (p *player) callBack() {
	if len(p.transfers) == 0 {
		return
	}
	id := p.transfers[len(p.transfers)-1-p.dice.IntN(min(len(p.transfers), 10))] // the last ones are under way
	switch p.dice.IntN(3) {
	case 0:
		p.give(schemas.AggregateTransfer, id, schemas.TransferProvisioned, say{"resourceDefinitionId": "d1", "assetId": "part", "resourceName": "r", "contentDataAddress": say{"type": "HttpData"}})
	case 1:
		p.give(schemas.AggregateTransfer, id, schemas.TransferUploaded, say{"resourceDefinitionId": "d1", "digest": "00ff", "bytes": 4, "content": say{"v": 1}})
	default:
		p.give(schemas.AggregateTransfer, id, schemas.TransferResourceDeprovisioned, say{"provisionedResourceId": "d1"})
	}
	if process := p.process[id]; process != "" {
		p.give(schemas.AggregateTransfer, id, schemas.TransferObserved, say{"processId": process, "state": pick(p, "STARTED", "COMPLETED", "SUSPENDED", "TERMINATED")})
	}
}

// wish acquires access for nobody, or is a connector that tells of its own accord.
func (p *player) wish() {
	key := "edc " + playedProvider
	switch p.dice.IntN(4) {
	case 0:
		p.give(schemas.AggregateNegotiation, key, schemas.NegotiationObserved, say{"assetId": "doc", "state": "TERMINATED", "negotiationId": "n-doc"})
	case 1:
		p.give(schemas.AggregateNegotiation, key, schemas.NegotiationRelease, say{"waiter": fmt.Sprintf("w-%d", p.dice.IntN(5)), "reason": "no more"})
	default:
		c := say{"provider": playedProvider, "need": pick(p, "edr", "agreement"), "waiter": fmt.Sprintf("w-%d", p.dice.IntN(5))}
		if p.one(3) {
			c["assetType"] = "registry"
		} else {
			c["assetId"] = pick(p, "doc", "part", "other")
		}
		p.give(schemas.AggregateNegotiation, key, schemas.NegotiationAcquire, c)
	}
}
