package blob

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Limits, in this one place.
const (
	// Threshold is from which size on, in bytes, a value does not stand in a record itself.
	Threshold = 256 << 10
	// DefaultMax is the largest value, in bytes, that is taken unless configured otherwise.
	DefaultMax = 16 << 20
	// maxBytes is over any limit that can be configured, and leastChunk below any chunk but the last
	// that is written: together they bound what follows from a reference.
	maxBytes   = 1 << 30
	leastChunk = 64 << 10
	// maxRefBytes bounds a reference: its id, a hash, some numbers and a path.
	maxRefBytes = 8 << 10
)

// The reserved members.
const (
	refName  = "$blob"
	joinName = "$join"
)

// Reserved says that only references have a member of that name.
func Reserved(name string) bool { return name == refName || name == joinName }

// Ref is where a value stands that is too large for a record.
type Ref struct {
	ID        string `json:"id"` // <job>/<unique>; the keys of its chunks begin with it
	Type      string `json:"type"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
	Partition int32  `json:"partition"` // of the blobs topic
	Offset    int64  `json:"offset"`    // of the first chunk
	Last      int64  `json:"last"`      // of the last chunk
	Chunks    int32  `json:"chunks"`
	// Path, where it is not empty, says which part of the value is meant.
	Path string `json:"path,omitempty"`
}

var hash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check says what is wrong with a reference.
func (r Ref) check() error {
	switch {
	case r.ID == "" || len(r.ID) > 512:
		return fmt.Errorf("%s: id: want a text of 1 to 512 bytes", refName)
	case !hash.MatchString(r.SHA256):
		return fmt.Errorf("%s: sha256: want 64 hex digits", refName)
	case r.Type != "object" && r.Type != "array" && r.Type != "string" && r.Type != "number":
		return fmt.Errorf("%s: type: want object, array, string or number", refName)
	case r.Bytes < 1 || r.Bytes > maxBytes || r.Chunks > int32(r.Bytes/leastChunk)+1:
		return fmt.Errorf("%s: bytes, chunks: want at most %d bytes, in chunks of at least %d", refName, maxBytes, leastChunk)
	case r.Partition < 0 || r.Offset < 0 || r.Last < r.Offset || r.Chunks < 1 || int64(r.Chunks) > r.Last-r.Offset+1:
		return fmt.Errorf("%s: bytes, partition, offset, last and chunks do not fit together", refName)
	}
	return nil
}

// JSON writes the reference as it stands in a value.
func (r Ref) JSON() json.RawMessage {
	b, err := json.Marshal(map[string]Ref{refName: r})
	if err != nil {
		return json.RawMessage("null") // texts and numbers always encode
	}
	return b
}

// Own says whether a blob belongs to an aggregate: whoever writes one names it so.
func (r Ref) Own(aggregateID string) bool {
	rest, ok := strings.CutPrefix(r.ID, aggregateID+"/")
	return ok && !strings.Contains(rest, "/")
}

// Marked says whether a value may have a reference in it. It is quick, and sometimes wrong
// when it says yes.
func Marked(raw []byte) bool {
	if bytes.IndexByte(raw, '$') < 0 && !bytes.Contains(raw, []byte(`\u0024`)) {
		return false
	}
	return bytes.Contains(raw, []byte(refName)) || bytes.Contains(raw, []byte(joinName)) || bytes.Contains(raw, []byte(`\u00`))
}

// Of reads a value that is a reference; false where it is anything else.
func Of(raw json.RawMessage) (Ref, bool) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' || len(raw) > maxRefBytes || !Marked(raw) {
		return Ref{}, false
	}
	l, ok := members(raw)
	if !ok || len(l) != 1 || l[0].name != refName {
		return Ref{}, false
	}
	r, err := parse(l[0].value)
	return r, err == nil
}

func parse(raw json.RawMessage) (Ref, error) {
	var r Ref
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: want a reference: %w", refName, err)
	}
	return r, r.check()
}

// member is one of an object's, in its place.
type member struct {
	name  string
	value json.RawMessage
}

// members takes an object apart; false where it is none.
func members(raw json.RawMessage) ([]member, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var l []member
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		m := member{name: name}
		if err != nil || !ok || dec.Decode(&m.value) != nil {
			return nil, false
		}
		l = append(l, m)
	}
	return l, true
}

// elements takes an array apart; false where it is none.
func elements(raw json.RawMessage) ([]json.RawMessage, bool) {
	var l []json.RawMessage
	err := json.Unmarshal(raw, &l)
	return l, err == nil
}

// object writes members as they are.
func object(l []member) json.RawMessage {
	n := 2
	for _, m := range l {
		n += len(m.name) + len(m.value) + 8
	}
	b := append(make([]byte, 0, n), '{')
	for i, m := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, quote(m.name)...), ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

func array(l []json.RawMessage) json.RawMessage {
	return append(append([]byte{'['}, bytes.Join(rawBytes(l), []byte{','})...), ']')
}

func rawBytes(l []json.RawMessage) [][]byte {
	b := make([][]byte, len(l))
	for i := range l {
		b[i] = l[i]
	}
	return b
}

// quote writes a JSON string and escapes no more than it must.
func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return []byte(`""`) // a string always encodes
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
