package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// managementContext closes every answer of the management API.
const managementContext = `{"@vocab":"` + nsEDC + `","edc":"` + nsEDC + `","odrl":"` + nsODRL + `"}`

// reply is an answer, or what would have been one.
type reply struct {
	status      int
	contentType string
	body        []byte
}

func (r reply) write(w http.ResponseWriter) {
	h := w.Header()
	if r.contentType != "" {
		h.Set("Content-Type", r.contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body)
}

// answer is a reply with a JSON-LD object.
func answer(v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		return failed(http.StatusInternalServerError, err.Error())
	}
	return reply{http.StatusOK, "application/json", body}
}

func noContent() reply { return reply{status: http.StatusNoContent} }

// ld is the end of an object in an answer.
type ld struct {
	Context json.RawMessage `json:"@context"`
}

func closing() ld { return ld{json.RawMessage(managementContext)} }

// problem is one error of the management API.
type problem struct {
	Message      string `json:"message"`
	Type         string `json:"type"`
	Path         any    `json:"path"`
	InvalidValue any    `json:"invalidValue"`
}

// failed is an error as the management API writes most of them.
func failed(status int, message string) reply {
	return problems(status, problem{Message: message, Type: errorType(status)})
}

func problems(status int, list ...problem) reply {
	body, _ := json.Marshal(list) // cannot fail
	return reply{status, "application/json", body}
}

func errorType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "InvalidRequest"
	case http.StatusUnauthorized:
		return "AuthenticationFailed"
	case http.StatusForbidden:
		return "NotAuthorized"
	case http.StatusNotFound:
		return "ObjectNotFound"
	case http.StatusConflict:
		return "ObjectConflict"
	case http.StatusBadGateway:
		return "BadGateway"
	}
	return "InternalServerError"
}

func badGateway(message string) reply { return failed(http.StatusBadGateway, message) }

func notFound(kind, id string) reply {
	return failed(http.StatusNotFound, fmt.Sprintf("Object of type %s with ID=%s was not found", kind, id))
}

// page is an error of the web server's own, where EDC did not come to say anything: HTML, or
// an object where the client accepts JSON.
func page(r *http.Request, uri string, status int) reply {
	if strings.Contains(r.Header.Get("Accept"), "json") {
		body, _ := json.Marshal(map[string]string{"url": uri, "status": strconv.Itoa(status), "message": http.StatusText(status)}) // cannot fail
		return reply{status, "application/json", body}
	}
	return htmlPage(uri, status)
}

func htmlPage(uri string, status int) reply {
	text := http.StatusText(status)
	body := fmt.Sprintf(`<html>
<head>
<meta http-equiv="Content-Type" content="text/html;charset=ISO-8859-1"/>
<title>Error %d %s</title>
</head>
<body>
<h2>HTTP ERROR %d %s</h2>
<table>
<tr><th>URI:</th><td>%s</td></tr>
<tr><th>STATUS:</th><td>%d</td></tr>
<tr><th>MESSAGE:</th><td>%s</td></tr>
</table>

</body>
</html>
`, status, text, status, text, html.EscapeString(uri), status, text)
	return reply{status, "text/html;charset=iso-8859-1", []byte(body)}
}

// nothing is a refusal of which EDC says nothing: the web server's page is the answer.
func nothing(status int) reply { return reply{status: status} }

// contexts is a body that knows its @context.
type contexts interface{ context() json.RawMessage }

func (l *ld) context() json.RawMessage { return l.Context }

// decode reads a body; what cannot be read is refused as EDC does. Without a context of EDC's
// nothing in it has a meaning.
func decode(body []byte, v contexts) *reply {
	if err := json.Unmarshal(body, v); err != nil {
		return &reply{http.StatusBadRequest, "text/plain", []byte(err.Error())}
	}
	if !bytes.Contains(v.context(), []byte("w3id.org/edc/")) {
		out := nothing(http.StatusBadRequest)
		return &out
	}
	return nil
}

// mandatory refuses a body in which one of the values is missing.
func mandatory(values ...named) *reply {
	var found []problem
	for _, v := range values {
		if path := nsEDC + v.name; strings.TrimSpace(v.value) == "" {
			found = append(found, problem{Message: "mandatory value '" + path + "' is missing or it is blank", Path: path})
		}
	}
	return invalid(found)
}

type named struct{ name, value string }

// invalid refuses a body for what was found in it, if anything was.
func invalid(found []problem) *reply {
	if len(found) == 0 {
		return nil
	}
	for i := range found {
		found[i].Type = "ValidationFailure"
	}
	r := problems(http.StatusBadRequest, found...)
	return &r
}

// list reads an array, or the element itself: JSON-LD makes no difference.
type list[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, (*[]T)(l))
	}
	if string(raw) == "null" {
		*l = nil
		return nil
	}
	var one T
	if err := json.Unmarshal(raw, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

// compact writes a list as the management API does: an array of one as its element.
type compact[T any] []T

// MarshalJSON implements json.Marshaler.
func (l compact[T]) MarshalJSON() ([]byte, error) {
	switch len(l) {
	case 0:
		return []byte("[]"), nil
	case 1:
		return json.Marshal(l[0])
	}
	return json.Marshal([]T(l))
}

// trimmed is an address as it is compared.
func trimmed(address string) string { return strings.TrimRight(address, "/") }

// hostOf is the host and port of an address.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
