package definition

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
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
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	p := parser{findings: f, dec: dec}
	v = p.value("", 0)
	if p.err == nil && !p.tooDeep {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			f.add("", "is not JSON: something follows after the value")
			return nil, false
		}
	}
	if p.err != nil {
		f.add("", "is not JSON: %s (at byte %d)", reason(p.err), dec.InputOffset())
	}
	return v, p.err == nil && !p.tooDeep
}

func reason(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it breaks off"
	}
	return err.Error()
}

// parser builds a tree from tokens. The first error sticks.
type parser struct {
	*findings
	dec     *json.Decoder
	err     error
	tooDeep bool
}

func (p *parser) token() json.Token {
	if p.err != nil {
		return nil
	}
	t, err := p.dec.Token()
	p.err = err
	return t
}

func (p *parser) more() bool { return p.err == nil && !p.tooDeep && p.dec.More() }

func (p *parser) value(at string, depth int) any {
	switch t := p.token().(type) {
	case json.Delim:
		if depth == maxDepth {
			p.add(at, "is nested deeper than the limit of %d", maxDepth)
			p.tooDeep = true
			return nil
		}
		if t == '{' {
			return p.object(at, depth)
		}
		return p.array(at, depth)
	case json.Number:
		if !bounded(t) {
			p.add(at, "number %s is out of bounds: at most %d digits and an exponent of at most %d", quote(t), maxNumber, maxNumber)
			return json.Number("0")
		}
		return t
	default:
		return t // nil, bool, string
	}
}

func (p *parser) object(at string, depth int) any {
	m := map[string]any{}
	for p.more() {
		name, ok := p.token().(string)
		if !ok {
			break
		}
		path := member(at, name)
		if _, ok := m[name]; ok {
			p.add(path, "is there twice")
		}
		m[name] = p.value(path, depth+1)
	}
	if !p.tooDeep {
		p.token()
	}
	return m
}

func (p *parser) array(at string, depth int) any {
	l := []any{}
	for p.more() {
		l = append(l, p.value(element(at, len(l)), depth+1))
	}
	if !p.tooDeep {
		p.token()
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
