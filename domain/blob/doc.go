// Package blob says how JSON refers to values that are too large to stand in a record.
//
// A value of more than Threshold bytes is written to the blobs topic, in chunks, before the record that names
// it, by whoever brings it: the HTTP intake, a producer, an agent. In its place stands a
// reference, an object with one member:
//
//	{"$blob": {"id": "job-1/0197…", "type": "string", "bytes": 10485760, "sha256": "…",
//	           "partition": 3, "offset": 42, "last": 61, "chunks": 20}}
//
// Machines pass references on and never look into what they name. A path into one is the
// same reference with that path; a template over one within a longer text is
//
//	{"$join": ["see ", {"$blob": {…}}, " for more"]}
//
// Whoever reads a value at last, an agent before it processes, a query, a subscriber, puts
// what they name in their place: Resolve.
//
// The members $blob and $join are reserved: what users write must not have them, and what
// has them must be well formed (Check). A reference carries the SHA-256 of what it names, and
// a reader compares: whoever can make one up has the content already.
package blob
