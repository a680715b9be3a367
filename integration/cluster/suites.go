package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
)

const module = "github.com/waybill/waybill/"

// suite is the tests of a package that need a Kafka.
type suite struct {
	pkg string
	// tests is a pattern of their names, where the package has many that need none, or start a
	// program for each: then these are some of each kind.
	tests string
	// slow is a pattern of those that only -full runs.
	slow string
	// long suites are shared out between those who run the suites in several ways: -share.
	long bool
}

// suites are in order of how much rests on them.
var suites = []suite{
	{pkg: "internal/pubsub", tests: "Suite|NothingIsLeftRunning"},
	{pkg: "internal/blobs", slow: "ManyArePut"},
	{pkg: "consumers/runner", long: true, slow: "AlwaysSomethingToDo|WhateverHappensToTheMembers|RunAgainAfterRestarts|" +
		"AnOwnerMayDieAnywhere|ThatIsNoGood|HistoryIsLetGo|HistoryOfWhatLives|HasNotChanged|WithoutCheckpoints"},
	{pkg: "consumers/agent", tests: "OnKafka"},
	{pkg: "consumers/agent/launch", tests: "ThatWasLaunched"},
	{pkg: "consumers/completions"},
	{pkg: "producers", long: true},
	{pkg: "projections", long: true},
	{pkg: "projections/query", long: true},
	{pkg: "cmd/waybill/internal/cli", tests: "Straight|Verbs"},
	{pkg: "cmd/waybill/internal/app", tests: "RunsFromDefinitionToResult|GoesOnAsTheSameMember|JoinsTheBroker|NobodyCanRead|KeepsItsVersion|LooksAfterAJob|TenMegabytes"},
}

// test is one of them, as `go test -json` tells of it.
type test struct {
	onKafka bool
	output  []string
}

// half matches names of tests that have an even number of letters: about one of two.
const half = "^(..)*$"

// The shares of the long suites.
const (
	even = "even"
	odd  = "odd"
)

// run runs the tests of a package and returns how many ran on the brokers, and passed.
func (s suite) run(ctx context.Context, full bool, share string) (int, error) {
	began := time.Now()
	// Beside each other, however few cores there are: they mostly wait for a broker.
	args := []string{"test", "-json", "-count=1", "-parallel=8", "-timeout=5m"}
	var skipped []string
	switch {
	case s.tests != "":
		args = append(args, "-run", s.tests)
	case s.long && share == even:
		args = append(args, "-run", half)
	case s.long && share == odd:
		skipped = append(skipped, half)
	}
	if s.slow != "" && !full {
		skipped = append(skipped, s.slow)
	}
	if len(skipped) > 0 {
		args = append(args, "-skip", strings.Join(skipped, "|"))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, module+s.pkg)...) //nolint:gosec // from the table above
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	passed, why := s.follow(out)
	if err := cmd.Wait(); err != nil {
		return passed, fmt.Errorf("%s\ngo %s: %w", why, strings.Join(cmd.Args[1:], " "), err)
	}
	if passed == 0 {
		return 0, fmt.Errorf("no test ran on %s", os.Getenv(cluster.BrokersVariable))
	}
	fmt.Printf("  %-26s %3d tests, %5.1f s\n", s.pkg, passed, time.Since(began).Seconds())
	return passed, nil
}

// shownAgain is how many lines of a test that failed stand in the error.
const shownAgain = 8

// follow reads what go test tells, and prints the output of what failed; why is the end of that.
func (s suite) follow(out io.Reader) (passed int, why string) {
	tests := map[string]*test{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Output, Key string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		t := tests[e.Test]
		if t == nil {
			t = &test{}
			tests[e.Test] = t
		}
		switch e.Action {
		case "attr":
			t.onKafka = t.onKafka || e.Key == kafkatest.Attr
		case "output", "build-output":
			t.output = append(t.output, e.Output)
		case "pass":
			if t.onKafka {
				passed++
			}
			delete(tests, e.Test)
		case "skip":
			delete(tests, e.Test)
		case "fail", "build-fail":
			fmt.Print(strings.Join(t.output, ""))
			if e.Test != "" || why == "" {
				why += strings.Join(t.output[max(0, len(t.output)-shownAgain):], "")
			}
			delete(tests, e.Test)
		}
	}
	return passed, why
}

// nothingForgotten compares the table with the packages whose tests take any Kafka.
func nothingForgotten(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}} {{.TestImports}} {{.XTestImports}}`, module+"...").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	known := map[string]bool{}
	for _, s := range suites {
		known[module+s.pkg] = true
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(line, " ")
		if strings.Contains(imports, module+"internal/kafka/kafkatest") && !known[pkg] {
			return fmt.Errorf("the tests of %s take any Kafka, and are not in the table of suites", pkg)
		}
	}
	return nil
}
