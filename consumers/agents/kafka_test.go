package agents_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

const commands = "waybill.orchestration.commands"

// clusters are ours and another one, with its topics.
type clusters struct {
	own, other kafka.Config
	commands   *kgo.Client // reads reports
	orders     *kgo.Client // reads what was published
}

func newClusters(ctx context.Context, t *testing.T) clusters {
	t.Helper()
	c := clusters{own: embeddedtest.New(t), other: embeddedtest.New(t)}
	topics := func(cfg kafka.Config, names ...string) *kgo.Client {
		cl, err := cfg.NewClient(kgo.ConsumeTopics(names[0]), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		if _, err := kadm.NewClient(cl).CreateTopics(ctx, 2, 1, nil, names...); err != nil {
			t.Fatal(err)
		}
		return cl
	}
	c.commands = topics(c.own, commands, "waybill.blobs")
	c.orders = topics(c.other, "orders.new", "replies")
	return c
}

func (c clusters) agent(t *testing.T, change ...func(*agents.KafkaConfig)) *agents.Kafka {
	t.Helper()
	cfg := agents.KafkaConfig{Own: c.own, Brokers: c.other.Brokers, Topics: []string{"orders.*", "waybill.*", "__*", "gone"}, Replies: []string{"replies"}, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	k, err := agents.NewKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// one reads the next record.
func one(ctx context.Context, t *testing.T, cl *kgo.Client) *kgo.Record {
	t.Helper()
	for {
		fetches := cl.PollRecords(ctx, 1)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		if !fetches.Empty() {
			return fetches.Records()[0]
		}
	}
}

func headers(r *kgo.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

// reply answers a record as its headers ask for.
func (c clusters) reply(ctx context.Context, t *testing.T, to *kgo.Record, value string, more ...kgo.RecordHeader) {
	t.Helper()
	h := headers(to)
	r := &kgo.Record{Topic: h["reply-topic"], Value: []byte(value), Headers: append(more, kgo.RecordHeader{Key: "correlation-id", Value: []byte(h["correlation-id"])})}
	if err := c.orders.ProduceSync(ctx, r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func run(ctx context.Context, k *agents.Kafka) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

const order = `{"topic": "orders.new", "key": 7, "value": {"n": 12345678901234567890}, "headers": {"b": "1", "a": 2, "none": null}, "reply": {"topic": "replies", "timeout": "PT1H"}}`

func TestKafkaPublishesAndReportsTheReply(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := newClusters(ctx, t)
	key := func(cfg *agents.KafkaConfig) { cfg.Proofs = callbacks.New([]byte("key")) }
	k := c.agent(t, key)
	a := activity(order)
	a.JobID = "job 1"
	if r := k.Process(ctx, a); r.Kind() != agent.Waiting || r.Wants() != time.Hour {
		t.Fatalf("it is %s for %s: %v", r.Kind(), r.Wants(), r.Err())
	}
	sent := one(ctx, t, c.orders)
	h := headers(sent)
	if string(sent.Key) != "7" || string(sent.Value) != `{"n": 12345678901234567890}` || h["a"] != "2" || h["b"] != "1" || h["waybill-work-id"] != "work-1" || h["content-type"] != "application/json" {
		t.Errorf("it published %s %s %v", sent.Key, sent.Value, h)
	}
	if !strings.HasPrefix(h["correlation-id"], "waybill work-1 1 ") {
		t.Errorf("the correlation id is %s", h["correlation-id"])
	}
	// The process that published is gone; what was answered before another one was there is
	// read all the same, and so is what is none of our business.
	k.Close()
	for _, foreign := range []string{"", "abc", "waybill", "waybill work-1 1 forged job 1", "waybill work-1 x y z"} {
		c.reply(ctx, t, &kgo.Record{Headers: []kgo.RecordHeader{{Key: "reply-topic", Value: []byte("replies")}, {Key: "correlation-id", Value: []byte(foreign)}}}, "forged")
	}
	c.reply(ctx, t, sent, `{"total": 12345678901234567890}`, kgo.RecordHeader{Key: "x", Value: []byte("y")})
	second := c.agent(t, key)
	stop := run(ctx, second)
	report := one(ctx, t, c.commands)
	e, err := kafka.ParseCloudEvent(report)
	if err != nil || e.Type != schemas.WorkComplete || e.Subject != "job 1" || string(report.Key) != "job 1" {
		t.Fatalf("reported %s %+v %v", report.Key, e, err)
	}
	var body struct {
		WorkID  string
		Attempt int
		Output  json.RawMessage
	}
	if err := json.Unmarshal(report.Value, &body); err != nil || body.WorkID != "work-1" || body.Attempt != 1 {
		t.Fatalf("reported %s, %v", report.Value, err)
	}
	if path(t, body.Output, "value") != `{"total":12345678901234567890}` || path(t, body.Output, "headers", "x") != `"y"` || path(t, body.Output, "topic") != `"replies"` {
		t.Errorf("the output is %s", body.Output)
	}
	// A repeated reply is reported under the same ID, one with an error as a failure.
	c.reply(ctx, t, sent, `{"total": 1}`)
	if again, err := kafka.ParseCloudEvent(one(ctx, t, c.commands)); err != nil || again.ID != e.ID {
		t.Errorf("the repeat has the ID %s, not %s: %v", again.ID, e.ID, err)
	}
	c.reply(ctx, t, sent, "", kgo.RecordHeader{Key: "error", Value: []byte("sold out")})
	refused := one(ctx, t, c.commands)
	if e, err := kafka.ParseCloudEvent(refused); err != nil || e.Type != schemas.WorkFail || !strings.Contains(string(refused.Value), "replies answers: sold out") {
		t.Errorf("reported %s %s, %v", e.Type, refused.Value, err)
	}
	for value, want := range map[string]string{"caf\xe9": `"base64":"Y2Fm6Q=="`, "<html>": `"value":"\u003chtml\u003e"`, strings.Repeat("x", 1<<20): `"value":{"$blob":{"id":"job 1/`} {
		c.reply(ctx, t, sent, value)
		if r := one(ctx, t, c.commands); !strings.Contains(string(r.Value), want) && !strings.Contains(string(r.Value), strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(want)) {
			t.Errorf("%.20q is reported as %.300s", value, r.Value)
		}
	}
	c.reply(ctx, t, sent, `{"a": [{"\u0024blob": {"id": "another job's"}}]}`)
	if r := one(ctx, t, c.commands); !strings.Contains(string(r.Value), "is reserved for values") {
		t.Errorf("a reference is reported as %s", r.Value)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	// What was reported is not reported again by whoever comes next.
	third := run(ctx, c.agent(t, key))
	c.reply(ctx, t, sent, `"the last one"`)
	if r := one(ctx, t, c.commands); !strings.Contains(string(r.Value), "the last one") {
		t.Errorf("reported again: %.300s", r.Value)
	}
	if err := third(); err != nil {
		t.Error(err)
	}
}

func TestKafkaPublishesWithoutAReply(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := newClusters(ctx, t)
	k := c.agent(t)
	out := completed(t, k.Process(ctx, activity(`{"topic": "orders.new", "text": "hello"}`)))
	sent := one(ctx, t, c.orders)
	if string(sent.Value) != "hello" || sent.Key != nil || path(t, out, "topic") != `"orders.new"` || headers(sent)["correlation-id"] != "" {
		t.Errorf("it published %q, and says %s", sent.Value, out)
	}
	completed(t, k.Process(ctx, activity(`{"topic": "orders.new", "key": "k"}`)))
	if sent := one(ctx, t, c.orders); sent.Value != nil || string(sent.Key) != "k" {
		t.Errorf("without a value it published %q", sent.Value)
	}
	for input, want := range map[string]string{
		`{}`:                 "not among those",
		`{"topic": "other"}`: "not among those",
		`{"topic": "waybill.orchestration.commands", "value": {}}`:                                                        "not among those",
		`{"topic": "__consumer_offsets"}`:                                                                                 "not among those",
		`{"topic": "orders.new", "reply": {"topic": "orders.x"}}`:                                                         "reads replies from",
		`{"topic": "orders.new", "value": 1, "text": "1"}`:                                                                "want one of them",
		`{"topic": "orders.new", "key": {}}`:                                                                              "key:",
		`{"topic": "orders.new", "headers": {"a": []}}`:                                                                   "headers.a:",
		`{"topic": "orders.new", "headers": {"waybill-work-id": "w"}}`:                                                    "cannot be set",
		`{"topic": "orders.new", "headers": {"correlation-id": "waybill work-2 1 job-2"}, "reply": {"topic": "replies"}}`: "cannot be set",
		`{"topic": "orders.new", "tpoic": 1}`:                                                                             "unknown field",
		`{"topic": "gone", "value": 1}`:                                                                                   "publish to gone",
	} {
		failed(t, k.Process(ctx, activity(input)), agent.Failed, want)
	}
	undo := func(input string) agent.Result {
		a := activity(input)
		a.Discriminator = "dispose"
		return k.Process(ctx, a)
	}
	completed(t, undo(`{"topic": "orders.new", "dispose": {}, "partition": 1, "offset": 2}`))
	completed(t, undo(`{"topic": "replies", "value": {}, "dispose": {"topic": "orders.new", "text": "undo"}, "offset": 2}`))
	if sent := one(ctx, t, c.orders); string(sent.Value) != "undo" {
		t.Errorf("to undo it published %q", sent.Value)
	}
	failed(t, undo(`{"topic": "orders.new", "value": {}}`), agent.Failed, "does not say how to undo")
	cut, stop := context.WithCancel(ctx)
	stop()
	failed(t, k.Process(cut, activity(`{"topic": "orders.new"}`)), agent.Retrying, "canceled")
	if _, err := agents.NewKafka(ctx, agents.KafkaConfig{Own: c.own, Replies: []string{"waybill.blobs"}}); err == nil {
		t.Error("a topic of our own is read for replies")
	}
	own := c.agent(t, func(cfg *agents.KafkaConfig) { cfg.Brokers, cfg.Topics = nil, []string{"*"} })
	failed(t, own.Process(ctx, activity(`{"topic": "waybill.shards", "value": 1}`)), agent.Failed, "not among those")
}

func TestKafkaIsSomebodyToAnotherClusterAsToOurOwn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, other, _ := embeddedtest.Guarded(t)
	cl, err := other.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, 1, 1, nil, "orders.new"); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	from := func(settings string) (*agents.Kafka, error) {
		cfg := agents.KafkaConfig{Own: kafka.Config{Brokers: []string{"127.0.0.1:1"}}, Secrets: new(secret.Store)}
		if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Own.Dial = other.Dial
		return agents.NewKafka(ctx, cfg)
	}
	for settings, says := range map[string]string{
		`{"brokers": ["h:1"], "sasl": "plain", "user": "admin", "passwordFile": "` + password + `"}`: "anybody on the way can listen",
		`{"brokers": ["h:1"], "ca": "/none", "sasl": "plain", "user": "admin"}`:                      "no such file",
		`{"brokers": ["h:1"], "sasl": "plain"}`:                                                      "needs --kafka-user",
		`{"tls": true}`:                                                                              "to no brokers",
	} {
		if _, err := from(settings); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", settings, err)
		}
	}
	k, err := from(`{"topics": ["orders.*"], "brokers": ["` + other.Brokers[0] + `"], "sasl": "plain", "user": "admin", "password": {"file": "` + password + `"}}`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	short, enough := context.WithTimeout(ctx, time.Second)
	defer enough()
	if r := k.Process(short, activity(`{"topic": "orders.new", "value": 1}`)); r.Kind() != agent.Retrying {
		t.Errorf("with a wrong password it is %s: %v", r.Kind(), r.Err())
	}
	if err := os.WriteFile(password, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := k.Process(ctx, activity(`{"topic": "orders.new", "value": 1}`)); r.Kind() != agent.Completed {
		t.Errorf("it does not go on with the right password: %v", r.Err())
	}
}
