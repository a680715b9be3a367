package launch_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/launch"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agent/services"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/schemas"
)

type ownSettings struct {
	URL string     `json:"url"`
	Big int64      `json:"big"`
	Key secret.Ref `json:"key,omitzero"`
}

func tester(own any) launch.Agent {
	greeter := func(context.Context, *services.Services) (agent.Processor, error) {
		return agent.ProcessorFunc(func(_ context.Context, a agent.Activity) agent.Result {
			return agent.Complete("hello " + a.Input.String("name"))
		}), nil
	}
	return launch.Agent{Name: "the-tester", Version: "1.2", Settings: own, Types: []launch.Type{{Type: "one", Concurrency: 3, New: greeter}, {Type: "two", New: greeter}}}
}

// printed runs with --print-config and more.
func printed(t *testing.T, own any, env map[string]string, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = launch.Run(t.Context(), tester(own), launch.Env{
		Args: append(args, "--print-config"), Out: &stdout, Err: &stderr,
		Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	return code, stdout.String(), stderr.String()
}

func TestFlagsGoBeforeTheEnvironmentBeforeTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	file := `
name: from-file
brokers: ["file:1"]
prefix: from-file
concurrency: {one: 5}
grace: 5s
logLevel: warn
vault: {address: "http://v", appRole: {roleId: r, secretId: {env: SID}}}
settings: {url: file, big: 9007199254740993, key: {vault: "a#b"}}
`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := printed(t, &ownSettings{URL: "default"}, map[string]string{
		"THE_TESTER_CONFIG": path, "THE_TESTER_PREFIX": "from-env", "THE_TESTER_GRACE": "PT7S", "WAYBILL_BROKERS": "other:1", "THE_TESTER_CONCURRENCY": "two=9",
	}, "--grace", "9s", "--settings", "{url: flag}")
	if code != 0 {
		t.Fatalf("%d: %s", code, stderr)
	}
	for _, line := range []string{
		"name: from-file\n", "- file:1\n", "prefix: from-env\n", "grace: PT9S\n", "logLevel: warn\n", "  one: 5\n", "  two: 9\n",
		"  url: flag\n", "  big: 9007199254740993\n", "    vault: a#b\n", "      env: SID\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
}

func TestAConfigurationThatIsWrongIsRefused(t *testing.T) {
	for says, args := range map[string][]string{
		"say where Kafka is":             {},
		"want host:port":                 {"--brokers", "kafka"},
		"--log-level loud":               {"--brokers", "k:1", "--log-level", "loud"},
		"--log-format xml":               {"--brokers", "k:1", "--log-format", "xml"},
		"--grace":                        {"--brokers", "k:1", "--grace", "soon"},
		`no type "three"`:                {"--brokers", "k:1", "--concurrency", "three=1"},
		"one=0: want 1":                  {"--brokers", "k:1", "--concurrency", "one=0"},
		"it needs --insecure said aloud": {"--brokers", "k:1", "--listen", "0.0.0.0:1"},
		`unknown field "uri"`:            {"--brokers", "k:1", "--settings", `{"uri":1}`},
		"no such file":                   {"--brokers", "k:1", "--config", "absent.yaml"},
		"unknown flag":                   {"--nothing"},
		"there are no arguments":         {"run"},
	} {
		code, _, stderr := printed(t, &ownSettings{}, nil, args...)
		if code != 2 || !strings.Contains(stderr, says) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: %d, %q, want %q on one line", args, code, stderr, says)
		}
	}
	if code, _, stderr := printed(t, nil, nil, "--brokers", "k:1", "--settings", "{a: 1}"); code != 2 || !strings.Contains(stderr, "none of its own") {
		t.Errorf("%d, %s", code, stderr)
	}
}

// output is what a program has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var listens = regexp.MustCompile(`listen=(\S+)`)

func TestAnAgentThatWasLaunched(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := kafkatest.New(t)
	topics := cfg.Topics()
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands("orchestration")), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := kafka.EnsureTopics(ctx, cl, topics.Specs(2, []string{"orchestration"}, []string{"one", "two"})); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var log output
	ended := make(chan int, 1)
	go func() {
		ended <- launch.Run(running, tester(nil), launch.Env{Args: []string{"--brokers", cfg.Brokers[0], "--prefix", cfg.Prefix, "--name", "t"}, Err: &log})
	}()
	var at string
	for at == "" && ctx.Err() == nil {
		if m := listens.FindStringSubmatch(log.String()); m != nil {
			at = m[1]
		}
		<-time.After(5 * time.Millisecond)
	}
	for _, typ := range []string{"one", "two"} {
		w := machine.Work{ID: "w-" + typ, Attempt: 1, Aggregate: "orchestration", AggregateID: "job", Type: typ, ActivityID: "a", Input: []byte(`{"name":"you"}`), HeartbeatTimeout: 9000}
		raw, err := schemas.Encode(w)
		if err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: topics.Work(typ), Key: []byte(w.ID), Value: raw, Headers: kafka.CloudEvent{ID: w.ID, Type: schemas.WorkRequested, InputOffset: -1}.Headers()}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for done := 0; done < 2; {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of 2 were done: %s", done, log.String())
		}
		for _, r := range fetches.Records() {
			if e, err := kafka.ParseCloudEvent(r); err == nil && e.Type == schemas.WorkComplete {
				done++
			}
		}
	}
	if status, body := get(ctx, t, "http://"+at+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := get(ctx, t, "http://"+at+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
	_, metrics := get(ctx, t, "http://"+at+"/metrics")
	for _, line := range []string{`waybill_agent_activities_total{result="complete",type="one"} 1`, `waybill_agent_slots{type="one"} 3`, `waybill_agent_running{type="two"} 0`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %s among the metrics", line)
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Fatalf("it ended with %d: %s", code, log.String())
	}
}

func get(ctx context.Context, t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAnAddressThatIsTakenIsAUsageError(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's
	var stderr bytes.Buffer
	code := launch.Run(t.Context(), tester(nil), launch.Env{Args: []string{"--brokers", "127.0.0.1:1", "--listen", ln.Addr().String()}, Err: &stderr})
	if code != 2 || !strings.Contains(stderr.String(), "in use by another program") {
		t.Errorf("%d: %s", code, &stderr)
	}
}
