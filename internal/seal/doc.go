// Package seal lets secrets cross the log without being read there: tokens for the data of
// a provider, keys of an address to push to, what a provisioner hands out.
//
//	ring, err := seal.ReadFile("seal.keys")
//	sealed, err := ring.Seal(seal.EDR("consumer"), edr) // {"$sealed":"k2.mVn…"}
//	…
//	secret, err := ring.Open(seal.EDR("consumer"), sealed)
//	secret.Decode(&edr)
//
// A secret is a JSON value; sealed it is an object with the one member $sealed, so it may
// stand wherever the secret would. It opens only for the purpose that it was sealed for:
// whoever copies it from a topic into something else gets nothing opened by us.
//
// # Keys
//
// A Keyring has the current key, which seals, and older ones, which only open. It is read
// from lines of an id, a colon and 32 bytes in base64, the current key first. One more is made with
//
//	echo "k2:$(openssl rand -base64 32)"
//
// To change keys where several processes share them, first add the new one below the
// current one everywhere, then put it first everywhere; take the old one away when
// nothing that it has sealed is needed any more. A key is good for 2^32 secrets.
package seal
