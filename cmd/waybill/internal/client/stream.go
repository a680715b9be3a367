package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
)

// maxLineBytes bounds one line of a stream.
const maxLineBytes = 8 << 20

// Event is one server-sent event.
type Event struct {
	ID   string
	Name string // empty means message
	Data []byte
}

// Stream follows a path's server-sent events and hands each to see, until see returns an
// error, which Stream returns, the server ends the stream (nil), or the connection
// breaks (*UnreachableError). lastID, where not empty, is what was seen last.
func (c *Client) Stream(ctx context.Context, path string, query url.Values, lastID string, see func(Event) error) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if lastID != "" {
		header.Set("Last-Event-ID", lastID)
	}
	res, err := c.send(ctx, http.MethodGet, path, query, nil, header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	var e Event
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) > 0 {
			e.take(line)
			continue
		}
		if e.Data != nil {
			if err := see(e); err != nil {
				return err
			}
		}
		e = Event{ID: e.ID}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		return &UnreachableError{Server: c.Server(), Err: err}
	}
	return nil
}

// take reads one line of an event.
func (e *Event) take(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "id":
		e.ID = string(value)
	case "event":
		e.Name = string(value)
	case "data":
		if e.Data != nil {
			e.Data = append(e.Data, '\n')
		}
		e.Data = append(e.Data, value...)
		if e.Data == nil {
			e.Data = []byte{}
		}
	}
}
