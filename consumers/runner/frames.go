package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A checkpoint is a sequence of frames, cut into records wherever one is full: a letter, the length of what
// comes, and that. Numbers are varints unless something else is said.
const (
	liveFrame  = 'a' // id, sequence, offset of the first event, version of the codec, state
	endedFrame = 'e' // rows of key, offset of the first event, sequence
	idFrame    = 'i' // rows of key, hash in eight bytes, unix seconds
)

// liveState is an aggregate as it stands in a checkpoint.
type liveState struct {
	id         string
	seq, first int64
	version    int
	state      []byte
}

var errCutShort = errors.New("a frame is cut short")

func appendNumber(b []byte, n int64) []byte { return binary.AppendUvarint(b, uint64(n)) }

func appendText(b []byte, s string) []byte { return append(appendNumber(b, int64(len(s))), s...) }

func appendFrame(b []byte, kind byte, payload []byte) []byte {
	return append(appendNumber(append(b, kind), int64(len(payload))), payload...)
}

func (l liveState) append(b []byte) []byte {
	b = appendText(b, l.id)
	for _, n := range [...]int64{l.seq, l.first, int64(l.version)} {
		b = appendNumber(b, n)
	}
	return append(b, l.state...)
}

func appendRow(b []byte, kind byte, r row) []byte {
	b = append(b, r.key[:]...)
	if kind == idFrame {
		b = binary.BigEndian.AppendUint64(b, uint64(r.a))
	} else {
		b = appendNumber(b, r.a)
	}
	return appendNumber(b, r.b)
}

// scanner reads frames out of records.
type scanner struct {
	left []byte // of a frame that goes on in the next record
	live func(liveState) error
	row  func(kind byte, r row)
}

// feed takes the next record.
func (s *scanner) feed(value []byte) error {
	b := value
	if len(s.left) > 0 {
		b = append(s.left, value...)
	}
	for len(b) > 0 {
		n, k := binary.Uvarint(b[1:])
		if k < 0 {
			return errors.New("the length of a frame is no number")
		}
		if k == 0 || uint64(len(b)-1-k) < n {
			break
		}
		if err := s.frame(b[0], b[1+k:1+k+int(n)]); err != nil {
			return err
		}
		b = b[1+k+int(n):]
	}
	s.left = append([]byte(nil), b...)
	return nil
}

// end says whether the last frame was whole.
func (s *scanner) end() error {
	if len(s.left) > 0 {
		return errCutShort
	}
	return nil
}

func (s *scanner) frame(kind byte, b []byte) error {
	switch kind {
	case liveFrame:
		l, err := readLive(b)
		if err != nil {
			return err
		}
		return s.live(l)
	case endedFrame, idFrame:
		for len(b) > 0 {
			r, left, err := readRow(kind, b)
			if err != nil {
				return err
			}
			s.row(kind, r)
			b = left
		}
		return nil
	}
	return fmt.Errorf("a frame %q, which this build does not know", kind)
}

func readNumber(b []byte) (int64, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > 1<<62 {
		return 0, nil, errCutShort
	}
	return int64(n), b[k:], nil
}

func readLive(b []byte) (l liveState, err error) {
	n, b, err := readNumber(b)
	if err != nil || int64(len(b)) < n {
		return l, errCutShort
	}
	l.id, b = string(b[:n]), b[n:]
	var version int64
	for _, to := range [...]*int64{&l.seq, &l.first, &version} {
		if *to, b, err = readNumber(b); err != nil {
			return l, err
		}
	}
	l.version, l.state = int(version), b
	return l, nil
}

func readRow(kind byte, b []byte) (r row, left []byte, err error) {
	if len(b) < len(r.key)+8 && kind == idFrame || len(b) < len(r.key) {
		return r, nil, errCutShort
	}
	b = b[copy(r.key[:], b):]
	if kind == idFrame {
		r.a, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	} else if r.a, b, err = readNumber(b); err != nil {
		return r, nil, err
	}
	r.b, left, err = readNumber(b)
	return r, left, err
}
