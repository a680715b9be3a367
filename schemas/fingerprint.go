package schemas

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/waybill/waybill/domain/blob"
)

// Fingerprint tells bodies apart: the first 16 hex digits of the SHA-256 of the canonical
// JSON, in which there is no white space, names stand in the order of their bytes,
// strings are escaped only where they must be, and a number with a fraction or an
// exponent is written the shortest way that reads back as the same float64. So neither
// the order of keys nor white space matters. What is not JSON is hashed as it is. What is kept
// elsewhere counts with its bytes, wherever it was written: the same body is written there
// again when it comes again. What is sealed does not count: the same secret is sealed to another
// text each time.
func Fingerprint(data []byte) string {
	data = blob.Anonymous(data)
	c := canon{scanner: scanner{data: bytes.TrimPrefix(data, byteOrderMark)}}
	c.out = make([]byte, 0, len(data))
	c.value()
	c.end()
	if c.err != nil {
		c.out = data
	}
	sum := sha256.Sum256(c.out)
	var text [16]byte
	hex.Encode(text[:], sum[:8])
	return string(text[:])
}

// sealedMember is the name of the one member of what is sealed.
const sealedMember = "$sealed"

// canon writes what it scans in its canonical form.
type canon struct {
	scanner
	out []byte
}

func (c *canon) value() {
	switch c.space() {
	case '{':
		c.members()
	case '[':
		c.out = append(c.out, '[')
		first := true
		for a := c.array(); a.next(); first = false {
			if !first {
				c.out = append(c.out, ',')
			}
			c.value()
		}
		c.out = append(c.out, ']')
	case '"':
		raw, escaped := c.text()
		c.quote(raw, escaped)
	default:
		c.scalar(c.raw())
	}
}

func (c *canon) quote(raw []byte, escaped bool) {
	if escaped {
		c.out = appendString(c.out, unescape(raw))
		return
	}
	c.out = append(c.out, '"')
	c.out = append(c.out, raw...)
	c.out = append(c.out, '"')
}

// scalar writes a number or a literal.
func (c *canon) scalar(text []byte) {
	if len(text) > 0 && (text[0] == '-' || text[0] <= '9') && bytes.ContainsAny(text, ".eE") {
		if f, err := strconv.ParseFloat(string(text), 64); err == nil {
			c.out = strconv.AppendFloat(c.out, f, 'g', -1, 64)
			return
		}
	}
	c.out = append(c.out, text...)
}

// member is one of an object's that has been written.
type member struct {
	name     []byte
	from, to int // in out
}

func (c *canon) members() {
	c.out = append(c.out, '{')
	var few [8]member
	all := few[:0]
	ordered := true
	for o := c.object(); o.next(); {
		if n := len(all); n > 0 {
			c.out = append(c.out, ',')
			ordered = ordered && bytes.Compare(all[n-1].name, o.name) <= 0
		}
		m := member{name: o.name, from: len(c.out)}
		c.out = appendString(c.out, o.name)
		c.out = append(c.out, ':')
		if string(o.name) == sealedMember {
			c.raw()
		} else {
			c.value()
		}
		m.to = len(c.out)
		all = append(all, m)
	}
	if !ordered && c.err == nil {
		c.reorder(all)
	}
	c.out = append(c.out, '}')
}

// reorder writes the last members again, in order of name.
func (c *canon) reorder(all []member) {
	start := all[0].from
	written := bytes.Clone(c.out[start:])
	slices.SortStableFunc(all, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	c.out = c.out[:start]
	for i, m := range all {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, written[m.from-start:m.to-start]...)
	}
}
