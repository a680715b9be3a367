package agents

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybill/waybill/internal/outbound"
)

// answer is what came back: url, status, headers, and body (JSON, or a text) or base64
// (where it is neither).
type answer map[string]any

func (a answer) status() int {
	n, _ := a["status"].(json.Number)
	code, _ := strconv.Atoi(n.String())
	return code
}

func (a answer) header(name string) string {
	headers, _ := a["headers"].(map[string]any)
	value, _ := headers[name].(string)
	return value
}

func (a answer) retryAfter() time.Duration {
	return outbound.RetryAfter(a.header("retry-after"), time.Now())
}

// snippet shows the beginning of a body in one line.
func (a answer) snippet() string {
	text, isText := a["body"].(string)
	if !isText && a["body"] != nil {
		raw, err := json.Marshal(a["body"])
		if err != nil {
			return ""
		}
		text = string(raw)
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxSnippet {
		text = strings.ToValidUTF8(text[:maxSnippet], "") + "…"
	}
	return text
}

// maxDepth bounds how deep an answer is nested; what readers of the log take is somewhat more.
const maxDepth = 64

// read reads an answer within the limit. One that is refused anyway is read as far as it
// goes, to show what it says.
func (c *call) read(ctx context.Context, in *httpRequest, resp *http.Response) (answer, *failure) {
	good := in.Expect.has(resp.StatusCode)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxBytes+1))
	switch {
	case !good && err != nil:
		raw = nil
	case err != nil:
		f := failing(outbound.Unreachable(ctx, err))
		f.err = fmt.Errorf("after %d bytes of the answer: %w", len(raw), f.err)
		return nil, f
	case int64(len(raw)) > c.cfg.MaxBytes && good:
		return nil, &failure{step: "answer", err: fmt.Errorf("the answer is larger than the limit of %d bytes for one answer", c.cfg.MaxBytes)}
	}
	got := answer{
		"url": outbound.Shown(resp.Request.URL), "status": json.Number(strconv.Itoa(resp.StatusCode)), "headers": c.shownHeaders(resp.Header), "body": nil,
	}
	kind := in.Answer
	if !good {
		kind = "auto"
	}
	if err := c.content(got, raw, kind, resp.Header.Get("Content-Type")); err != nil && good {
		return nil, &failure{step: "answer", err: err}
	}
	return got, nil
}

// content puts the body into the answer: as JSON, as a text, or as base64.
func (c *call) content(got answer, raw []byte, kind, declared string) error {
	if len(raw) == 0 {
		if kind == "json" {
			return errors.New("the answer is empty, not JSON")
		}
		return nil
	}
	media, _, _ := mime.ParseMediaType(declared)
	isJSON := media == "application/json" || strings.HasSuffix(media, "+json")
	valid := utf8.Valid(raw)
	if valid && (isJSON || media == "" || kind == "json") && kind != "text" {
		v, err := decode(raw)
		switch {
		case err == nil && depth(v) > maxDepth:
			return fmt.Errorf("the answer is nested deeper than %d", maxDepth)
		case err == nil:
			got["body"] = c.hidden.JSON(v)
			return nil
		case isJSON || kind == "json":
			got["body"] = c.hidden.Text(string(raw))
			return fmt.Errorf("the answer is not JSON: %w%s", err, outbound.Seen(declared, raw))
		}
	}
	switch {
	case !valid && kind == "json":
		return fmt.Errorf("the answer is not JSON: it is not UTF-8%s", outbound.Seen(declared, raw))
	case !valid:
		got["base64"] = base64.StdEncoding.EncodeToString([]byte(c.hidden.Text(string(raw))))
	default:
		got["body"] = c.hidden.Text(string(raw))
	}
	return nil
}

// shownHeaders are the headers, in lower case, that are fit to be written down.
func (c *call) shownHeaders(h http.Header) map[string]any {
	l := make(map[string]any, len(h))
	for name, values := range h {
		name = strings.ToLower(name)
		if slices.ContainsFunc([]string{"cookie", "auth", "token", "secret", "password", "api-key", "apikey", "session", "signature"},
			func(word string) bool { return strings.Contains(name, word) }) {
			continue
		}
		l[name] = strings.ToValidUTF8(c.hidden.Text(strings.Join(values, ", ")), "\uFFFD")
	}
	return l
}

func depth(v any) int {
	deepest := 0
	switch x := v.(type) {
	case []any:
		for _, item := range x {
			deepest = max(deepest, depth(item))
		}
	case map[string]any:
		for _, item := range x {
			deepest = max(deepest, depth(item))
		}
	default:
		return 0
	}
	return deepest + 1
}
