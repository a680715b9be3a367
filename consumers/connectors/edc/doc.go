// Package edc speaks with providers through a connector of the Eclipse Dataspace Components:
// its management API, version 3, and the public endpoints that data addresses lead to.
//
//	c, err := edc.New(edc.Config{ManagementURL: "http://localhost:29193/management", …})
//	catalog, err := c.Catalog(ctx, party, adapter.Wish{AssetID: "test-document"})
//	id, err := c.Negotiate(ctx, party, adapter.Offer{…})
//
// # What a connector does not say
//
// It deduplicates nothing: a request whose reply was lost must be looked for before it is made
// again. A negotiation is found by the third part of its offer id, which the provider does not
// check and which is our key; a transfer process by its id, which is ours, or, where the
// connector chooses ids itself, by a private property. Starting the same process twice breaks
// the first.
//
// It answers in JSON-LD: an array of one may be its element, a name may have any prefix. Members
// are looked for by the last part of their names.
//
// Its errors are an array of JSON objects, or a web page: while it boots, every GET is a 404 and
// every POST a 405. Only JSON that says ObjectNotFound means that something is not there.
package edc
