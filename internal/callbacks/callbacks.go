package callbacks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
)

// Prefix is the path below which reports about work arrive.
const Prefix = "/callbacks/work/"

// Proofs makes and checks proofs with one key.
type Proofs struct{ key []byte }

// New makes Proofs. The key must be as long as it takes not to be guessed.
func New(key []byte) *Proofs { return &Proofs{key} }

// Of is the proof for a piece of work.
func (p *Proofs) Of(workID string) string {
	mac := hmac.New(sha256.New, p.key)
	// What else the key may ever prove must not be mistaken for this.
	mac.Write([]byte("work callback\x00" + workID))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Proves says whether the proof is the one for the work, in a time that does not tell
// how much of it was right.
func (p *Proofs) Proves(workID, proof string) bool {
	return hmac.Equal([]byte(p.Of(workID)), []byte(proof))
}

// Addresses makes the addresses themselves.
type Addresses struct {
	proofs *Proofs
	base   string
}

// At makes Addresses below a URL, which is where others reach us.
func (p *Proofs) At(base string) *Addresses {
	return &Addresses{p, strings.TrimSuffix(base, "/")}
}

// Of is the address of a piece of work. A JSON value posted to it completes the work with
// this value as its output; below it, complete, fail and heartbeat take what the routes
// of the API with these names take.
func (a *Addresses) Of(workID string) string {
	return a.base + Prefix + url.PathEscape(workID) + "/" + a.proofs.Of(workID)
}

// Proof is the part of the address that nobody else may see.
func (a *Addresses) Proof(workID string) string { return a.proofs.Of(workID) }
