package projections

import (
	"strconv"
	"time"
)

// Moment is when a transfer, or a negotiation, came into a state.
type Moment struct {
	State    string    `json:"state"`
	Code     int       `json:"code"`
	At       time.Time `json:"at"`
	Inferred bool      `json:"inferred,omitempty"` // passed over: nobody reported it
	Reason   string    `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"`
}

func appendMoments(b []byte, l []Moment) []byte {
	b = append(b, '[')
	for i := range l {
		if i > 0 {
			b = append(b, ',')
		}
		b = l[i].append(b)
	}
	return append(b, ']')
}

func (m *Moment) append(b []byte) []byte {
	b = appendText(append(b, `{"state":`...), m.State)
	b = appendInt(b, `,"code":`, int64(m.Code))
	b = appendTime(append(b, `,"at":`...), nanos(m.At))
	if m.Inferred {
		b = strconv.AppendBool(append(b, `,"inferred":`...), true)
	}
	if m.Reason != "" {
		b = appendText(append(b, `,"reason":`...), m.Reason)
	}
	if m.By != "" {
		b = appendText(append(b, `,"by":`...), m.By)
	}
	return append(b, '}')
}

// mostMoments is how many states a document shows; of one that was suspended and resumed for
// ever it shows the first, and the last ones.
const mostMoments = 64

// noted adds a moment; it answers with how many had to go.
func noted(l []Moment, m Moment) []Moment {
	if len(l) >= mostMoments {
		l = append(l[:1], l[2:]...)
	}
	return append(l, m)
}
