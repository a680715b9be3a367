package machinetest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// show writes a value as its Go type and its JSON.
func show(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Sprintf("%T (no JSON: %v) %+v", v, err, v)
	}
	return fmt.Sprintf("%T %s", v, b)
}

// lines shows each value and splits the whole at its line ends.
func lines[T any](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, strings.Split(show(v), "\n")...)
	}
	return out
}

// diff says where two lists differ when they are written down, line by line; "" means nowhere.
func diff[T any](want, got []T) string {
	a, b := lines(want), lines(got)
	if len(want) == len(got) && equal(a, b) {
		return ""
	}
	return strings.Join(edits(a, b), "\n")
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// edits leads from a to b by a longest common subsequence. Its table is quadratic, so the
// lines that both begin and end with are taken off first.
func edits(a, b []string) []string {
	var head, tail []string
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head, a, b = append(head, "  "+a[0]), a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, "  "+a[len(a)-1])
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	out := append(head, middle(a, b)...)
	for i := len(tail) - 1; i >= 0; i-- {
		out = append(out, tail[i])
	}
	return out
}

// most is how many pairs of lines are compared; what is larger is shown as removed and added.
const most = 1 << 22

func middle(a, b []string) []string {
	if len(a)*len(b) > most {
		return append(marked("- ", a), marked("+ ", b)...)
	}
	common := make([][]int, len(a)+1) // common[i][j]: of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out, i, j = append(out, "  "+a[i]), i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out, i = append(out, "- "+a[i]), i+1
		default:
			out, j = append(out, "+ "+b[j]), j+1
		}
	}
	return append(append(out, marked("- ", a[i:])...), marked("+ ", b[j:])...)
}

func marked(mark string, l []string) []string {
	out := make([]string, len(l))
	for i, s := range l {
		out[i] = mark + s
	}
	return out
}
