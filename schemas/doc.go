// Package schemas is the wire: the versioned names of every command, event,
// completion and work record, their JSON Schemas, the codecs between them and the
// domain, and the AsyncAPI and OpenAPI documents that describe the topics and the
// HTTP interface to others.
//
// Schemas are checked at the edge, once per record that comes from outside. An old
// version is upcast here for ever; a golden file per version keeps that true. A
// version that this build does not know is an *UnknownVersionError, never skipped.
package schemas
