package agents

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/domain/definition"
)

// httpRequest is a request as an input has it.
type httpRequest struct {
	Method  string                     `json:"method"`
	URL     string                     `json:"url"`
	Path    []any                      `json:"path"`
	Query   map[string]any             `json:"query"`
	Headers map[string]json.RawMessage `json:"headers"`
	Body    json.RawMessage            `json:"body"`
	Text    *string                    `json:"text"`
	Expect  statuses                   `json:"expect"`
	Answer  string                     `json:"answer"`
	Timeout definition.Duration        `json:"timeout"`
}

// httpInput is what http works on.
type httpInput struct {
	httpRequest
	Wait    *httpWait       `json:"wait"`
	Poll    *httpPoll       `json:"poll"`
	Dispose json.RawMessage `json:"dispose"`
}

// httpWait says that somebody will report.
type httpWait struct {
	On      statuses            `json:"on"`
	Timeout definition.Duration `json:"timeout"`
}

// httpPoll says how to find out what came of an accepted request.
type httpPoll struct {
	httpRequest
	On       statuses            `json:"on"`
	Every    definition.Duration `json:"every"`
	Until    conditions          `json:"until"`
	FailWhen conditions          `json:"failWhen"`
}

// readHTTPInput reads the input; nil where a dispose has nothing to do.
func readHTTPInput(a agent.Activity) (*httpInput, error) {
	if a.Discriminator != dispose {
		return strictly(a.Input.Raw())
	}
	var u undoing
	if err := a.Input.Decode(&u); err != nil {
		return nil, err
	}
	return u.request()
}

// undoing is the request that undoes one. What is undone comes with its output over its
// input, and so nothing but these two members is what the definition says.
type undoing struct {
	Method  string          `json:"method"`
	Dispose json.RawMessage `json:"dispose"`
}

func (u undoing) request() (*httpInput, error) {
	switch {
	case string(u.Dispose) == "{}":
		return nil, nil
	case len(u.Dispose) > 0 && string(u.Dispose) != "null":
		in, err := strictly(u.Dispose)
		if err != nil {
			return nil, fmt.Errorf("dispose: %w", err)
		}
		return in, nil
	case u.Method == "" || strings.EqualFold(u.Method, http.MethodGet) || strings.EqualFold(u.Method, http.MethodHead):
		return nil, nil // it did nothing
	}
	return nil, errors.New("the input does not say how to undo the request: give it dispose, a request, or {} where there is nothing to undo")
}

