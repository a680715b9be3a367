// Command testsummary reads what `go test -json` writes and prints it for people: a line
// per package, the output of what failed, and how many tests passed, failed and were
// skipped. It ends with 1 if a test failed or none ran at all.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	s := newSummary(os.Stdout)
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(1)
	}
	if !s.print() {
		os.Exit(1)
	}
}

// event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// name identifies a test, or a package where Test is empty.
type name struct{ pkg, test string }

// summary counts tests. A package that fails without a failing test, because it does not
// compile or panics, counts as one failed test: zero failed must mean that all is well.
type summary struct {
	out                     io.Writer
	passed, failed, skipped int
	failedIn                map[string]int    // failed tests by package
	why                     []string          // what each that failed said, in the order of their ends
	output                  map[name][]string // what was said so far
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, failedIn: map[string]int{}, output: map[name][]string{}}
}

// read takes in all events. A line that is not JSON is passed on as it is.
func (s *summary) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			s.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading test events: %w", err)
		}
	}
}

func (s *summary) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		fmt.Fprint(s.out, string(line))
		return
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[n] = append(s.output[n], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output) // the compiler's, which belongs to no test
	case "pass", "skip", "fail":
		if e.Test == "" {
			s.packageEnded(e)
		} else {
			s.testEnded(e.Action, n)
		}
		delete(s.output, n)
	}
}

func (s *summary) testEnded(action string, n name) {
	switch action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		fmt.Fprintf(s.out, "skipped %s %s\n%s", n.pkg, n.test, strings.Join(s.output[n], ""))
	case "fail":
		s.failed++
		s.failedIn[n.pkg]++
		s.explain(fmt.Sprintf("FAILED  %s %s\n", n.pkg, n.test), s.output[n])
	}
}

// packageEnded prints the package's last line, or all it said where no test explains why it failed.
func (s *summary) packageEnded(e event) {
	said := s.output[name{e.Package, ""}]
	if e.Action == "fail" && s.failedIn[e.Package] == 0 {
		s.failed++
		for n, output := range s.output { // a panic or a timeout leaves tests without an end
			if n.pkg == e.Package && n.test != "" {
				said = append(said, output...)
			}
		}
		s.explain(fmt.Sprintf("FAILED  %s\n", e.Package), said)
		return
	}
	if len(said) > 0 {
		fmt.Fprint(s.out, said[len(said)-1])
	}
}

// explain prints what failed and all it said, and keeps the end of that.
func (s *summary) explain(what string, said []string) {
	fmt.Fprint(s.out, what, strings.Join(said, ""))
	s.why = append(s.why, what+strings.Join(said[max(0, len(said)-shownAgain):], ""))
}

// shownAgain is how many lines of what failed, and of how many that failed, are shown again in the end:
// the first reasons are not to be lost among all the packages that come after them.
const shownAgain = 7

// print writes the first that failed once more, and the last line, and tells whether all is well.
func (s *summary) print() bool {
	fmt.Fprint(s.out, strings.Join(s.why[:min(len(s.why), shownAgain)], ""))
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	if s.passed+s.failed == 0 {
		fmt.Fprintln(s.out, "no test ran")
		return false
	}
	return s.failed == 0
}
