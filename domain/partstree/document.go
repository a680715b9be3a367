package partstree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Document is one document of a parts tree.
type Document struct {
	Value string
	Order *float64 // place among the values; nil where the tree decides
	// TransferProcesses are the further documents it asks for.
	TransferProcesses []Transfer
}

// Transfer asks for a document: File at the provider with that address, as written.
type Transfer struct {
	File         string
	ConnectorURL string
}

// Parse reads a document. Properties it does not know are ignored; of those it knows,
// one that is missing or of another kind is an error that names it. Names are matched
// exactly.
func Parse(body []byte) (Document, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // some editors begin a file so
	if !utf8.Valid(body) {
		return Document{}, errors.New("the document is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return Document{}, fmt.Errorf("the document is not a JSON object: %w", err)
	}
	if fields == nil {
		return Document{}, errors.New("the document is not a JSON object: it is null")
	}
	var d Document
	var err error
	if d.Value, err = text(fields, "value"); err != nil {
		return Document{}, err
	}
	if d.Order, err = order(fields["order"]); err != nil {
		return Document{}, err
	}
	d.TransferProcesses, err = transfers(fields["transferProcesses"])
	return d, err
}

func text(fields map[string]json.RawMessage, name string) (string, error) {
	raw, ok := fields[name]
	if !ok {
		return "", fmt.Errorf("%s is missing", name)
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", fmt.Errorf("%s is not a string but %s", name, kind(raw))
	}
	return *s, nil
}

func order(raw json.RawMessage) (*float64, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var f float64
	if json.Unmarshal(raw, &f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, fmt.Errorf("order is not a number but %s", kind(raw))
	}
	return &f, nil
}

func transfers(raw json.RawMessage) ([]Transfer, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var entries []json.RawMessage
	if json.Unmarshal(raw, &entries) != nil {
		return nil, fmt.Errorf("transferProcesses is not an array but %s", kind(raw))
	}
	list := make([]Transfer, 0, len(entries))
	for i, entry := range entries {
		t, err := transfer(entry)
		if err != nil {
			return nil, fmt.Errorf("transferProcesses[%d]%w", i, err)
		}
		list = append(list, t)
	}
	return list, nil
}

func transfer(raw json.RawMessage) (Transfer, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return Transfer{}, fmt.Errorf(" is not an object but %s", kind(raw))
	}
	var t Transfer
	for _, f := range []struct {
		name string
		into *string
	}{{"file", &t.File}, {"connectorUrl", &t.ConnectorURL}} {
		s, err := text(fields, f.name)
		if err != nil {
			return Transfer{}, fmt.Errorf(".%w", err)
		}
		// It becomes a literal of an activity, where this would begin a template and make the
		// document read the job's input.
		if strings.Contains(s, "{{") {
			return Transfer{}, fmt.Errorf(".%s contains {{, which no address may", f.name)
		}
		*f.into = s
	}
	return t, nil
}

// kind says in a word what a JSON value is.
func kind(raw json.RawMessage) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "an array"
	case raw[0] == '"':
		return "a string"
	case raw[0] == 'n':
		return "null"
	case raw[0] == 't' || raw[0] == 'f':
		return "a boolean"
	default:
		return "a number"
	}
}
