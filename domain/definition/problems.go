package definition

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill/waybill/domain/machine"
)

// maxProblems is how many mistakes are named; the rest are counted. The answer to a
// command has to fit into a record.
const maxProblems = 100

// findings collects mistakes in the order in which they are found.
type findings struct {
	problems []machine.Problem
	more     int
}

func (f *findings) add(at, format string, args ...any) {
	if len(f.problems) == maxProblems {
		f.more++
		return
	}
	f.problems = append(f.problems, machine.Problem{Path: at, Message: fmt.Sprintf(format, args...)})
}

func (f *findings) addAll(l []machine.Problem) {
	for _, p := range l {
		f.add(p.Path, "%s", p.Message)
	}
}

func (f *findings) all() []machine.Problem {
	if f.more > 0 {
		return append(f.problems[:maxProblems:maxProblems], machine.Problem{Message: fmt.Sprintf("%d more mistakes are not listed", f.more)})
	}
	return f.problems
}

// member is the path of an object's property: in brackets where it would be misread.
func member(at, name string) string {
	if !plainName(name) {
		return at + "[" + quote(name) + "]"
	}
	if at == "" {
		return name
	}
	return at + "." + name
}

func plainName(s string) bool {
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '$', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

// element is the path of an array's element.
func element(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }

// shown bounds how much of a value is repeated in a message, in bytes.
const shown = 80

// quote writes a value as JSON, cut off where it is long.
func quote(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(v))
	}
	s := strings.TrimSuffix(b.String(), "\n")
	if len(s) <= shown {
		return s
	}
	return strings.ToValidUTF8(s[:shown], "") + "…"
}

// found names what was found instead of what was wanted.
func found(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean " + quote(v)
	case json.Number:
		return "number " + quote(v)
	case string:
		return "string " + quote(v)
	case []any:
		return "an array"
	default:
		return "an object"
	}
}

func (f *findings) want(at, what string, v any) { f.add(at, "want %s, found %s", what, found(v)) }

// didYouMean is a question that names what is nearest to a misspelt name; "" where nothing is near.
func didYouMean(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k), distance); d < distance {
			best, distance = k, d
		}
	}
	if best == "" || distance >= len(best) {
		return ""
	}
	return "; did you mean " + quote(best) + "?"
}

// edits is Levenshtein's distance in bytes, or at least limit where it is not smaller.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
			least = min(least, row[j+1])
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(b)]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
