package kafka

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is where a command stands on the log. A write answers with the position of
// its command; a reader that has been told it can wait until what it reads from has
// got that far.
type Position struct {
	Aggregate string // aggregate type
	Partition int32
	Offset    int64 // of the command on the aggregate type's commands topic
}

// String is the token, <aggregate>/<partition>/<offset>. It is what headers and
// queries carry; nobody but ParsePosition takes it apart.
func (p Position) String() string {
	b := make([]byte, 0, len(p.Aggregate)+24)
	b = append(b, p.Aggregate...)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(p.Partition), 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, p.Offset, 10))
}

// MarshalText writes the token.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the token.
func (p *Position) UnmarshalText(b []byte) error {
	q, err := ParsePosition(string(b))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePosition reads a token that String made; the error quotes what it could not read.
func ParsePosition(s string) (Position, error) {
	bad := fmt.Errorf("position %.100q: want <aggregate>/<partition>/<offset>, as a write answered it", s)
	parts := strings.Split(s, "/")
	if len(parts) != 3 || parts[0] == "" {
		return Position{}, bad
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || partition < 0 {
		return Position{}, bad
	}
	offset, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || offset < 0 {
		return Position{}, bad
	}
	return Position{Aggregate: parts[0], Partition: int32(partition), Offset: offset}, nil
}
