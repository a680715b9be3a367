package main

import (
	"bytes"
	"fmt"
	"strings"
)

// want is how a command must be answered.
type want struct {
	accepted bool
	events   int    // that an accepted command makes happen
	code     string // of a rejection
	dead     string // part of a dead letter's reason
	// unasked: the id was used before, so that GET /v1/commands/{id} tells of the other one.
	unasked bool
}

func accepted(events int) want  { return want{accepted: true, events: events} }
func rejected(code string) want { return want{code: code} }
func dead(reason string) want   { return want{dead: reason} }

// step is a command and its answer.
type step struct {
	command
	want
}

// bad is one thing that can be wrong, in one command or several on one partition.
type bad struct {
	name  string
	steps []step
}

const start, cancel, complete = "orchestration.start.v1", "orchestration.cancel.v1", "work.complete.v1"

// chainStart is how many events the start of a job of type load-chain makes happen: that it
// has started, and the request of its first activity. The others follow from reports.
const chainStart = 2

const chainBody = `{"type": "load-chain", "input": {"token": "t"}}`

// asleep is a type that is defined and not active.
const asleep = "asleep"

// badCommands are all the things that can be wrong. at makes a key, and with it an id, of
// the partition that the commands of a case go to.
func badCommands(at func(name string) string) []bad {
	twice, other, again, another := at("twice"), at("other"), at("again"), at("another")
	ended := at("ended")
	one := func(name, id, typ, key, value string, w want) bad {
		return bad{name, []step{{command{id: id, typ: typ, key: []byte(key), value: []byte(value)}, w}}}
	}
	simple := func(name, typ, value string, w want) bad {
		key := at(strings.ReplaceAll(name, " ", "-"))
		return one(name, "id-"+key, typ, key, value, w)
	}
	return []bad{
		{"the same id twice", []step{
			{command{id: "id-" + twice, typ: start, key: []byte(twice), value: []byte(chainBody)}, accepted(chainStart)},
			{command{id: "id-" + twice, typ: start, key: []byte(twice), value: []byte(chainBody)}, want{unasked: true}},
		}},
		{"the same id with another body", []step{
			{command{id: "id-" + other, typ: start, key: []byte(other), value: []byte(chainBody)}, accepted(chainStart)},
			{command{id: "id-" + other, typ: start, key: []byte(other), value: []byte(`{"type": "load-slow", "input": {}}`)}, want{code: "conflict", unasked: true}},
		}},
		{"the same start under another id", []step{
			{command{id: "id-" + again, typ: start, key: []byte(again), value: []byte(chainBody)}, accepted(chainStart)},
			{command{id: "id2-" + again, typ: start, key: []byte(again), value: []byte(chainBody)}, accepted(0)},
		}},
		{"another start of the same job", []step{
			{command{id: "id-" + another, typ: start, key: []byte(another), value: []byte(chainBody)}, accepted(chainStart)},
			{command{id: "id2-" + another, typ: start, key: []byte(another), value: []byte(`{"type": "load-slow", "input": {}}`)}, rejected("conflict")},
		}},
		{"a cancel after the end", []step{
			{command{id: "id-" + ended, typ: start, key: []byte(ended), value: []byte(chainBody)}, accepted(chainStart)},
			{command{id: "id2-" + ended, typ: cancel, key: []byte(ended), value: []byte(`{"reason": "too late"}`)}, rejected("state")},
		}},
		simple("a type that is not active", start, `{"type": "`+asleep+`", "input": {}}`, rejected("inactive")),
		simple("unknown type", start, `{"type": "nobody-knows", "input": {}}`, rejected("unknown-type")),
		simple("unknown ce_type", "orchestration.juggle.v1", `{}`, rejected("unknown-type")),
		simple("unknown version", "orchestration.start.v99", chainBody, rejected("unknown-type")),
		simple("no such job", cancel, `{"reason": "to see"}`, rejected("not-found")),
		simple("report to nobody", complete, `{"workId": "w", "attempt": 1, "output": {}}`, rejected("not-found")),
		simple("does not fit its schema", start, `{"input": {}}`, rejected("schema")),
		simple("a number for an object", start, `42`, rejected("schema")),
		simple("2 MB of input", start, `{"type": "load-chain", "input": {"token": "`+strings.Repeat("x", 2<<20)+`"}}`, rejected("limit")),
		simple("2 MB that are no JSON", start, strings.Repeat("x", 2<<20), rejected("limit")),
		simple("invalid JSON", start, `{"type": "load-chain", "input": `, dead("cannot be read")),
		simple("nothing but space", start, " ", dead("")),
		simple("100,000 brackets", start, strings.Repeat("[", 100_000), rejected("limit")),
		simple("invalid UTF-8", start, "{\"type\": \"load-chain\", \"input\": {\"token\": \"\xff\xfe\"}}", dead("UTF-8")),
		{"no value", []step{{command{id: "id-no-value", typ: start, key: []byte(at("no-value"))}, dead("cannot be read")}}},
		one("no ce_id", "", start, at("no-id"), chainBody, dead("ce_id")),
		one("no ce_type", "id-no-type", "", at("no-type"), chainBody, dead("ce_type")),
		{"no key", []step{{command{id: "id-no-key", typ: start, value: []byte(chainBody)}, dead("key")}}},
		one("an empty key", "id-empty-key", start, "", chainBody, dead("key")),
		one("a key that is not UTF-8", "id-bad-key", start, "\xff\xfe", chainBody, dead("UTF-8")),
		one("the key of the shards' own books", "id-shard", start, "~shard", chainBody, dead("~shard")),
		one("a header that is not UTF-8", "id-bad-header-\xff", start, at("bad-header"), chainBody, dead("UTF-8")),
		{"a subject that is not the key", []step{{
			command{id: "id-subject", typ: start, subject: "somebody-else", key: []byte(at("subject")), value: []byte(chainBody)}, dead("ce_subject"),
		}}},
	}
}

// String says what is wanted.
func (w want) String() string {
	switch {
	case w.accepted:
		return fmt.Sprintf("accepted with %d events", w.events)
	case w.code != "":
		return "rejected: " + w.code
	case w.isDead():
		return "a dead letter"
	}
	return "nothing"
}

// isDead says whether a dead letter is wanted whose reason does not matter.
func (w want) isDead() bool { return !w.accepted && w.code == "" && !w.unasked }

// same says whether two keys or values are the same, where none is the same as empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) }
