package schemas

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Pushed is data that was pushed to us, as it crosses the log: word for word, whatever it is.
type Pushed struct {
	ContentType string  `json:"contentType,omitempty"`
	Text        *string `json:"text,omitempty"`   // UTF-8
	Base64      []byte  `json:"base64,omitempty"` // anything else
}

// NewPushed makes it of a body.
func NewPushed(contentType string, body []byte) Pushed {
	if !utf8.ValidString(contentType) {
		contentType = ""
	}
	if !utf8.Valid(body) {
		return Pushed{ContentType: contentType, Base64: body}
	}
	text := string(body)
	return Pushed{ContentType: contentType, Text: &text}
}

var errNoContent = errors.New("there is neither text nor base64 in what was pushed")

// ReadPushed reads what was pushed.
func ReadPushed(raw json.RawMessage) (contentType string, body []byte, err error) {
	var p Pushed
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", nil, errNoContent
	}
	switch {
	case p.Text != nil:
		return p.ContentType, []byte(*p.Text), nil
	case p.Base64 != nil:
		return p.ContentType, p.Base64, nil
	}
	return "", nil, errNoContent
}
