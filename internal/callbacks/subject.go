package callbacks

import (
	"crypto/hmac"
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// Subject is what an address is about: whoever was given the address may report about this
// and nothing else.
type Subject struct {
	Aggregate string `json:"aggregate"` // type of who asked
	ID        string `json:"id"`        // its key
	Task      string `json:"task"`      // which of the things that it has asked for
}

// The kinds of proofs of a Subject. They are part of what is proven, so that whoever was
// given one address cannot make the others of it.
const (
	ofConnector   = "connector callback"
	ofProvisioner = "provisioner callback"
	ofUpload      = "upload"
)

// Connector is the address that a connector tells its events.
func (a *Addresses) Connector(s Subject) string {
	return a.callback(ConnectorPrefix) + a.proofs.path(ofConnector, s)
}

// Provisioner is the address below which a provisioner reports: a transfer's id and
// provision or deprovision follow.
func (a *Addresses) Provisioner(s Subject) string {
	return a.callback(ProvisionerPrefix) + a.proofs.path(ofProvisioner, s)
}

// Upload is the address that data can be pushed to, once.
func (a *Addresses) Upload(s Subject) string {
	return a.base + UploadPrefix + a.proofs.path(ofUpload, s)
}

// Connector is the Subject of the two parts of a connector's address; false where they do
// not prove that we made it.
func (p *Proofs) Connector(id, proof string) (Subject, bool) {
	return p.subject(ofConnector, id, proof)
}

// Provisioner is the Subject of the two parts of a provisioner's address.
func (p *Proofs) Provisioner(id, proof string) (Subject, bool) {
	return p.subject(ofProvisioner, id, proof)
}

// Upload is the Subject of the two parts of an upload's address.
func (p *Proofs) Upload(id, proof string) (Subject, bool) { return p.subject(ofUpload, id, proof) }

// separator cannot be in an id: they are checked where they come in, and derived elsewhere.
const separator = "\x1f"

// path is a Subject and its proof. The Subject is written so that no proxy on the way finds
// anything to decode in it: slashes in a path segment rarely arrive as they were sent.
func (p *Proofs) path(kind string, s Subject) string {
	text := s.Aggregate + separator + s.ID + separator + s.Task
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "/" + p.of(kind, text)
}

func (p *Proofs) subject(kind, id, proof string) (Subject, bool) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || !hmac.Equal([]byte(p.of(kind, string(text))), []byte(proof)) {
		return Subject{}, false
	}
	parts := strings.Split(string(text), separator)
	if len(parts) != 3 || !utf8.Valid(text) {
		return Subject{}, false
	}
	return Subject{parts[0], parts[1], parts[2]}, true
}
