package definition

import (
	"encoding/json"
	"time"
)

// PartsTree is the type of the built-in orchestration that retrieves a tree of documents and joins
// their values.
const PartsTree = "parts-tree"

// The built-in activity types.
const (
	Noop      = "noop"
	Retrieve  = "retrieve"
	Aggregate = "aggregate"
	Callback  = "callback" // also the type of the orchestration around it
	HTTP      = "http"
	Exec      = "exec"
	Terraform = "terraform"
	Kafka     = "kafka"
)

// BuiltIns returns what is there without anybody putting it: it cannot be changed or
// deleted, and nothing else may have its types. The caller may keep and change what it gets.
func BuiltIns() ([]Orchestration, []ActivityType) {
	return []Orchestration{partsTree(), callback()}, []ActivityType{noop(), retrieve(), aggregate(), callbackActivity(), httpActivity(), execActivity(), terraformActivity(), kafkaActivity()}
}

// documentProperties say which document of which provider.
const documentProperties = `
	"file": {"type": "string", "minLength": 1, "description": "name of the document at its provider"},
	"connectorUrl": {"type": "string", "format": "uri", "pattern": "^https?://[^/]", "description": "address of the provider's connector"}`

// destinationProperty is a relative name: segments without a backslash or NUL, none of them
// empty, "." or "..".
const destinationProperty = `
	"destination": {"type": "string", "maxLength": 512, "description": "name of the result's file, relative to the results",
		"pattern": "^(\\.?[^./\\\\\\x00][^/\\\\\\x00]*|\\.\\.[^/\\\\\\x00]+)(/(\\.?[^./\\\\\\x00][^/\\\\\\x00]*|\\.\\.[^/\\\\\\x00]+))*$"}`

func partsTree() Orchestration {
	return Orchestration{
		Type:        PartsTree,
		Description: "Retrieves a document and all that it refers to, from any number of providers, and joins their values.",
		Schema: compact(`{"type": "object", "additionalProperties": false, "required": ["file", "connectorUrl"],
			"properties": {` + documentProperties + `,` + destinationProperty + `}}`),
		Output: []Mapping{
			{Source: "aggregate.value", Target: "value"},
			{Source: "aggregate.path", Target: "path"},
			{Source: "aggregate.size", Target: "size"},
		},
		Activities: []Activity{
			{
				ID: "root", Type: Retrieve, OnError: OnErrorPartial,
				Inputs: []Mapping{{Source: "file", Target: "file"}, {Source: "connectorUrl", Target: "connectorUrl"}},
			},
			{
				ID: "aggregate", Type: Aggregate, DependsOn: Names{"root"},
				// Without a destination the agent makes a name from the job's id.
				Inputs: []Mapping{{Source: "root.**", Target: "documents"}, {Source: "destination", Target: "destination"}},
			},
		},
		Version: 1,
	}
}

// eventProperties say who is told of which end: a CloudEvent and the URL that takes it.
const eventProperties = `
	"url": {"type": "string", "format": "uri", "pattern": "^https?://[^/]"}, "id": {"type": "string"}, "type": {"type": "string"},
	"subject": {"type": "string"}, "time": {"type": "string"}, "data": {"type": "object"}`

// callback tells the URL that a start gave of the end. It is an orchestration of its own, so
// that it survives everything, is tried again for a day, and shows how far it is.
func callback() Orchestration {
	var inputs []Mapping
	for _, name := range []string{"url", "id", "type", "subject", "time", "data"} {
		inputs = append(inputs, Mapping{Source: name, Target: name})
	}
	untilTheDeadline := MaxRetries
	return Orchestration{
		Type:        Callback,
		Description: "Tells the URL that a start gave as its callback how the orchestration ended.",
		Schema: compact(`{"type": "object", "additionalProperties": false, "required": ["url", "id", "type", "data"],
			"properties": {` + eventProperties + `}}`),
		Activities: []Activity{{
			ID: "deliver", Type: Callback, Inputs: inputs, Deadline: Duration(24 * time.Hour),
			Retry: &Retry{Limit: &untilTheDeadline, BaseDelay: Duration(time.Second), MaxDelay: Duration(5 * time.Minute)},
		}},
		Version: 1,
	}
}

func callbackActivity() ActivityType {
	return ActivityType{
		Type:        Callback,
		Description: "Posts a CloudEvent to a URL.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["url", "id", "type", "data"],
			"properties": {` + eventProperties + `}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "properties": {"status": {"type": "integer"}}}`)},
		Version:      1,
	}
}

func noop() ActivityType {
	return ActivityType{Type: Noop, Description: "Does nothing and hands on its input.", Version: 1}
}

func retrieve() ActivityType {
	return ActivityType{
		Type:        Retrieve,
		Description: "Retrieves a document from its provider and spawns one activity for each document it refers to.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["file", "connectorUrl"],
			"properties": {` + documentProperties + `}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object"}`)},
		Version:      1,
	}
}

