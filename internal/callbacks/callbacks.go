package callbacks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
)

// The paths below which others report, or push.
const (
	// Prefix is for reports about work.
	Prefix = root + "/work/"
	// ConnectorPrefix is for the events of connectors.
	ConnectorPrefix = root + "/edc/"
	// ProvisionerPrefix is for what provisioners have done.
	ProvisionerPrefix = root + "/provisioner/"
	// UploadPrefix is for data that is pushed.
	UploadPrefix = "/uploads/"

	root = "/callbacks"
)

// Prefixes are the paths below which nobody needs a token.
func Prefixes() []string {
	return []string{Prefix, ConnectorPrefix, ProvisionerPrefix, UploadPrefix}
}

// Proofs makes and checks proofs with one key.
type Proofs struct{ key []byte }

// New makes Proofs. The key must be as long as it takes not to be guessed.
func New(key []byte) *Proofs { return &Proofs{key} }

// Of is the proof for a piece of work.
func (p *Proofs) Of(workID string) string { return p.of("work callback", workID) }

// of is a proof of a kind: what the key proves of one thing must not be mistaken for a
// proof of another.
func (p *Proofs) of(kind, text string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(kind + "\x00" + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Proves says whether the proof is the one for the work, in a time that does not tell
// how much of it was right.
func (p *Proofs) Proves(workID, proof string) bool {
	return hmac.Equal([]byte(p.Of(workID)), []byte(proof))
}

// Addresses makes the addresses themselves.
type Addresses struct {
	proofs    *Proofs
	base      string // of all but callbacks
	callbacks string
}

// At makes Addresses below a URL, which is where others reach us.
func (p *Proofs) At(base string) *Addresses {
	base = strings.TrimSuffix(base, "/")
	return &Addresses{p, base, base + root}
}

// CalledAt is the same with callbacks at a URL of their own: what comes there has to reach
// the path /callbacks of any of our processes.
func (a *Addresses) CalledAt(callbacks string) *Addresses {
	return &Addresses{a.proofs, a.base, strings.TrimSuffix(callbacks, "/")}
}

// Of is the address of a piece of work. A JSON value posted to it completes the work with
// this value as its output; below it, complete, fail and heartbeat take what the routes
// of the API with these names take.
func (a *Addresses) Of(workID string) string {
	return a.callback(Prefix) + url.PathEscape(workID) + "/" + a.proofs.Of(workID)
}

func (a *Addresses) callback(prefix string) string {
	return a.callbacks + strings.TrimPrefix(prefix, root)
}

// Proof is the part of the address that nobody else may see.
func (a *Addresses) Proof(workID string) string { return a.proofs.Of(workID) }
