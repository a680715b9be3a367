package edc

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// node is a JSON-LD object, whose names may be short, prefixed or whole IRIs.
type node map[string]json.RawMessage

// object reads an object; anything else has no members.
func object(raw json.RawMessage) node {
	var n node
	if json.Unmarshal(raw, &n) != nil {
		return nil
	}
	return n
}

// local is the last part of a name: region of edc:region and of https://w3id.org/edc/v0.0.1/ns/region.
func local(name string) string {
	return name[strings.LastIndexAny(name, ":/#")+1:]
}

// get is the member of that name, however it is prefixed.
func (n node) get(name string) json.RawMessage {
	if raw, ok := n[name]; ok {
		return raw
	}
	for _, k := range n.names() {
		if !strings.HasPrefix(k, "@") && local(k) == name {
			return n[k]
		}
	}
	return nil
}

// drop takes the members of that name out.
func (n node) drop(name string) {
	for k := range n {
		if !strings.HasPrefix(k, "@") && local(k) == name {
			delete(n, k)
		}
	}
}

// names are the members' names in order: what is read must not depend on a map's order.
func (n node) names() []string {
	names := make([]string, 0, len(n))
	for k := range n {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func (n node) text(name string) string { return text(n.get(name)) }

// id is the @id.
func (n node) id() string { return text(n["@id"]) }

// items are the elements of an array; what is no array is the only one.
func items(raw json.RawMessage) []json.RawMessage {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if raw[0] != '[' {
		if list := object(raw)["@list"]; list != nil {
			return items(list)
		}
		return []json.RawMessage{raw}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return list
}

// text is a string, number or boolean, or what an object with @id or @value stands for, or
// the first of several.
func text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	case '{':
		n := object(raw)
		if v, ok := n["@value"]; ok {
			return text(v)
		}
		return n.id()
	case '[':
		for _, item := range items(raw) {
			return text(item)
		}
		return ""
	case 'n':
		return ""
	}
	return string(raw)
}

// number is a number, however it is written.
func number(raw json.RawMessage) (float64, bool) {
	f, err := strconv.ParseFloat(text(raw), 64)
	return f, err == nil
}

// texts are the texts of all elements.
func texts(raw json.RawMessage) []string {
	var list []string
	for _, item := range items(raw) {
		if s := text(item); s != "" {
			list = append(list, s)
		}
	}
	return list
}
