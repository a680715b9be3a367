package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/problem"
)

// httpError is an answer that stands already when it is found.
type httpError struct{ problem.Problem }

// Error implements error.
func (e *httpError) Error() string { return e.Detail }

func fail(status int, format string, args ...any) error {
	return &httpError{problem.Problem{Status: status, Detail: fmt.Sprintf(format, args...)}}
}

// object is the top level of a JSON body.
type object map[string]json.RawMessage

// readObject reads a body that has to be a JSON object. An empty body is one without
// members where the request may have none.
func (in *Intake) readObject(w http.ResponseWriter, r *http.Request, mayBeEmpty bool) (object, []byte, error) {
	return readObject(w, r, in.cfg.MaxBody, "", mayBeEmpty)
}

// readPayload is readObject for a body with an input or an output, which may be large.
func (in *Intake) readPayload(w http.ResponseWriter, r *http.Request, mayBeEmpty bool) (object, []byte, error) {
	return readObject(w, r, in.payloadBody(), in.payloadNote(), mayBeEmpty)
}

// payloadBody leaves room for what stands in a body beside its input or output.
func (in *Intake) payloadBody() int64 { return in.cfg.MaxPayload + in.cfg.MaxBody }

func (in *Intake) payloadNote() string {
	return fmt.Sprintf("; an input or an output may have %d (--max-payload)", in.cfg.MaxPayload)
}

func readObject(w http.ResponseWriter, r *http.Request, limit int64, setBy string, mayBeEmpty bool) (object, []byte, error) {
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength, limit)
	var tooLarge *http.MaxBytesError
	switch {
	case isBusy(err):
		return nil, nil, err
	case errors.As(err, &tooLarge):
		return nil, nil, fail(http.StatusRequestEntityTooLarge, "the body is larger than the limit of %d bytes%s", tooLarge.Limit, setBy)
	case err != nil:
		return nil, nil, fail(http.StatusBadRequest, "the body could not be read: %v", err)
	case len(bytes.TrimSpace(body)) == 0 && mayBeEmpty:
		return object{}, []byte("{}"), nil
	}
	if err := checkContentType(r); err != nil {
		return nil, nil, err
	}
	if !utf8.Valid(body) {
		return nil, nil, fail(http.StatusBadRequest, "the body is not UTF-8")
	}
	if err := checkJSON(body); err != nil {
		return nil, nil, fail(http.StatusBadRequest, "the body is not JSON: %v", err)
	}
	o, err := parseObject(body)
	return o, body, err
}

// readAll reads a body into as much memory as it takes, where that is known.
func readAll(body io.Reader, length, limit int64) ([]byte, error) {
	if length <= 0 || length > limit {
		return io.ReadAll(body)
	}
	all := make([]byte, length)
	_, err := io.ReadFull(body, all)
	return all, err
}

func isBusy(err error) bool {
	_, ok := errors.AsType[*busyError](err)
	return ok
}

func misfit(path, message string) error {
	return machine.Refuse(machine.Schema, "the body does not fit its schema", machine.Problem{Path: path, Message: message})
}

// parseObject takes a text that is JSON apart. A name that is there twice would mean one
// thing here and another to somebody else, so it is refused.
func parseObject(body []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, misfit("", "want an object")
	}
	o := object{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err == nil && ok {
			err = dec.Decode(&value)
		}
		if err != nil {
			return nil, misfit("", err.Error())
		}
		if _, twice := o[name]; twice {
			return nil, misfit(name, "is there twice")
		}
		o[name] = value
	}
	return o, nil
}

func checkContentType(r *http.Request) error {
	given := r.Header.Get("Content-Type")
	t, _, err := mime.ParseMediaType(given)
	if err == nil && (t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")) {
		return nil
	}
	if given == "" {
		given = "no content type"
	}
	return fail(http.StatusUnsupportedMediaType, "got %s, want application/json", given)
}

// checkJSON says where a text stops being JSON.
func checkJSON(body []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	}
	return err
}

// text takes a member that has to be a string out of the object.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	delete(o, name)
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", misfit(name, "want a string")
	}
	if s == nil {
		return "", nil
	}
	return *s, nil
}

// peek is text for a member that stays.
func (o object) peek(name string) (string, error) {
	raw, ok := o[name]
	s, err := o.text(name)
	if ok {
		o[name] = raw
	}
	return s, err
}

// encode writes the object back, its members in order of name.
func (o object) encode() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(o)
}
