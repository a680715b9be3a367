package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/internal/standin"
	"github.com/waybill/waybill/schemas"
)

// Secrets that are given to the program or handed out to it in the run below.
const (
	theAPIKey       = "the-api-key-of-the-management-api"
	theJWT          = "eyJ.the-token-of-a-provisioner.x"
	theUploadSecret = "the-password-of-a-destination"
)

// TestNoSecretIsAnywhereInTheClear runs trees, pushes and failures through a connector, changes the keys
// in the middle, and then looks for each token and key in everything that is kept or told.
func TestNoSecretIsAnywhereInTheClear(t *testing.T) {
	w := newWatched(t)
	keys := []string{"k1" + seal.New()[8:], "k2" + seal.New()[8:]}

	w.serve(keys[0])
	w.tree("first", "COMPLETED")
	w.push()
	w.provisionedElsewhere()
	w.failures()
	w.transfer("held", `{"assetId":"held","manifest":{"definitions":[{"id":"d1","type":"elsewhere"}]}}`, "REQUESTED")
	negotiated := w.negotiations()
	w.look()

	// What the old key has sealed is used on.
	w.serve(keys[1] + keys[0])
	w.tree("second", "COMPLETED")
	if n := w.negotiations(); n != negotiated {
		t.Errorf("with another current key there were %d negotiations for what had been granted", n-negotiated)
	}
	w.edc.Provider("provider1").Release("held")
	w.until("held", "DEPROVISIONED")
	w.edc.Provider("provider1").KillTokens("root") // another is sealed with the new key
	w.tree("third", "COMPLETED")
	w.look()

	// What nobody can open any more is an EDR that is dead: another one is asked for.
	w.serve(keys[1])
	w.tree("fourth", "COMPLETED")
	if n := w.negotiations(); n != negotiated {
		t.Errorf("without the old key there were %d negotiations for agreements that are good", n-negotiated)
	}
	w.look()
}

// watched is a program whose secrets are known, and what it has said.
type watched struct {
	t       *testing.T
	edc     *standin.Connector
	outside *httptest.Server // a provisioner
	// management is in front of the connector's.
	management *httptest.Server
	data       string

	main *app.Main
	api  *client.Client
	end  func()
	said *log

	mu      sync.Mutex
	secrets map[string]bool // and those that were seen at the other side
	tokens  int             // that were seen there
}

// log is written by many.
type log struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(b)
}

func (l *log) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.out.Bytes())
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, data: t.TempDir(), said: &log{}, secrets: map[string]bool{theAPIKey: true, theJWT: true, theUploadSecret: true}}
	edc, err := standin.Start(t.Context(), standin.Config{APIKey: theAPIKey, Providers: []standin.ProviderConfig{
		{Name: "provider1", Assets: []standin.Asset{
			{ID: "root", Handler: w.document("The quick", "leaf")},
			{ID: "leaf", Handler: w.document("brown fox")},
			{ID: "held", Document: []byte(`{"value":"over the lazy dog"}`), Held: true},
			{ID: "pushed", Document: []byte(`{"value":"over the lazy dog"}`)},
			{ID: "echo", Handler: w.echo(http.StatusUnprocessableEntity)},
			{ID: "babble", Handler: w.echo(http.StatusOK)},
			{ID: "parrot", Document: []byte(`{}`)},
			{ID: "parrot-offer", Document: []byte(`{}`)},
			{ID: "busy", Handler: w.echo(http.StatusServiceUnavailable)},
			{ID: "refused", Policies: []standin.Policy{standin.Region("us")}},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(edc.Close)
	w.edc = edc
	w.outside = httptest.NewServer(http.HandlerFunc(w.provision))
	t.Cleanup(w.outside.Close)
	w.management = httptest.NewServer(http.HandlerFunc(w.manage))
	t.Cleanup(w.management.Close)
	t.Cleanup(func() {
		if w.end != nil {
			w.end()
		}
	})
	return w
}

// seen remembers what came as a token.
func (w *watched) seen(r *http.Request) string {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.mu.Lock()
	defer w.mu.Unlock()
	if token != "" && !w.secrets[token] {
		w.secrets[token] = true
		w.tokens++
	}
	return token
}

// document is one of a tree.
func (w *watched) document(value string, children ...string) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.seen(r)
		doc := map[string]any{"value": value}
		var below []any
		for _, c := range children {
			below = append(below, map[string]string{"file": c, "connectorUrl": w.address()})
		}
		doc["transferProcesses"] = below
		out.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(out).Encode(doc)
	})
}

// echo is a provider that puts what it was sent into what it answers.
func (w *watched) echo(status int) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		token := w.seen(r)
		out.Header().Set("Content-Type", "text/plain")
		out.WriteHeader(status)
		fmt.Fprintf(out, "cannot serve GET with Authorization: %s (%q)", r.Header.Get("Authorization"), token)
	})
}

