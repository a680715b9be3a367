package agents

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// placeholders are what only the agent can fill in: ${callback} and what is below it,
// ${work.id}, ${resource}, where an accepted answer is polled ${response.…}, and where
// something is undone ${output.…}, what doing it has brought. They are
// spelled unlike the machine's templates, which are gone before the agent sees its input.
// What is none of these is left as it is, and $${ is a ${ that is never one.
type placeholders struct {
	values   map[string]string
	response any // nil where there is none yet
	output   any // nil where nothing is undone
	callback func(name string) (string, error)
}

// value is what a placeholder stands for; false says that it is none.
func (p placeholders) value(name string) (v any, known bool, err error) {
	if s, ok := p.values[name]; ok {
		return s, true, nil
	}
	head, path, _ := strings.Cut(name, ".")
	for _, source := range []struct {
		name  string
		value any
	}{{"response", p.response}, {"output", p.output}} {
		if head == source.name && path != "" && source.value != nil {
			if v, err = at(source.value, path); err != nil {
				err = fmt.Errorf("${%s}: %w", name, err)
			}
			return v, true, err
		}
	}
	if below, ok := strings.CutPrefix(name, "callback"); ok {
		switch below {
		case "", ".complete", ".fail", ".heartbeat":
			address, err := p.callback(strings.ReplaceAll(below, ".", "/"))
			return address, true, err
		}
	}
	return nil, false, nil
}

// piece is a part of a text: literal, or the value of a placeholder.
type piece struct {
	literal string
	value   any
	filled  bool
}

func (p placeholders) pieces(s string) ([]piece, error) {
	var l []piece
	literal := ""
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			return append(l, piece{literal: literal + s}), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			literal, s = literal+escaped+"${", rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known, err := any(nil), false, error(nil)
		if closed {
			value, known, err = p.value(name)
		}
		switch {
		case err != nil:
			return nil, err
		case !known:
			literal, s = literal+before+"${", rest
		default:
			l = append(l, piece{literal: literal + before}, piece{value: value, filled: true})
			literal, s = "", after
		}
	}
}

// text fills a text in; each value goes through escape, if there is one.
func (p placeholders) text(s string, escape func(before, value string) (string, error)) (string, error) {
	if !strings.Contains(s, "${") {
		return s, nil
	}
	l, err := p.pieces(s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, x := range l {
		if !x.filled {
			b.WriteString(x.literal)
			continue
		}
		value, err := scalar(x.value)
		if err == nil && escape != nil {
			value, err = escape(b.String(), value)
		}
		if err != nil {
			return "", err
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

func scalar(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return x, nil
	case json.Number:
		return x.String(), nil
	case bool:
		return fmt.Sprint(x), nil
	}
	return "", fmt.Errorf("an object or a list cannot be part of a text")
}

// url fills a URL in. A value at its very beginning is a URL itself, any other is escaped
// for its place, so that an answer cannot lead a request elsewhere.
func (p placeholders) url(s string) (string, error) {
	return p.text(s, func(before, value string) (string, error) {
		switch {
		case before == "":
			return value, nil
		case strings.ContainsAny(before, "?#"):
			return url.QueryEscape(value), nil
		case strings.Trim(value, ".") == "":
			return "", fmt.Errorf("%q cannot be part of a path", value)
		}
		return url.PathEscape(value), nil
	})
}

// json fills in every string of a JSON value. A string that is one placeholder keeps the
// type of what it stands for.
func (p placeholders) json(v any) (any, error) {
	var err error
	switch x := v.(type) {
	case string:
		if l, err := p.pieces(x); err == nil && len(l) == 3 && l[0].literal == "" && l[2].literal == "" {
			return l[1].value, nil
		}
		return p.text(x, nil)
	case []any:
		for i := range x {
			if x[i], err = p.json(x[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range x {
			if x[k], err = p.json(x[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
