// Package agents has the activity types that are built in and are no transfers: noop, aggregate,
// registry-lookup, callback and http.
//
//	pool := agent.NewPool(log)
//	err := agents.Register(pool, agents.Config{Results: "data/results", Allow: []string{"provider1:8181"}})
//
// Noop does nothing, in every way one may want: it is for trying things out and for
// tests. Aggregate joins the documents of a tree and writes the result to a file.
//
// HTTP calls whatever has an HTTP interface, and waits for, or asks for, what came of it.
//
// What speaks with the outside goes through the package outbound: only hosts on the allow list, and
// never link-local or metadata addresses, whatever a name resolves to.
package agents
