package edc_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/consumers/connectors/edc"
)

// The answers here are what connectors of EDC 0.14.0 were seen to say.
const (
	html500 = "<html>\n<head>\n<title>Error 500 Internal Server Error</title>\n</head>\n<body>\n<h2>HTTP ERROR 500 Internal Server Error</h2>\n</body>\n</html>\n"
	html404 = "<html>\n<head>\n<title>Error 404 Not Found</title>\n</head>\n<body>\n<h2>HTTP ERROR 404 Not Found</h2>\n</body>\n</html>\n"
	// With Accept: application/json the web server speaks JSON too, but it is not the connector.
	json404  = `{"url":"/management/v3/contractnegotiations/n1","status":"404","message":"Not Found"}`
	notFound = `[{"message":"Object of type ContractNegotiation with ID=n1 was not found","type":"ObjectNotFound","path":null,"invalidValue":null}]`
	created  = `{"@type":"IdResponse","@id":"n1","createdAt":1795271161338,"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"}}`
	badGate  = `[{"message":"org.eclipse.edc.http.spi.EdcHttpClientException: Failed to connect to localhost/127.0.0.1:1","type":"BadGateway","path":null,"invalidValue":null}]`
)

const key = "hunter22-api-key"

// fake answers what it was told to, in order; the last answer to a request stays.
type fake struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	answers map[string][]answer
	asked   []asked
}

type answer struct {
	status int
	body   string
	header http.Header
}

type asked struct {
	what   string // METHOD path
	body   string
	header http.Header
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, answers: map[string][]answer{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	what := r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/management")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, asked{what, string(body), r.Header.Clone()})
	list := f.answers[what]
	if len(list) == 0 {
		f.t.Errorf("it was asked %s %s", what, body)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if len(list) > 1 {
		f.answers[what] = list[1:]
	}
	for name, values := range list[0].header {
		w.Header()[name] = values
	}
	w.WriteHeader(list[0].status)
	_, _ = io.WriteString(w, list[0].body)
}

// on says what a request is answered, after what was said before.
func (f *fake) on(what string, status int, body string) *fake {
	return f.onWith(what, answer{status: status, body: body})
}

func (f *fake) onWith(what string, a answer) *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[what] = append(f.answers[what], a)
	return f
}

// whats are the requests that were made.
func (f *fake) whats() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]string, len(f.asked))
	for i, a := range f.asked {
		list[i] = a.what
	}
	return list
}

// saw checks the requests that were made.
func (f *fake) saw(want ...string) {
	f.t.Helper()
	if got := f.whats(); !reflect.DeepEqual(got, want) {
		f.t.Errorf("it was asked\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// sent checks the body of the nth request, as JSON.
func (f *fake) sent(n int, want string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) <= n {
		f.t.Fatalf("it was asked only %d times", len(f.asked))
	}
	var g, w any
	if err := json.Unmarshal([]byte(f.asked[n].body), &g); err != nil {
		f.t.Fatalf("%q: %v", f.asked[n].body, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		f.t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		f.t.Errorf("it was sent\n%s\nnot\n%s", f.asked[n].body, want)
	}
}

func (f *fake) connector(change ...func(*edc.Config)) *edc.Connector {
	cfg := edc.Config{Name: "consumer", ManagementURL: f.URL + "/management/"}
	for _, c := range change {
		c(&cfg)
	}
	return edc.New(cfg)
}

var provider = adapter.Party{Provider: "http://provider1:19194/protocol/2025-1", ID: "provider1"}

// fault is the error as it has to be.
func fault(t *testing.T, err error) *adapter.Fault {
	t.Helper()
	f, ok := errors.AsType[*adapter.Fault](err)
	if !ok {
		t.Fatalf("it is no fault: %v", err)
	}
	return f
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if json.Unmarshal([]byte(got), &g) != nil || json.Unmarshal([]byte(want), &w) != nil || !reflect.DeepEqual(g, w) {
		t.Errorf("got\n%s\nnot\n%s", got, want)
	}
}
