package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
)

// ran is what a command said, and its exit code.
func ran(t *testing.T, env map[string]string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(t.Context(), cli.Env{Out: &o, Err: &e, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}, args...)
	return o.String(), e.String(), code
}

func TestTopicsAreCreatedComparedAndComeToNoHarmByASecondTime(t *testing.T) {
	brokers := strings.Join(embeddedtest.New(t).Brokers, ",")
	for _, step := range []struct {
		args, says string
		code       int
	}{
		{"describe", "missing", 4},
		{"create --dry-run", "to be created", 0},
		{"describe", "missing", 4},
		{"create --type greet.example.com --replication 1", "waybill.work.greet.example.com", 0},
		{"create", "every topic was there", 0},
		{"describe", "waybill.work.greet.example.com", 0},
		{"describe --shards 4", "use --shards 8", 4},
		{"describe -o json", `"state": "ok"`, 0},
		{"create --shards 4", "use --shards 8", 4},
		{"create --replication -1", "want 1 or more", 2},
		{"describe -o yaml", "want table or json", 2},
	} {
		out, errs, code := ran(t, nil, append([]string{"topics"}, append(strings.Fields(step.args), "--brokers", brokers)...)...)
		if code != step.code || !strings.Contains(out+errs, step.says) {
			t.Errorf("topics %s: code %d, want %d and %q: %s%s", step.args, code, step.code, step.says, out, errs)
		}
	}
}

func TestTheRightsOfARoleArePrintedForKafkasOwnTool(t *testing.T) {
	out, errs, code := ran(t, nil, "topics", "acls", "--role", "agents", "--type", "greet.example.com", "--principal", "User:o'hara", "--brokers", "k:9092", "--prefix", "p")
	want := `kafka-acls --bootstrap-server k:9092 --add --allow-principal 'User:o'\''hara' --operation Read --operation AlterConfigs --group p.share.greet.example.com`
	if code != 0 || !strings.Contains(out, want) || strings.Contains(out, "p.transfer.commands") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	for _, args := range []string{"--role nobody", "--principal User:x", "--role api --principal x"} {
		if _, errs, code := ran(t, nil, append([]string{"topics", "acls"}, strings.Fields(args)...)...); code != 2 {
			t.Errorf("%s: code %d: %s", args, code, errs)
		}
	}
}

func TestHowKafkaIsReachedComesFromFlagsEnvironmentAndFileAndIsPrintedWithoutThePassword(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "waybill.yaml")
	if err := os.WriteFile(file, []byte("kafka: {sasl: plain, user: filed, serverName: filed, insecure: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"WAYBILL_KAFKA_USER": "environed", "WAYBILL_KAFKA_SERVER_NAME": "environed", "WAYBILL_KAFKA_PASSWORD": "hunter2"}
	out, errs, code := ran(t, env, "serve", "--print-config", "--config", file, "--kafka-user", "flagged", "--kafka-tls")
	for _, want := range []string{"kafka:\n", "  sasl: plain\n", "  user: flagged\n", "  serverName: environed\n", "  tls: true\n", "  insecure: true\n"} {
		if code != 0 || !strings.Contains(out, want) || strings.Contains(out+errs, "hunter2") {
			t.Errorf("code %d, want %q: %s%s", code, want, out, errs)
		}
	}
	printed := filepath.Join(dir, "printed.yaml")
	if err := os.WriteFile(printed, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, errs, code := ran(t, nil, "serve", "--print-config", "--config", printed); code != 0 || again != out {
		t.Errorf("what was printed is not read back: %d %s%s", code, again, errs)
	}
	for content, says := range map[string]string{"kafka: {sals: plain}": `no setting "sals"`, "kafka: plain": "want a section", "kafkaSasl: plain": `no setting "kafkaSasl"`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := ran(t, nil, "serve", "--print-config", "--config", file); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("%s: code %d: %s", content, code, errs)
		}
	}
}

func TestAMistakeInHowKafkaIsReachedIsOneLine(t *testing.T) {
	for _, command := range []string{"serve --data " + t.TempDir(), "submit --type t", "bench", "topics describe", "agent http"} {
		args := append(strings.Fields(command), "--brokers", "kafka.example.com:9092", "--kafka-sasl", "scram-sha-512", "--kafka-user", "u")
		_, errs, code := ran(t, map[string]string{"WAYBILL_KAFKA_PASSWORD": "hunter2"}, args...)
		if code != 2 || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "--kafka-insecure") || strings.Contains(errs, "hunter2") {
			t.Errorf("%s: code %d: %s", command, code, errs)
		}
	}
}
