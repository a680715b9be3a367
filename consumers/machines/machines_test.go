package machines_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/catalog"
	"github.com/waybill/waybill/consumers/machines"
	"github.com/waybill/waybill/consumers/runner"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// process is both machines with a catalog and an agent of the type greet, in fake time.
type process struct {
	t   *testing.T
	cfg kafka.Config
	cl  *kgo.Client
	sub *kgo.Client
	ids int
}

func newProcess(t *testing.T) *process {
	t.Helper()
	cfg, _ := embeddedtest.Virtual(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	aggregates := []string{schemas.AggregateOrchestration, schemas.AggregateDefinition}
	if err := kafka.EnsureTopics(ctx, cl, cfg.Topics().Specs(4, aggregates, nil)); err != nil {
		t.Fatal(err)
	}
	sub, err := cfg.NewClient(
		kgo.ConsumeTopics(cfg.Topics().Completions(schemas.AggregateOrchestration), cfg.Topics().Completions(schemas.AggregateDefinition)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	cat := catalog.New(cfg)
	pool := agent.NewPool(slog.New(slog.DiscardHandler))
	pool.Register("greet.example.com", agent.ProcessorFunc(func(_ context.Context, a agent.Activity) agent.Result {
		return agent.Complete(map[string]string{"greeting": "hello " + a.Input.String("name")})
	}), 4)
	r, err := runner.New(runner.Config{
		Kafka: cfg, Shards: 4, Member: "m", Local: machines.Local(pool), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Machines: []runner.Binding{machines.Orchestration(cat, nil, 0), machines.Definition(cat)},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	go func() { done <- cat.Run(ctx) }()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return &process{t: t, cfg: cfg, cl: cl, sub: sub}
}

func (p *process) send(aggregate, key, typ, value string) {
	p.t.Helper()
	p.ids++
	r := &kgo.Record{
		Topic: p.cfg.Topics().Commands(aggregate), Key: []byte(key), Value: []byte(value),
		Headers: kafka.CloudEvent{ID: "c" + strconv.Itoa(p.ids), Source: "test", Type: typ, Subject: key}.Headers(),
	}
	if err := p.cl.ProduceSync(p.t.Context(), r).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// decided lets enough fake time pass for what was sent to have been decided.
func (p *process) decided() {
	time.Sleep(time.Second) //nolint:forbidigo // fake time
}

// answer is the next completion or refusal.
func (p *process) answer() (typ, value string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	var r *kgo.Record
	for r == nil {
		f := p.sub.PollRecords(ctx, 1)
		if err := f.Err(); err != nil {
			p.t.Fatal(err)
		}
		if l := f.Records(); len(l) > 0 {
			r = l[0]
		}
	}
	e, err := kafka.ParseCloudEvent(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return e.Type, string(r.Value)
}

func (p *process) answers(typ string, parts ...string) {
	p.t.Helper()
	got, value := p.answer()
	if got != typ {
		p.t.Errorf("the answer is %s %s, want %s", got, value, typ)
	}
	for _, part := range parts {
		if !strings.Contains(value, part) {
			p.t.Errorf("%s says %s, want it to say %q", typ, value, part)
		}
	}
}

const greeting = `{"type":"greeting","schema":{"type":"object","required":["who"],"properties":{"who":{"type":"string"}}},
	"input":{"polite":true},"output":["hello.greeting"],
	"activities":[{"id":"hello","type":"greet.example.com","inputs":[{"source":"who","target":"name"}]}]}`

func TestADefinitionThatWasPutCanBeStartedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		p.send("definition", "activity/greet.example.com", schemas.DefinitionPut, `{"type":"greet.example.com"}`)
		p.decided()
		p.send("definition", "orchestration/greeting", schemas.DefinitionPut, greeting)
		p.decided()
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"greeting","input":{"who":"world"}}`)
		p.answers(schemas.OrchestrationCompleted, `"greeting":"hello world"`)
	})
}

func TestAStartThatDoesNotFitIsRefusedWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"nothing"}`)
		p.answers(schemas.CommandRejected, `"code":"unknown-type"`, "parts-tree")
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"parts-tree","input":{"file":7,"connectorUrl":"http://p"}}`)
		p.answers(schemas.CommandRejected, `"code":"schema"`, `"path":"$.input.file"`)
		p.send("definition", "orchestration/parts-tree", schemas.DefinitionPut, strings.ReplaceAll(greeting, `"greeting"`, `"parts-tree"`))
		p.answers(schemas.CommandRejected, `"code":"conflict"`, "built in")
		p.send("definition", "orchestration/greeting", schemas.DefinitionPut, greeting)
		p.answers(schemas.CommandRejected, `"code":"schema"`, `$.activities[0].type`)
	})
}

func TestAnInactiveTypeTakesNoStartsAndWhatRunsGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		p.send("definition", "orchestration/idle", schemas.DefinitionPut, `{"type":"idle","active":false,"activities":[{"id":"a","type":"noop"}]}`)
		p.decided()
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"idle"}`)
		p.answers(schemas.CommandRejected, `"code":"inactive"`)
	})
}