func aggregate() ActivityType {
	return ActivityType{
		Type:        Aggregate,
		Description: "Joins the values of retrieved documents into a file.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["documents"],
			"properties": {"documents": {"type": "array", "items": {"type": "object"}},` + destinationProperty + `}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object",
			"properties": {"value": {"type": "string"}, "path": {"type": "string"}, "size": {"type": "integer", "minimum": 0}}}`)},
		Version: 1,
	}
}

// requestProperties are those of an HTTP request. Templates fill them in, so that what they
// hold is for the agent to judge.
const requestProperties = `
	"method": {"type": "string", "description": "GET unless given"},
	"url": {"type": "string", "description": "http or https, of a host that the agent may call"},
	"path": {"type": "array", "description": "segments appended to the url's path, escaped", "items": {"type": ["string", "number", "boolean"]}},
	"query": {"type": "object", "description": "parameters: a value or a list of values each; null is left out"},
	"headers": {"type": "object", "description": "a text each, or {secret, prefix?, encode?}; null is left out"},
	"body": {"description": "sent as JSON"},
	"text": {"type": "string", "description": "sent as it is"},
	"expect": {"description": "statuses that are good: 201, \"2xx\" or a list of such; 2xx unless given"},
	"answer": {"type": "string", "enum": ["auto", "json", "text"], "description": "json fails where the answer is something else"},
	"timeout": {"type": "string", "description": "of one request, 30s or PT30S"}`

func httpActivity() ActivityType {
	return ActivityType{
		Type:        HTTP,
		Description: "Calls an HTTP interface; what it answers is the output. It may wait for a report on what was accepted, or ask for it.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["url"],
			"properties": {` + requestProperties + `,
				"wait": {"type": ["object", "null"], "additionalProperties": false, "description": "an accepted request is followed by a report to ${callback}",
					"properties": {"on": {"description": "statuses that mean accepted; every expected one unless given"}, "timeout": {"type": "string"}}},
				"poll": {"type": ["object", "null"], "additionalProperties": false, "required": ["url", "until"], "description": "an accepted request is followed by asking what came of it",
					"properties": {` + requestProperties + `,
						"on": {"description": "statuses that mean accepted; every expected one unless given"},
						"every": {"type": "string", "description": "10s unless given"},
						"until": {"type": ["object", "array"], "description": "what stands at which paths of the answer when it is done"},
						"failWhen": {"type": ["object", "array"], "description": "what stands there when it has failed"}}},
				"dispose": {"type": ["object", "null"], "description": "the request that undoes this one, {} where there is nothing to undo"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"properties": {
			"status": {"description": "of the answer"}, "url": {"description": "that answered, without its query"},
			"headers": {"description": "of the answer, by name in lower case"}, "body": {"description": "JSON, else the text"},
			"base64": {"description": "the body where it is no text"}, "accepted": {"description": "the first answer, where the outcome was asked for"}}}`)},
		Version: 1,
	}
}

func execActivity() ActivityType {
	return ActivityType{
		Type:        Exec,
		Description: "Runs a program that the agent's configuration has; its input and output are JSON.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["program"],
			"properties": {"program": {"type": "string", "minLength": 1, "description": "its name; all else is written to its standard input"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"description": "what it wrote to its standard output"}`)},
		Version:      1,
	}
}

func terraformActivity() ActivityType {
	return ActivityType{
		Type:        Terraform,
		Description: "Plans, applies or destroys a Terraform module, in a workspace of the resource and the activity.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["module"],
			"properties": {"module": {"type": "string", "minLength": 1, "description": "name of a directory below the agent's modules"},
				"variables": {"type": ["object", "null"], "description": "of the module; null is left out"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"description": "the outputs of the module that are not sensitive; of a plan {changes, create, update, delete}"}`)},
		Version:      1,
	}
}

func kafkaActivity() ActivityType {
	return ActivityType{
		Type:        Kafka,
		Description: "Publishes a record, and waits for the reply where one is asked for.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["topic"],
			"properties": {"topic": {"type": "string", "minLength": 1, "description": "one that the agent may publish to"},
				"key": {"type": ["string", "number", "boolean", "null"]},
				"headers": {"type": ["object", "null"], "description": "a text each; null is left out"},
				"value": {"description": "written as JSON"}, "text": {"type": ["string", "null"], "description": "written as it is"},
				"reply": {"type": ["object", "null"], "additionalProperties": false, "required": ["topic"],
					"properties": {"topic": {"type": "string", "description": "one that the agent reads replies from"}, "timeout": {"type": "string"}}},
				"dispose": {"type": ["object", "null"], "description": "the record that undoes this one, {} where there is nothing to undo"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"properties": {
			"topic": {"type": "string"}, "partition": {"type": "integer"}, "offset": {"type": "integer"}, "key": {"type": "string"},
			"headers": {"type": "object"}, "value": {"description": "of the reply: JSON, else the text"}, "base64": {"type": "string"}}}`)},
		Version: 1,
	}
}

// compact takes the spaces out of a literal. One that is not JSON stays as it is, and a test finds it.
func compact(literal string) json.RawMessage {
	var v any
	if json.Unmarshal([]byte(literal), &v) != nil {
		return json.RawMessage(literal)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(literal)
	}
	return b
}
