package definition

import (
	"encoding/json"
	"time"
)

// PartsTree is the type of the built-in orchestration that retrieves a tree of documents and joins
// their values.
const PartsTree = "parts-tree"

// RegistryTree is the type of the built-in orchestration that looks a part up in the registries of a
// provider, retrieves its submodels and joins their values.
const RegistryTree = "registry-tree"

// The built-in activity types.
const (
	Noop      = "noop"
	Retrieve  = "retrieve"
	Transfer  = "transfer"
	Acquire   = "acquire"
	Lookup    = "registry-lookup"
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
	return []Orchestration{partsTree(), registryTree(), callback()}, []ActivityType{
		noop(), retrieve(), transferActivity(), acquireActivity(), lookupActivity(), aggregate(),
		callbackActivity(), httpActivity(), execActivity(), terraformActivity(), kafkaActivity(),
	}
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
			"properties": {` + documentProperties + `,
				"as": {"type": "string", "description": "how the document reads: parts-tree unless given, registry, or document for anything"},
				"properties": {"type": "object", "description": "of a registry: globalAssetId"}, "counterPartyId": {"type": "string"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object"}`)},
		Version:      1,
	}
}

func aggregate() ActivityType {
	return ActivityType{
		Type:        Aggregate,
		Description: "Joins the values of retrieved documents into a file.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["documents"],
			"properties": {"documents": {"type": "array", "items": {"type": "object"}},
				"required": {"type": "boolean", "description": "no value at all is a failure"},` + destinationProperty + `}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object",
			"properties": {"value": {"type": "string"}, "path": {"type": "string"}, "size": {"type": "integer", "minimum": 0}}}`)},
		Version: 1,
	}
}

// providerProperties say with whom a transfer is made, or access acquired.
const providerProperties = `
	"provider": {"type": "string", "format": "uri", "pattern": "^https?://[^/]", "description": "address of the provider's connector"},
	"counterPartyId": {"type": "string", "description": "the provider's id, where the catalog does not say it"}`

func transferActivity() ActivityType {
	return ActivityType{
		Type:        Transfer,
		Description: "Moves an asset: fetches it, or has the provider send it.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["provider", "assetId"],
			"properties": {` + providerProperties + `,
				"assetId": {"type": "string", "minLength": 1},
				"transferType": {"type": "string", "description": "one of the provider's formats: HttpData-PULL unless given, what ends in -PUSH is sent by the provider"},
				"destination": {"type": ["object", "null"], "description": "data address that the provider sends to"},
				"manifest": {"type": ["object", "null"], "description": "{definitions: [{id, type, ...}]}: what is provisioned before and deprovisioned after"},
				"properties": {"type": ["object", "null"]},
				"as": {"type": "string", "description": "how the document reads: document unless given, parts-tree, registry"},
				"deadline": {"type": "string", "description": "in total"}}}`)},
		Version: 1,
	}
}

func acquireActivity() ActivityType {
	return ActivityType{
		Type:        Acquire,
		Description: "Acquires access to an asset, or to all assets of a type: a contract, and an EDR where one is needed.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["provider"],
			"properties": {` + providerProperties + `,
				"assetId": {"type": "string", "description": "either this"},
				"assetType": {"type": "string", "description": "or this: all assets of that dct:type"},
				"need": {"type": "string", "enum": ["agreement", "edr"], "description": "edr unless given"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object"}`)},
		Version:      1,
	}
}

func lookupActivity() ActivityType {
	return ActivityType{
		Type:        Lookup,
		Description: "Spawns one activity for each registry that has granted access, which looks a part up there.",
		InputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object", "required": ["provider", "globalAssetId", "offers"],
			"properties": {` + providerProperties + `, "globalAssetId": {"type": "string", "minLength": 1},
				"offers": {"type": "array", "items": {"type": "object"}, "description": "as acquire lists them"}}}`)},
		OutputSchema: Schema{OpenAPIV3Schema: compact(`{"type": "object"}`)},
		Version:      1,
	}
}

// registryTree goes from the registries of a provider to a part's submodels. One registry that fails does
// not fail the others.
func registryTree() Orchestration {
	from := func(names ...string) []Mapping {
		l := make([]Mapping, len(names))
		for i, n := range names {
			l[i] = Mapping{Source: n, Target: n}
		}
		return l
	}
	return Orchestration{
		Type:        RegistryTree,
		Description: "Looks a part up in the registries of a provider, retrieves its submodels and joins their values.",
		Schema: compact(`{"type": "object", "additionalProperties": false, "required": ["globalAssetId", "provider"],
			"properties": {"globalAssetId": {"type": "string", "minLength": 1, "maxLength": 2048},
				"registryType": {"type": "string", "minLength": 1, "description": "dct:type of the registries; registry unless given"},` +
			providerProperties + `,` + destinationProperty + `}}`),
		Input: compact(`{"registryType": "registry"}`),
		Output: []Mapping{
			{Source: "aggregate.value", Target: "value"},
			{Source: "aggregate.path", Target: "path"},
			{Source: "aggregate.size", Target: "size"},
			{Source: "lookup.registries", Target: "registries"},
		},
		Activities: []Activity{
			{ID: "registries", Type: Acquire, Inputs: append(from("provider", "counterPartyId"), Mapping{Source: "registryType", Target: "assetType"})},
			{
				ID: "lookup", Type: Lookup, DependsOn: Names{"registries"},
				Inputs: append(from("provider", "counterPartyId", "globalAssetId"), Mapping{Source: "registries.offers", Target: "offers"}),
			},
			{
				ID: "aggregate", Type: Aggregate, DependsOn: Names{"lookup"}, With: compact(`{"required": true}`),
				Inputs: append(from("destination"), Mapping{Source: "lookup.**", Target: "documents"}),
			},
		},
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