// manage passes requests on to the management API; some it answers itself, with the key in its words.
func (w *watched) manage(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if bytes.Contains(body, []byte("nosy")) {
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(out, `[{"message":"nothing for x-api-key %s","type":"ObjectConflict"}]`, r.Header.Get("x-api-key"))
		return
	}
	if bytes.Contains(body, []byte("parrot")) && (strings.HasSuffix(r.URL.Path, "/transferprocesses") || bytes.Contains(body, []byte("parrot-offer")) && strings.HasSuffix(r.URL.Path, "/contractnegotiations")) {
		w.parrot(out, r, body)
		return
	}
	to, err := url.Parse(w.edc.ManagementURL())
	if err != nil {
		panic(err)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: to.Scheme, Host: to.Host})
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // whoever asked has gone
	proxy.ServeHTTP(out, r)
}

// parrot says all that it was sent, in its content type too.
func (w *watched) parrot(out http.ResponseWriter, r *http.Request, body []byte) {
	for _, of := range regexp.MustCompile(`/callbacks/edc/[^/"]+/([^/"]+)"`).FindAllSubmatch(body, -1) {
		w.mu.Lock()
		w.secrets[string(of[1])] = true
		w.mu.Unlock()
	}
	key := r.Header.Get("x-api-key")
	said, err := json.Marshal([]map[string]string{{"type": "ValidationFailure", "message": "key " + key + " asks for " + string(body)}})
	if err != nil {
		panic(err)
	}
	out.Header().Set("Content-Type", "text/"+key)
	out.WriteHeader(http.StatusBadRequest)
	_, _ = out.Write(said)
}

func (w *watched) address() string { return w.edc.Provider("provider1").Address(standin.Protocol2025) }

// place is where the provisioner lets others push to, and read, with a password.
func (w *watched) place(out http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != theUploadSecret {
		out.WriteHeader(http.StatusForbidden)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, `{"value":"over the lazy dog"}`)
}

