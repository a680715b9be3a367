package edc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// policy is what an offer asks of us, as far as it can be said in words. All of it has to be
// fulfilled.
type policy []term

// term is a constraint, a duty or a prohibition; or, with an op, several of them.
type term struct {
	text  string // "region eq us"
	left  string // of a constraint, as it is written: "edc:region"
	op    string // and, or, xone
	parts []term
}

// readPolicy reads an ODRL policy. What it does not understand becomes a term that nobody
// accepts, never nothing.
func readPolicy(offer node) policy {
	var p policy
	for _, raw := range items(offer.get("permission")) {
		permission := object(raw)
		if permission == nil {
			p = append(p, unknown(raw))
			continue
		}
		p = append(p, constraints(permission)...)
		for _, duty := range items(permission.get("duty")) {
			p = append(p, term{text: "obliged to " + rule(duty)})
		}
	}
	for _, raw := range items(offer.get("obligation")) {
		p = append(p, term{text: "obliged to " + rule(raw)})
	}
	for _, raw := range items(offer.get("prohibition")) {
		p = append(p, term{text: "prohibited to " + rule(raw)})
	}
	return p
}

// rule is a duty or a prohibition in words.
func rule(raw json.RawMessage) string {
	r := object(raw)
	action := text(r.get("action"))
	if action == "" {
		action = object(r.get("action")).text("type")
	}
	if action == "" {
		return unknown(raw).text
	}
	words := local(action)
	if only := policy(constraints(r)); len(only) > 0 {
		words += " where " + only.String()
	}
	return words
}

func constraints(rule node) []term {
	var list []term
	for _, raw := range items(rule.get("constraint")) {
		list = append(list, constraint(raw, maxNesting))
	}
	return list
}

// maxNesting is how deep constraints may be nested; no policy that people read is so deep.
const maxNesting = 16

func constraint(raw json.RawMessage, depth int) term {
	n := object(raw)
	if depth == 0 {
		return unknown(raw)
	}
	for _, op := range []string{"and", "andSequence", "or", "xone"} {
		if inner := n.get(op); inner != nil {
			t := term{op: strings.TrimSuffix(op, "Sequence")}
			for _, item := range items(inner) {
				t.parts = append(t.parts, constraint(item, depth-1))
			}
			return t
		}
	}
	left, operator, right := n.text("leftOperand"), local(n.text("operator")), texts(n.get("rightOperand"))
	if left == "" || operator == "" || len(right) == 0 {
		return unknown(raw)
	}
	words := operator + " " + strings.Join(right, ",")
	return term{text: local(left) + " " + words, left: left}
}

// unknown shows what is not understood as it is.
func unknown(raw json.RawMessage) term {
	var short bytes.Buffer
	if json.Compact(&short, raw) != nil {
		return term{text: "what is no JSON"}
	}
	return term{text: short.String()}
}

func (t term) String() string {
	if t.op == "" {
		return t.text
	}
	words := make([]string, len(t.parts))
	for i, p := range t.parts {
		words[i] = p.String()
	}
	return "(" + strings.Join(words, " "+t.op+" ") + ")"
}

// String is what the policy asks, for people; "" where it asks nothing.
func (p policy) String() string {
	words := make([]string, len(p))
	for i, t := range p {
		words[i] = t.String()
	}
	return strings.Join(words, " and ")
}

// fits says whether the terms that we accept fulfil this one.
func (t term) fits(accepted []string) bool {
	part := func(p term) bool { return p.fits(accepted) }
	switch t.op {
	case "and":
		return len(t.parts) > 0 && !slices.ContainsFunc(t.parts, func(p term) bool { return !part(p) })
	case "or", "xone":
		return slices.ContainsFunc(t.parts, part)
	}
	whole := t.left + strings.TrimPrefix(t.text, local(t.left))
	return slices.ContainsFunc(accepted, func(a string) bool {
		a = strings.Join(strings.Fields(a), " ")
		return a == t.text || t.left != "" && a == whole
	})
}

// unacceptable says in words why none of the policies that we accept covers this one; "" where
// one does, or where we accept everything.
func (p policy) unacceptable(accepted [][]string) string {
	if len(accepted) == 0 {
		return ""
	}
	known := make([]string, len(accepted))
	for i, terms := range accepted {
		if !slices.ContainsFunc(p, func(t term) bool { return !t.fits(terms) }) {
			return ""
		}
		known[i] = fmt.Sprintf("%q", strings.Join(terms, " and "))
	}
	return fmt.Sprintf("its policy %q is covered by none of the accepted policies: %s", p, strings.Join(known, ", "))
}
