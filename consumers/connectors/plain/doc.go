// Package plain speaks with providers that want no contract: an asset's document is what
// GET <provider>/<asset> answers.
//
//	c := plain.New(plain.Config{Hosts: hosts})
//	document, err := c.Document(ctx, adapter.Want{Party: adapter.Party{Provider: "http://provider1:8181"}, AssetID: "test-document"})
package plain
