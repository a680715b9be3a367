// Package partstree is what the reference job knows: how a document of a parts tree
// reads, which documents it asks for, which of two requests mean the same document, and
// how the values of all documents are joined.
//
//	{"value": "The quick", "order": 1, "transferProcesses": [
//	  {"file": "test-document-2", "connectorUrl": "http://provider2:8181"}]}
//
// Parse reads such a document, Spawn lists the activities it brings into being, and Join
// puts the values together:
//
//	doc, err := partstree.Parse(body)
//	children := partstree.Spawn(doc)
//	sentence := partstree.Join(documents)
//
// A document is known by the normalised address of its provider and its file (NodeID), so
// that it is fetched once however often, and in whatever spelling, it is asked for. Every
// document comes from somebody else: nothing in it is trusted, and nothing in it panics.
package partstree
