// Package schemas is the wire: the versioned names of every command, event,
// completion and work record, their JSON Schemas, the codecs between them and the
// domain, and the AsyncAPI and OpenAPI documents that describe the topics and the
// HTTP interface to others.
//
// A command comes from anybody. It is checked here, once, at the edge:
//
//	c, err := schemas.DecodeOrchestrationCommand(wireType, value)
//	var refusal *machine.Refusal              // it can be read: whoever sent it is answered
//	var undecodable *schemas.UndecodableError // it cannot: it goes to the dead letters
//
// An event comes from our own log. What is read is trusted to fit, but not to be of our
// time: an event of a version that this build does not know is an *UnknownVersionError,
// never skipped, for the state folded without it would be another one. Members that a
// known version has gained are left out.
//
//	d := schemas.NewDecoder() // one for each reader; equal definitions share one plan
//	e, err := d.DecodeOrchestrationEvent(wireType, value)
//
// Transfers and negotiations have functions of the same kind, and share the events about the
// work they ask for (task.go). What is secret in their records is sealed; where a command has it in
// the clear it is refused, and the refusal does not show it.
//
// The frequent records are written and read by hand, without reflection: events.go,
// encode.go, commands.go and their likes over the scanner in scan.go. The tests hold them against
// encoding/json and against the schemas in json/, which say the same to others.
//
// What a version looks like stands in testdata/golden, one file per wire name, and stays
// readable for ever: a change of what is written is a new version, with an upcast of the
// old one here. After adding one,
//
//	go test ./schemas -update
//
// writes the golden files that are missing and copies the schemas into openapi.json and
// asyncapi.json, the rest of which is written by hand.
package schemas
