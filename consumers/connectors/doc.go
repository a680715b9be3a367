// Package connectors carries out what transfers and negotiations ask of the outside: each kind
// of work is an agent, and each speaks through the connector that the work names.
//
//	routes, err := connectors.NewRoutes(cfg)
//	route, err := routes.Find("http://localhost:26723/protocol/2025-1") // Connector, Adapter, …
//	err = connectors.Register(pool, cfg, connectors.Surroundings{…})
//
// Which connector speaks with a provider is configured (Config): the first whose match fits the
// provider's address. It has an adapter: http gets documents by GET and wants no contract
// (package plain), edc speaks with a connector of the Eclipse Dataspace Components (package edc).
// A provider that no connector matches is spoken with plainly, as far as the list of allowed
// hosts goes.
//
// # What is polled
//
// A connector is asked again and again how something goes, at first soon and then more and more
// slowly (Poll). Its callbacks make that unnecessary and not wrong: whoever hears one has the
// next attempt made at once, and one that got lost costs an interval.
//
// # What is secret
//
// What opens a provider's data leaves an agent only sealed, and is opened only by the one that
// fetches. Errors show neither tokens nor API keys nor the query of an address.
package connectors