func strictly(raw json.RawMessage) (*httpInput, error) {
	in := new(httpInput)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(in); err != nil {
		return nil, fmt.Errorf("input: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return in, in.check()
}

func (in *httpInput) check() error {
	if in.Wait != nil && in.Poll != nil {
		return errors.New("the input has wait and poll: want one of them")
	}
	if in.Poll != nil {
		if in.Poll.URL == "" || len(in.Poll.Until) == 0 {
			return errors.New("poll needs url, where to ask, and until, what the answer says in the end")
		}
		if err := in.Poll.check("poll."); err != nil {
			return err
		}
	}
	return in.httpRequest.check("")
}

func (r *httpRequest) check(at string) error {
	if r.URL == "" {
		return fmt.Errorf("the input has no %surl", at)
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	r.Method = strings.ToUpper(r.Method)
	if !isToken(r.Method) || r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return fmt.Errorf("%smethod %.20q: want GET, POST, PUT, PATCH, DELETE or the like", at, r.Method)
	}
	if string(r.Body) == "null" {
		r.Body = nil
	}
	if r.Body != nil && r.Text != nil {
		return fmt.Errorf("the input has %[1]sbody and %[1]stext: want one of them", at)
	}
	switch r.Answer {
	case "", "auto", "json", "text":
		return nil
	}
	return fmt.Errorf("%sanswer %.20q: want auto, json or text", at, r.Answer)
}

// polling is the request that polls. It has the headers of the first one but those it
// sets itself: whoever had to prove who they are has to do so again.
func (in *httpInput) polling() *httpRequest {
	r := in.Poll.httpRequest
	headers := make(map[string]json.RawMessage, len(in.Headers)+len(r.Headers))
	for _, from := range []map[string]json.RawMessage{in.Headers, r.Headers} {
		for name, value := range from {
			headers[textproto.CanonicalMIMEHeaderKey(name)] = value
		}
	}
	if r.Body == nil && r.Text == nil {
		delete(headers, "Content-Type")
	}
	r.Headers = headers
	if r.Timeout == 0 {
		r.Timeout = in.Timeout
	}
	return &r
}

// request makes the request; secret are the headers that hold secrets.
func (c *call) request(ctx context.Context, in *httpRequest, key string) (req *http.Request, secret map[string]bool, failed *failure) {
	wrong := func(step string, err error) (*http.Request, map[string]bool, *failure) {
		return nil, nil, &failure{step: step, err: err}
	}
	u, err := c.address(in)
	if err != nil {
		return wrong("address", err)
	}
	body, contentType, err := c.body(in)
	if err != nil {
		return wrong("input", err)
	}
	if req, err = http.NewRequestWithContext(ctx, in.Method, u.String(), bytes.NewReader(body)); err != nil {
		return wrong("address", err)
	}
	if body == nil {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	req.Header.Set("User-Agent", "waybill")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if secret, err = c.headers(in, req); err != nil {
		return wrong("input", err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return req, secret, nil
}

// address fills in the URL with path and query, and looks whether it may be called.
func (c *call) address(in *httpRequest) (*url.URL, error) {
	text, err := c.fill.url(in.URL)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the url cannot be read: " + causeOf(err).Error())
	}
	if !u.IsAbs() {
		if u, err = c.below(u); err != nil {
			return nil, err
		}
	}
	if u.Host == "" {
		return nil, fmt.Errorf("the url %.100q has no host", u.Redacted())
	}
	if u.User != nil {
		return nil, errors.New(`the url has a user in it, which stays on the log; give the header Authorization as {"secret": NAME}`)
	}
	for _, segment := range in.Path {
		name, err := scalar(segment)
		if err == nil {
			name, err = c.fill.text(name, nil)
		}
		if err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		if strings.Trim(name, ".") == "" {
			return nil, fmt.Errorf("path: %q cannot be a part of it", name)
		}
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+name, strings.TrimSuffix(u.EscapedPath(), "/")+"/"+url.PathEscape(name)
	}
	if err := c.query(in, u); err != nil {
		return nil, err
	}
	return u, c.cfg.Outbound.Check(u)
}

// below is where a relative URL leads, which only an answer may give: from where it came.
func (c *call) below(u *url.URL) (*url.URL, error) {
	if accepted, ok := c.fill.response.(map[string]any); ok {
		if from, ok := accepted["url"].(string); ok {
			base, err := url.Parse(from)
			if err != nil {
				return nil, err
			}
			return base.ResolveReference(u), nil
		}
	}
	return nil, fmt.Errorf("the url %.100q has no scheme and host", u.Redacted())
}

func (c *call) query(in *httpRequest, u *url.URL) error {
	if len(in.Query) == 0 {
		return nil
	}
	q := u.Query()
	for name, value := range in.Query {
		values, isList := value.([]any)
		if !isList {
			values = []any{value}
		}
		for _, v := range values {
			if v == nil {
				continue // a template that named nothing
			}
			text, err := scalar(v)
			if err == nil {
				text, err = c.fill.text(text, nil)
			}
			if err != nil {
				return fmt.Errorf("query %s: %w", name, err)
			}
			q.Add(name, text)
		}
	}
	u.RawQuery = q.Encode()
	return nil
}

// body is the body and its type; nil where there is none.
func (c *call) body(in *httpRequest) (body []byte, contentType string, err error) {
	switch {
	case in.Text != nil:
		text, err := c.fill.text(*in.Text, nil)
		return []byte(text), "text/plain; charset=utf-8", err
	case in.Body == nil:
		return nil, "", nil
	case !bytes.Contains(in.Body, []byte("${")):
		return in.Body, "application/json", nil
	}
	v, err := decode(in.Body)
	if err == nil {
		v, err = c.fill.json(v)
	}
	if err != nil {
		return nil, "", fmt.Errorf("body: %w", err)
	}
	body, err = json.Marshal(v)
	return body, "application/json", err
}

// reserved are headers that the connection sets.
var reserved = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te", "Expect"} //nolint:gochecknoglobals // a table

// confidential are headers whose values are secrets, whoever gives them.
var confidential = []string{"Authorization", "Proxy-Authorization", "Cookie"} //nolint:gochecknoglobals // a table

// headers sets the headers and says which of them hold secrets.
func (c *call) headers(in *httpRequest, req *http.Request) (map[string]bool, error) {
	secret := map[string]bool{}
	for name, raw := range in.Headers {
		if string(raw) == "null" {
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if !isToken(name) || slices.Contains(reserved, name) {
			return nil, fmt.Errorf("header %.50q cannot be set", name)
		}
		value, isSecret, err := c.header(req.Context(), raw, req.URL)
		switch {
		case err != nil:
			return nil, fmt.Errorf("header %s: %w", name, err)
		case !isSecret && slices.Contains(confidential, name):
			return nil, fmt.Errorf(`header %s: its value stands in the clear and stays on the log; give it as {"secret": NAME}`, name)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return nil, fmt.Errorf("header %s: its value has a control character in it", name)
		}
		req.Header.Set(name, value)
		if isSecret {
			secret[name] = true
			c.hidden = c.hidden.Add(value, "[secret]")
		}
	}
	return secret, nil
}

// header reads a value, or {secret, prefix, encode}.
func (c *call) header(ctx context.Context, raw json.RawMessage, u *url.URL) (value string, isSecret bool, err error) {
	if raw[0] != '{' {
		if value, err = scalar(decoded(raw)); err != nil {
			return "", false, errors.New(`want a text, or {"secret": NAME}`)
		}
		value, err = c.fill.text(value, nil)
		return value, false, err
	}
	var ref struct {
		Secret string `json:"secret"`
		Prefix string `json:"prefix"`
		Encode string `json:"encode"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if dec.Decode(&ref) != nil || ref.Secret == "" || ref.Encode != "" && ref.Encode != "base64" {
		return "", false, errors.New(`want {"secret": NAME}, with "prefix": TEXT and "encode": "base64" as needed`)
	}
	if value, err = c.cfg.Secrets.For(ctx, ref.Secret, u); err != nil {
		return "", false, err
	}
	c.hidden = c.hidden.Add(value, "[secret "+ref.Secret+"]")
	if ref.Encode != "" {
		value = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return ref.Prefix + value, true, nil
}

// isToken says whether a text can be a method or a header's name (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// causeOf is the cause of an error of net/url, without the URL it shows.
func causeOf(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// statuses is a list of statuses, "2xx" for a class of them. An empty one means any of the
// statuses that are good without a list: 2xx.
type statuses []string

// UnmarshalJSON takes a status or a list of them.
func (s *statuses) UnmarshalJSON(b []byte) error {
	l, isList := decoded(b).([]any)
	if !isList {
		l = []any{decoded(b)}
	}
	*s = nil
	for _, v := range l {
		text, err := scalar(v)
		if err == nil && len(text) == 3 && text[0] >= '1' && text[0] <= '5' {
			_, err = strconv.Atoi(strings.TrimSuffix(text, "xx"))
		} else {
			err = errors.New("no status")
		}
		if err != nil {
			return fmt.Errorf(`%s: want statuses like 200, 404 or "2xx"`, b)
		}
		*s = append(*s, text)
	}
	return nil
}

func (s statuses) has(code int) bool {
	if len(s) == 0 {
		return code >= 200 && code <= 299
	}
	text := strconv.Itoa(code)
	return slices.Contains(s, text) || slices.Contains(s, text[:1]+"xx")
}