// provision is another system's provisioner: it hands out a place with a token.
func (w *watched) provision(out http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/place" {
		w.place(out, r)
		return
	}
	var in struct {
		CallbackAddress      string `json:"callbackAddress"`
		TransferProcessID    string `json:"transferProcessId"`
		ResourceDefinitionID string `json:"resourceDefinitionId"`
		Type                 string `json:"type"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	// The address to call back is good for whoever has it.
	w.mu.Lock()
	w.secrets[in.CallbackAddress[strings.LastIndex(in.CallbackAddress, "/")+1:]] = true
	w.mu.Unlock()
	out.WriteHeader(http.StatusOK)
	path, body := "/provision", map[string]any{
		"resourceDefinitionId": in.ResourceDefinitionID, "assetId": "pushed", "resourceName": "place", "apiKeyJwt": theJWT, "hasToken": true,
		"contentDataAddress": map[string]any{"properties": map[string]any{
			"https://w3id.org/edc/v0.0.1/ns/type": "HttpData", "https://w3id.org/edc/v0.0.1/ns/baseUrl": w.outside.URL + "/place",
			"https://w3id.org/edc/v0.0.1/ns/authKey": "Authorization", "https://w3id.org/edc/v0.0.1/ns/authCode": theUploadSecret,
		}},
	}
	if in.Type == "deprovision" {
		path, body = "/deprovision", map[string]any{"provisionedResourceId": in.ResourceDefinitionID}
	}
	go w.post(in.CallbackAddress+"/"+in.TransferProcessID+path, body)
}

func (w *watched) post(address string, body any) {
	raw, _ := json.Marshal(body)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address, bytes.NewReader(raw))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
	}
}

// serve starts the program with these keys, after the one before has stopped.
func (w *watched) serve(keys string) {
	w.t.Helper()
	if w.end != nil {
		w.end()
	}
	w.t.Setenv("WAYBILL_TEST_API_KEY", theAPIKey)
	w.main = app.New(app.Config{
		Data: w.data, Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0", SealKeys: keys,
		Logger: slog.New(slog.NewJSONHandler(w.said, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Connectors: connectors.Config{Connectors: []connectors.Connector{{
			Name: "consumer", Adapter: connectors.AdapterEDC, Match: []string{"http://127.0.0.1:*"},
			ManagementURL: w.management.URL + "/management", APIKey: secret.Ref{Env: "WAYBILL_TEST_API_KEY"},
		}}},
		Provisioners: []provisioners.Settings{{Type: "elsewhere", Adapter: provisioners.AdapterHTTP, Endpoint: w.outside.URL}},
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.main.Start(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.end = sync.OnceFunc(func() {
		if err := w.main.Close(); err != nil {
			w.t.Error(err)
		}
	})
	var err error
	if w.api, err = client.New(w.main.URL(), ""); err != nil {
		w.t.Fatal(err)
	}
}

// negotiations counts those at the provider.
func (w *watched) negotiations() int { return w.edc.Counts().Providers["provider1"].Negotiations }

// tree runs a tree and waits for its end.
func (w *watched) tree(id, state string) {
	w.t.Helper()
	w.job(id, `{"type":"parts-tree","input":{"file":"root","connectorUrl":"`+w.address()+`"}}`, state)
}

func (w *watched) job(id, body, state string) {
	w.t.Helper()
	status, a := ask(w.t, w.api, "POST", "/v1/jobs", strings.Replace(body, "{", `{"id":"`+id+`",`, 1), "Prefer: wait=10")
	if status != http.StatusCreated {
		w.t.Fatalf("%s: %d %v", id, status, a)
	}
	status, job := ask(w.t, w.api, "GET", "/v1/jobs/"+id+"?wait=30s&position="+fmt.Sprint(a["position"]), "")
	if status != http.StatusOK || job["state"] != state {
		w.t.Fatalf("%s: %d, %v", id, status, job)
	}
}

// transfer runs a transfer and waits for its state.
func (w *watched) transfer(id, body, state string) {
	w.t.Helper()
	status, a := ask(w.t, w.api, "POST", "/v1/transfers", strings.Replace(body, "{", `{"id":"`+id+`","provider":"`+w.address()+`",`, 1), "Prefer: wait=10")
	if status != http.StatusCreated && status != http.StatusAccepted {
		w.t.Fatalf("%s: %d %v", id, status, a)
	}
	w.until(id, state)
}

// until waits for the state of a transfer.
func (w *watched) until(id, state string) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, shown := ask(w.t, w.api, "GET", "/v1/transfers/"+id+"?wait=1s", "")
		if shown["state"] == "DEPROVISIONED" && shown["outcome"] != "completed" {
			w.t.Fatalf("%s is %v", id, shown)
		}
		if shown["state"] == state {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is %v", id, shown)
		}
	}
}

// push lets the provider push to an address of ours, and to one that a user has the password of.
func (w *watched) push() {
	w.t.Helper()
	w.transfer("pushed", `{"assetId":"pushed","manifest":{"definitions":[{"id":"d1","type":"local"}]}}`, "DEPROVISIONED")
	w.transfer("own", `{"assetId":"pushed","destination":{"type":"HttpData","baseUrl":"`+w.outside.URL+`/place","authKey":"Authorization","authCode":"`+theUploadSecret+`"}}`, "COMPLETED")
}

// provisionedElsewhere lets another system hand out a place with a token.
func (w *watched) provisionedElsewhere() {
	w.t.Helper()
	w.transfer("elsewhere", `{"assetId":"pushed","manifest":{"definitions":[{"id":"d1","type":"elsewhere"}]}}`, "DEPROVISIONED")
}

// failures make errors that others have had a hand in.
func (w *watched) failures() {
	w.t.Helper()
	w.transfer("echo", `{"assetId":"echo"}`, "TERMINATED")
	w.transfer("refused", `{"assetId":"refused"}`, "TERMINATED")
	w.transfer("nosy", `{"assetId":"nosy"}`, "TERMINATED")
	w.transfer("parrot-offer", `{"assetId":"parrot-offer"}`, "TERMINATED")
	w.transfer("parrot", `{"assetId":"parrot"}`, "TERMINATED")
	w.transfer("parrot-push", `{"assetId":"parrot","destination":{"type":"HttpData","baseUrl":"http://ada:`+theUploadSecret+`@127.0.0.1:1/x?sig=`+theUploadSecret+`","authKey":"Authorization","authCode":"`+theUploadSecret+`"}}`, "TERMINATED")
	w.transfer("echo-as-it-is", `{"assetId":"babble"}`, "COMPLETED")
	w.transfer("busy", `{"assetId":"busy","retry":{"limit":1,"baseDelay":"PT0.01S"}}`, "TERMINATED")
	for _, file := range []string{"echo", "babble"} {
		w.job("job-"+file, `{"type":"parts-tree","input":{"file":"`+file+`","connectorUrl":"`+w.address()+`"}}`, "ERROR")
	}
	w.edc.Provider("provider1").KillTokens("leaf")
	w.tree("after-dead-tokens", "COMPLETED")
}

// secretAddress is one that whoever has it may use: what others are given to call back and push to.
var secretAddress = regexp.MustCompile(`/(callbacks/[a-z]+|uploads)/[-A-Za-z0-9_]{8,}/`)

// look looks for the secrets wherever they must not be.
func (w *watched) look() {
	w.t.Helper()
	w.mu.Lock()
	tokens := w.tokens
	var secrets []string
	for s := range w.secrets {
		secrets = append(secrets, s)
	}
	w.mu.Unlock()
	if tokens < 4 {
		w.t.Fatalf("only %d tokens were seen at the provider", tokens)
	}
	find := func(where string, b []byte) {
		for _, s := range secrets {
			if i := bytes.Index(b, []byte(s)); i >= 0 {
				w.t.Errorf("%s has %.12s… in the clear: …%s…", where, s, b[max(0, i-300):min(len(b), i+len(s)+20)])
			}
		}
		if at := secretAddress.FindIndex(b); at != nil {
			w.t.Errorf("%s has an address that is secret: …%s…", where, b[max(0, at[0]-300):min(len(b), at[1]+20)])
		}
	}
	w.topics(find)
	w.pages(find)
	find("the log of the program", w.said.bytes())
	w.end()
	w.files(find)
}

// topics hands over every record of every topic.
func (w *watched) topics(find func(where string, b []byte)) {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.main.Kafka().Brokers...))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	left, records := map[string]map[int32]int64{}, 0
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 || strings.HasPrefix(o.Topic, "__") {
			return
		}
		if left[o.Topic] == nil {
			left[o.Topic], from[o.Topic] = map[int32]int64{}, map[int32]kgo.Offset{}
		}
		left[o.Topic][o.Partition], from[o.Topic][o.Partition] = o.Offset, kgo.NewOffset().AtStart()
	})
	// Read uncommitted: what was aborted is on the log too, and control records end what is read.
	reader, err := kgo.NewClient(kgo.SeedBrokers(w.main.Kafka().Brokers...), kgo.ConsumePartitions(from), kgo.KeepControlRecords())
	if err != nil {
		w.t.Fatal(err)
	}
	defer reader.Close()
	for len(left) > 0 && ctx.Err() == nil {
		reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			records++
			where := fmt.Sprintf("topic %s, %s", r.Topic, r.Key)
			find(where, r.Value)
			find(where, r.Key)
			for _, h := range r.Headers {
				find(where, h.Value)
			}
			if r.Offset+1 >= left[r.Topic][r.Partition] {
				delete(left[r.Topic], r.Partition)
			}
			if len(left[r.Topic]) == 0 {
				delete(left, r.Topic)
			}
		})
	}
	if ctx.Err() != nil || records == 0 {
		w.t.Fatalf("%d records were read, %v is left", records, left)
	}
}

// pages hands over what the interface shows.
func (w *watched) pages(find func(where string, b []byte)) {
	w.t.Helper()
	get := func(path string) map[string]any {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.main.URL()+path, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		find("page "+path, b)
		var v map[string]any
		_ = json.Unmarshal(b, &v) // some are none
		return v
	}
	for _, path := range []string{"/", "/metrics", "/readyz", "/openapi.json", "/asyncapi.json", "/v1/deadletters"} {
		get(path)
	}
	shown := 0
	for _, kind := range []string{"jobs", "transfers", "negotiations"} {
		items, _ := get("/v1/" + kind)["items"].([]any)
		for _, i := range items {
			item, _ := i.(map[string]any)
			path := "/v1/" + kind + "/" + url.PathEscape(fmt.Sprint(item["id"]))
			get(path)
			shown++
			if kind == "jobs" {
				for _, below := range []string{"/nodes", "/edges", "/events?all=true", "/result", "/input"} {
					get(path + below)
				}
			}
			if kind == "negotiations" {
				if edr := get(path + "/edr"); edr["authorization"] != nil {
					w.t.Errorf("a server without a token hands out an EDR: %v", edr["endpoint"])
				}
			}
		}
	}
	if shown < 5 {
		w.t.Errorf("only %d jobs, transfers and negotiations are shown", shown)
	}
}

// files hands over what is in the data directory, but for the keys themselves.
func (w *watched) files(find func(where string, b []byte)) {
	w.t.Helper()
	own := []string{"seal.keys", "address.key"}
	n := 0
	err := filepath.WalkDir(w.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(own, d.Name()) {
			return err
		}
		b, err := os.ReadFile(path)
		find("file "+strings.TrimPrefix(path, w.data), b)
		n += len(b)
		return err
	})
	if err != nil || n == 0 {
		w.t.Fatalf("%d bytes were looked at: %v", n, err)
	}
}

// Who writes to the topics is told to seal; what an activity wants moved fails and says so.
func TestASecretThatCameInTheClearGoesNoFurther(t *testing.T) {
	const password = "a-password-of-somebody-careless"
	destination := `"destination":{"type":"HttpData","baseUrl":"http://127.0.0.1:1/","authCode":"` + password + `"}`
	w := newWatched(t)
	w.serve("")
	k := w.main.Kafka()
	cl, err := k.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	err = cl.ProduceSync(t.Context(), &kgo.Record{
		Topic: k.Topics().Commands(schemas.AggregateTransfer), Key: []byte("t"), Value: []byte(`{"provider":"` + w.address() + `","assetId":"pushed",` + destination + `}`),
		Headers: kafka.CloudEvent{ID: "careless", Source: "/test", Type: schemas.TransferInitiate, Subject: "t", Time: time.Now(), InputOffset: -1}.Headers(),
	}).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	w.commandIs("careless", "rejected", "$.destination.authCode")
	status, a := ask(t, w.api, "PUT", "/v1/definitions/orchestrations/careless",
		`{"activities":[{"id":"a","type":"transfer","with":{"provider":"`+w.address()+`","assetId":"pushed",`+destination+`}}]}`)
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, a)
	}
	w.job("careless", `{"type":"careless"}`, "ERROR")
	w.topics(func(where string, b []byte) {
		if bytes.Contains(b, []byte(password)) && strings.HasPrefix(where, "topic waybill.transfer.events") {
			t.Errorf("%s has it", where)
		}
	})
}

// commandIs waits until a command has been decided.
func (w *watched) commandIs(id, state, says string) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, a := ask(w.t, w.api, "GET", "/v1/commands/"+id+"?wait=1s", "")
		if a["state"] == state && strings.Contains(fmt.Sprint(a), says) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("command %s is %v", id, a)
		}
	}
}