func TestCommandsThatCannotBeReadAreDeadLettersAndThePartitionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		bad := []*kgo.Record{
			{Key: []byte("job"), Value: []byte(`{"type":`)},
			{Key: []byte("job"), Value: []byte("{\"type\":\"\xff\"}")},
			{Key: []byte{}, Value: []byte(`{"type":"parts-tree"}`)},
			{Key: nil, Value: []byte(`{"type":"parts-tree"}`)},
			{Key: []byte("\xff"), Value: []byte(`{"type":"parts-tree"}`)},
		}
		for i, r := range bad {
			r.Topic = p.cfg.Topics().Commands("orchestration")
			r.Headers = kafka.CloudEvent{ID: "bad" + strconv.Itoa(i), Source: "test", Type: schemas.OrchestrationStart}.Headers()
		}
		bad = append(bad, &kgo.Record{Topic: bad[0].Topic, Key: []byte("job"), Value: []byte("no headers")})
		bad = append(bad, &kgo.Record{Topic: bad[0].Topic, Key: []byte(schemas.ShardKey), Value: []byte(`{}`), Headers: kafka.CloudEvent{ID: "own", Source: "test", Type: schemas.OrchestrationStart}.Headers()})
		if err := p.cl.ProduceSync(t.Context(), bad...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		dead, err := p.cfg.NewClient(kgo.ConsumeTopics(p.cfg.Topics().DeadLetters()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer dead.Close()
		for n := 0; n < len(bad); {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			f := dead.PollFetches(ctx)
			cancel()
			if err := f.Err(); err != nil {
				t.Fatalf("%d of %d dead letters: %v", n, len(bad), err)
			}
			f.EachRecord(func(r *kgo.Record) {
				n++
				var why string
				for _, h := range r.Headers {
					if h.Key == schemas.DeadLetterError {
						why = string(h.Value)
					}
				}
				if why == "" {
					t.Errorf("a dead letter without its reason: %q", r.Value)
				}
			})
		}
		p.send("orchestration", "job", "orchestration.fly.v1", `{}`)
		p.answers(schemas.CommandRejected, `"code":"unknown-type"`)
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"parts-tree","labels":{"x":"`+strings.Repeat("y", 2<<20)+`"}}`)
		p.answers(schemas.CommandRejected, `"code":"limit"`)
	})
}

func TestACommandOnAnotherPartitionIsForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		cl, err := p.cfg.NewClient(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		for part := range int32(4) {
			r := &kgo.Record{
				Topic: p.cfg.Topics().Commands("orchestration"), Partition: part, Key: []byte("job"), Value: []byte(`{"type":"nothing"}`),
				Headers: kafka.CloudEvent{ID: "same", Source: "test", Type: schemas.OrchestrationStart}.Headers(),
			}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		p.answers(schemas.CommandRejected, `"commandId":"same"`)
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"nothing at all"}`)
		p.answers(schemas.CommandRejected, "nothing at all") // and no second answer to the first
	})
}

func TestAStartMayBringItsDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		p.send("orchestration", "bad", schemas.OrchestrationStart, `{"type":"greeting","definition":{"type":"other","activities":[{"id":"a","type":"greet.example.com"}]}}`)
		p.answers(schemas.CommandRejected, `"code":"schema"`, `"path":"$.definition.type"`)
		p.send("orchestration", "bad", schemas.OrchestrationStart, `{"type":"greeting","definition":{"type":"greeting","activities":[{"id":"a","type":"noop","dependsOn":"b"}]}}`)
		p.answers(schemas.CommandRejected, `"code":"schema"`, `"path":"$.definition.activities[0].dependsOn`)
		p.send("orchestration", "bad", schemas.OrchestrationStart, strings.Replace(`{"type":"greeting","definition":DEF,"input":{"who":7}}`, "DEF", greeting, 1))
		p.answers(schemas.CommandRejected, `"code":"schema"`, `"path":"$.input.who"`)
		p.send("orchestration", "job", schemas.OrchestrationStart, strings.Replace(`{"type":"greeting","definition":DEF,"input":{"who":"world"}}`, "DEF", greeting, 1))
		p.answers(schemas.OrchestrationCompleted, `"greeting":"hello world"`)
	})
}

func TestADisposeThatCannotBeStartedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		p.send("definition", "activity/greet.example.com", schemas.DefinitionPut, `{"type":"greet.example.com"}`)
		p.decided()
		p.send("definition", "orchestration/greeting", schemas.DefinitionPut, strings.Replace(greeting, `"input"`, `"disposedBy":"farewell","input"`, 1))
		p.decided()
		p.send("orchestration", "job", schemas.OrchestrationStart, `{"type":"greeting","input":{"who":"world"}}`)
		p.answers(schemas.OrchestrationCompleted, `"greeting":"hello world"`)
		p.send("orchestration", "job", schemas.OrchestrationDispose, `{}`)
		p.answers(schemas.CommandRejected, `"code":"unknown-type"`, "farewell")
		p.send("definition", "orchestration/farewell", schemas.DefinitionPut, `{"type":"farewell","output":["bye.greeting"],
			"activities":[{"id":"bye","type":"greet.example.com","inputs":[{"source":"greeting","target":"name"}]}]}`)
		p.decided()
		p.send("orchestration", "job", schemas.OrchestrationDispose, `{}`)
		p.answers(schemas.OrchestrationCompleted, `"greeting":"hello hello world"`, `"disposes":{"id":"job","run":1}`)
	})
}
