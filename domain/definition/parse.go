package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxDepth is how deep objects and arrays may stand within each other.
	maxDepth = 100
	// maxNumber is the longest number, in bytes, and the largest exponent that is taken. Numbers are
	// compared exactly, at a cost that grows with their value, not with their text.
	maxNumber = 400
)

// parse reads a JSON text into maps, slices, strings, json.Numbers, bools and nil. Names
// that stand twice in an object and numbers out of bounds are found; ok is false where
// the text cannot be read at all.
func (f *findings) parse(raw []byte) (v any, ok bool) {
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		f.add("", "there is nothing")
		return nil, false
	case !utf8.Valid(raw):
		f.add("", "is not UTF-8")
		return nil, false
	}
	if !json.Valid(raw) {
		f.notJSON(raw)
		return nil, false
	}
	p := parser{findings: f, data: raw}
	v = p.value(0)
	return v, !p.tooDeep
}

// notJSON says where a text stops being JSON.
func (f *findings) notJSON(raw []byte) {
	var v json.RawMessage
	err := json.Unmarshal(raw, &v)
	var syntax *json.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		f.add("", "is not JSON: %v", err)
	case strings.Contains(syntax.Error(), "after top-level value"):
		f.add("", "is not JSON: something follows after the value")
	case strings.Contains(syntax.Error(), "unexpected end"):
		f.add("", "is not JSON: it breaks off (at byte %d)", len(raw))
	default:
		f.add("", "is not JSON: %v (at byte %d)", err, syntax.Offset-1)
	}
}

// parser builds a tree from a text that is known to be JSON.
type parser struct {
	*findings
	data    []byte
	pos     int
	way     []step // to the value at hand
	tooDeep bool
}

// step is a property's name, or the index of an element.
type step struct {
	name  string
	index int // -1 for a property
}

// at is the path of the value at hand: only a mistake needs it.
func (p *parser) at() string {
	at := ""
	for _, s := range p.way {
		if s.index < 0 {
			at = member(at, s.name)
		} else {
			at = element(at, s.index)
		}
	}
	return at
}

// below reads the value at the end of one more step.
func (p *parser) below(s step, depth int) any {
	p.way = append(p.way, s)
	v := p.value(depth + 1)
	p.way = p.way[:len(p.way)-1]
	return v
}

// next steps over white space, and over c if that is what follows.
func (p *parser) next(c byte) bool {
	for p.data[p.pos] == ' ' || p.data[p.pos] == '\t' || p.data[p.pos] == '\n' || p.data[p.pos] == '\r' {
		p.pos++
	}
	if p.data[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

func (p *parser) value(depth int) any {
	if p.next('"') {
		return p.text()
	}
	switch c := p.data[p.pos]; c {
	case '{', '[':
		if depth == maxDepth {
			p.add(p.at(), "is nested deeper than the limit of %d", maxDepth)
			p.tooDeep = true
			return nil
		}
		p.pos++
		if c == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case 't':
		p.pos += len("true")
		return true
	case 'f':
		p.pos += len("false")
		return false
	case 'n':
		p.pos += len("null")
		return nil
	}
	return p.number()
}

func (p *parser) number() any {
	start := p.pos
	for p.pos < len(p.data) && strings.IndexByte("+-.0123456789eE", p.data[p.pos]) >= 0 {
		p.pos++
	}
	n := json.Number(p.data[start:p.pos])
	if !bounded(n) {
		p.add(p.at(), "number %s is out of bounds: at most %d digits and an exponent of at most %d", quote(n), maxNumber, maxNumber)
		return json.Number("0")
	}
	return n
}

// text reads a string, behind its first quote.
func (p *parser) text() string {
	start, escaped := p.pos, false
	for ; p.data[p.pos] != '"'; p.pos++ {
		if p.data[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	if !escaped {
		return string(p.data[start : p.pos-1])
	}
	var s string
	if err := json.Unmarshal(p.data[start-1:p.pos], &s); err != nil {
		p.add(p.at(), "%v", err) // it was valid
	}
	return s
}

func (p *parser) object(depth int) any {
	m := map[string]any{}
	for !p.tooDeep && !p.next('}') {
		p.next(',')
		p.next('"')
		name := p.text()
		p.next(':')
		if _, ok := m[name]; ok {
			p.add(member(p.at(), name), "is there twice")
		}
		m[name] = p.below(step{name, -1}, depth)
	}
	return m
}

func (p *parser) array(depth int) any {
	l := []any{}
	for !p.tooDeep && !p.next(']') {
		p.next(',')
		l = append(l, p.below(step{index: len(l)}, depth))
	}
	return l
}

// bounded says that a number can be compared at a cost that its text announces.
func bounded(n json.Number) bool {
	if len(n) > maxNumber {
		return false
	}
	i := strings.IndexAny(string(n), "eE")
	if i < 0 {
		return true
	}
	e, err := strconv.Atoi(string(n[i+1:]))
	return err == nil && e >= -maxNumber && e <= maxNumber
}
