package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
)

// shown is what these tests look at of a job.
type shown struct {
	ID           string `json:"id"`
	State        string `json:"state"`
	Run          int    `json:"run"`
	Compensation *struct {
		State            string
		Total, Completed int
	} `json:"compensation"`
	Disposal *struct{ ID, By, Reason string } `json:"disposal"`
	Disposes *struct {
		ID  string
		Run int
	} `json:"disposes"`
	Output json.RawMessage `json:"output"`
	Nodes  []struct {
		ID, State, Discriminator, StartedAt string
		DependsOn                           []string
		Output                              json.RawMessage
	} `json:"nodes"`
}

// nodes lists the nodes as "id state".
func (j *shown) nodes() string {
	var l []string
	for _, n := range j.Nodes {
		l = append(l, n.ID+" "+n.State)
	}
	return strings.Join(l, ", ")
}

// terminal runs commands against a server.
type terminal struct {
	t      *testing.T
	server string
}

func (x terminal) run(command string) (out, errs string, code int) {
	x.t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(x.t.Context(), cli.Env{Out: &o, Err: &e, Getenv: func(name string) (string, bool) {
		if name == "WAYBILL_SERVER" {
			return x.server, true
		}
		return "", false
	}}, words(command)...)
	return o.String(), e.String(), code
}

// job runs a command that shows a job.
func (x terminal) job(command string, want int) *shown {
	x.t.Helper()
	out, errs, code := x.run(command + " -o json")
	var j shown
	if err := json.Unmarshal([]byte(out), &j); err != nil || code != want {
		x.t.Fatalf("%s: exit %d, want %d: %v\n%s%s", command, code, want, err, out, errs)
	}
	return &j
}

// refuses runs a command that has to be refused for a reason.
func (x terminal) refuses(command string, want int, reason string) {
	x.t.Helper()
	if out, errs, code := x.run(command); code != want || !strings.Contains(errs, reason) {
		x.t.Errorf("%s: exit %d, want %d\n%s%s", command, code, want, out, errs)
	}
}

func (x terminal) equal(what string, got, want any) {
	x.t.Helper()
	if got != want {
		x.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestWhatHadCompletedIsUndoneAndTheJobRunsAgain(t *testing.T) {
	x := terminal{t, serve(t)}
	if _, errs, code := x.run("apply -f testdata/lifecycle.yaml"); code != 0 {
		t.Fatal(errs)
	}
	undone := "network COMPLETED, vm COMPLETED, dns FAILED, vm~dispose COMPLETED, network~dispose COMPLETED"
	j := x.job(`submit --id broken --type stack --input '{"dns":"fatal"}' --wait`, 1)
	x.equal("the state", j.State, "ERROR")
	x.equal("the nodes", j.nodes(), undone)
	if c := j.Compensation; c == nil || c.State != "COMPLETED" || c.Total != 2 || c.Completed != 2 {
		t.Errorf("the compensation is %+v", c)
	}
	x.refuses("rerun broken --from nowhere", 4, "no activity \"nowhere\"")
	if out, _, _ := x.run("rerun --type stack --dry-run"); out != "1 job to rerun\n" {
		t.Error(out)
	}
	j = x.job("rerun broken --from network,vm --reason 'once more' --wait", 1)
	x.equal("the run", j.Run, 2)
	x.equal("the nodes of the second run", j.nodes(), undone)
	if out, _, _ := x.run("get broken"); !strings.Contains(out, "COMPLETED: 2 of 2 activities undone") {
		t.Error(out)
	}
}

func TestAJobIsRunAgainFromANodeAndDisposedOf(t *testing.T) {
	x := terminal{t, serve(t)}
	if _, errs, code := x.run("apply -f testdata/lifecycle.yaml"); code != 0 {
		t.Fatal(errs)
	}
	first := x.job("submit --id well --type plain --wait", 0)
	x.refuses("rerun well", 4, "name the one to run again from")
	second := x.job("rerun well --from vm --wait", 0)
	x.equal("the run", second.Run, 2)
	x.equal("the first node, which is kept", second.Nodes[0].StartedAt, first.Nodes[0].StartedAt)
	if second.Nodes[1].StartedAt == first.Nodes[1].StartedAt {
		t.Error("the second node has not run again")
	}
	if out, errs, code := x.run("dispose well --reason 'the customer left' --by kim"); out != "job well disposed of\n" || code != 0 {
		t.Fatal(out, errs)
	}
	gone := x.job("dispose well --wait", 0) // the second time it is the same
	x.equal("the nodes", gone.nodes(), "vm COMPLETED, network COMPLETED")
	if gone.Disposes == nil || gone.Disposes.ID != "well" || gone.Disposes.Run != 2 || gone.Nodes[1].Discriminator != "dispose" {
		t.Errorf("%+v", gone)
	}
	j := x.job("get well", 0)
	if d := j.Disposal; d == nil || d.ID != gone.ID || d.By != "kim" || d.Reason != "the customer left" {
		t.Errorf("the disposal is %+v", d)
	}
	out, _, _ := x.run("get well")
	for _, want := range []string{"run          2\n", "disposed by  " + gone.ID + " (since ", ", by kim: the customer left)\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	x.refuses("rerun well --from vm", 4, "is disposed of by "+gone.ID)
	x.refuses("dispose "+gone.ID, 4, "is itself there to dispose of well")
	x.refuses("dispose nothing", 4, "there is no orchestration")
	x.refuses("dispose well --wait --brokers 127.0.0.1:1", 2, "--wait asks a server")
	x.refuses("rerun --type stack --yes --wait", 2, "--wait is for one job")
}

// The machines remember a refusal with the command's ID, which is that of the same start said again.
func TestWhatWasRefusedCanBeSaidAgain(t *testing.T) {
	x := terminal{t, serve(t)}
	x.refuses("submit --id early --type plain", 4, "there is no orchestration type")
	if _, errs, code := x.run("apply -f testdata/lifecycle.yaml"); code != 0 {
		t.Fatal(errs)
	}
	x.equal("the job", x.job("submit --id early --type plain --wait", 0).State, "COMPLETED")
	x.equal("the job, said again", x.job("submit --id early --type plain --wait", 0).State, "COMPLETED")

	file := filepath.Join(t.TempDir(), "off.yaml")
	for _, active := range []string{"false", "true"} {
		doc := "type: closed\nactive: " + active + "\nactivities: [{id: a, type: noop}]\n---\nkind: Orchestration\nname: closed-1\ntype: closed\n"
		if err := os.WriteFile(file, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		_, errs, code := x.run("apply --wait -f " + file)
		switch {
		case active == "true" && code != 0:
			t.Errorf("exit %d: %s", code, errs)
		case active == "false" && (code != 4 || !strings.Contains(errs, "not active") || strings.Contains(errs, "somebody else")):
			t.Errorf("exit %d: %s", code, errs)
		}
	}
}
