// Package secret is what agents have to know and nobody else may see: values that never
// print, references that say where a value is kept, and a Store that fetches them from
// files, the environment or Vault.
//
//	var settings struct {
//		APIKey secret.Ref `json:"apiKey"` // apiKey: {vault: "greeter/api#key"}
//	}
//	...
//	key, err := store.Get(ctx, settings.APIKey)
//	req.Header.Set("Authorization", "Bearer "+key.Reveal())
//
// A configuration names secrets by reference and never holds them. A Value prints,
// logs and encodes as «redacted»; Reveal is the one way to what is in it. What a Store has
// handed out it also takes out of texts (Redact), for errors of libraries quote whatever
// they were given.
package secret
