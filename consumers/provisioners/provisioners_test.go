package provisioners_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/s3/s3test"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/schemas"
)

// fixture is a process with provisioners.
type fixture struct {
	*testing.T
	cfg    provisioners.Config
	proofs *callbacks.Proofs
	keys   *seal.Keyring
	pool   *agent.Pool
}

func setUp(t *testing.T, settings ...provisioners.Settings) *fixture {
	t.Helper()
	keys, err := seal.Parse(seal.New())
	if err != nil {
		t.Fatal(err)
	}
	store, err := secret.NewStore(secret.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, proofs: callbacks.New([]byte("a key of some length")), keys: keys}
	f.cfg = provisioners.Config{
		Provisioners: settings, Keys: keys, Secrets: store, Addresses: f.proofs.At("https://waybill.example.com"),
	}
	return f
}

// do carries out work for transfer t-1.
func (f *fixture) do(typ, input string) agent.Result {
	f.Helper()
	if f.pool == nil {
		f.pool = agent.NewPool(nil)
		if err := provisioners.Register(f.pool, f.cfg); err != nil {
			f.Fatal(err)
		}
	}
	results := make(chan agent.Result, 1)
	work := machine.Work{
		ID: "w-1", Attempt: 1, Aggregate: schemas.AggregateTransfer, AggregateID: "t-1", Type: typ, Input: json.RawMessage(input),
	}
	if !f.pool.TryRun(f.Context(), work, func(r agent.Result) { results <- r }) {
		f.Fatalf("nobody does %s", typ)
	}
	return <-results
}

// completed is the output of a result, and what it is with its secrets open.
func (f *fixture) completed(r agent.Result) (logged, open string) {
	f.Helper()
	if r.Kind() != agent.Completed {
		f.Fatalf("it ended with %s: %v", r.Kind(), r.Err())
	}
	secret, err := f.keys.OpenAll(seal.Transfer("t-1"), r.Output())
	if err != nil {
		f.Fatal(err)
	}
	return string(r.Output()), string(secret.Reveal())
}

// resource is what a provision reported, as later work has it.
func (f *fixture) resource(r agent.Result) string {
	f.Helper()
	var out struct {
		Resource json.RawMessage `json:"resource"`
	}
	if logged, _ := f.completed(r); json.Unmarshal([]byte(logged), &out) != nil || len(out.Resource) == 0 {
		f.Fatalf("it reports no resource: %s", logged)
	}
	return string(out.Resource)
}

func (f *fixture) fails(r agent.Result, kind agent.Kind, step, text string) {
	f.Helper()
	if r.Kind() != kind || r.Fault().Step != step || !strings.Contains(r.Fault().Message, text) {
		f.Errorf("got %s at %q: %s; want %s at %q with %q", r.Kind(), r.Fault().Step, r.Fault().Message, kind, step, text)
	}
}

func TestALocalResourceIsAnAddressThatNobodyCanReadOnTheLog(t *testing.T) {
	f := setUp(t)
	made := f.do("provision", `{"transferId":"t-1","assetId":"a","definition":{"id":"in","type":"local"}}`)
	logged, open := f.completed(made)
	if strings.Contains(logged, "uploads") {
		t.Errorf("the address is on the log: %s", logged)
	}
	_, path, ok := strings.Cut(open, `"baseUrl":"https://waybill.example.com/uploads/`)
	path, _, _ = strings.Cut(path, `"`)
	id, proof, _ := strings.Cut(path, "/")
	about, proven := f.proofs.Upload(id, proof)
	if !ok || !proven || about != (callbacks.Subject{Aggregate: "transfer", ID: "t-1", Task: "in"}) || !strings.Contains(open, `"type":"HttpData"`) {
		t.Errorf("it is for %+v: %s", about, open)
	}

	pushed, err := json.Marshal(schemas.NewPushed("application/json", []byte(`{"value": "fox"}`)))
	if err != nil {
		t.Fatal(err)
	}
	resource := strings.TrimSuffix(f.resource(made), "}") + `,"content":` + string(pushed) + `}`
	collected := f.do("collect", `{"resource":`+resource+`}`)
	if out, _ := f.completed(collected); out != `{"value": "fox"}` {
		t.Errorf("collected %s", out)
	}
	tree := f.do("collect", `{"provider":"http://p:1","assetId":"a","as":"parts-tree","resource":`+resource+`}`)
	if out, _ := f.completed(tree); out != `{"value":"fox"}` || tree.Key() == "" {
		t.Errorf("collected %s as %s", out, tree.Key())
	}
	f.completed(f.do("deprovision", `{"resource":`+resource+`}`))
	f.fails(f.do("collect", `{"resource":`+f.resource(made)+`}`), agent.Failed, "collect", "nothing was pushed")
}

func TestWhatIsPushedToADirectoryIsAFileOfItsTransfer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "inbox")
	f := setUp(t, provisioners.Settings{Type: "inbox", Adapter: "directory", Directory: dir})
	pushed, err := json.Marshal(schemas.NewPushed("application/json", []byte(`{"value": "fox"}`)))
	if err != nil {
		t.Fatal(err)
	}
	collect := func(id string) agent.Result {
		made := f.do("provision", `{"transferId":"t-1","assetId":"a","definition":{"id":"`+id+`","type":"inbox"}}`)
		if _, open := f.completed(made); !strings.Contains(open, "https://waybill.example.com/uploads/") {
			t.Errorf("what is handed out is no address: %s", open)
		}
		resource := strings.TrimSuffix(f.resource(made), "}") + `,"content":` + string(pushed) + `}`
		return f.do("collect", `{"transferId":"t-1","resource":`+resource+`}`)
	}
	t.Run("the document as it came, however often it is collected", func(t *testing.T) {
		for range 2 {
			if out, _ := f.completed(collect("in")); out != `{"value": "fox"}` {
				t.Errorf("collected %s", out)
			}
		}
		if b, err := os.ReadFile(filepath.Join(dir, "t-1", "in")); err != nil || string(b) != `{"value": "fox"}` {
			t.Errorf("the file has %q, %v", b, err)
		}
	})
	t.Run("no name leads out of it", func(t *testing.T) {
		f.completed(collect("../../out"))
		f.completed(collect(".."))
		left, err := os.ReadDir(filepath.Join(dir, "t-1"))
		above, errAbove := os.ReadDir(filepath.Dir(dir))
		if err != nil || errAbove != nil || len(left) != 3 || len(above) != 1 {
			t.Errorf("it has %v, %v; beside it are %v, %v", left, err, above, errAbove)
		}
	})
	t.Run("it stays when the address goes", func(t *testing.T) {
		f.completed(f.do("deprovision", `{"transferId":"t-1","resource":{"resourceDefinitionId":"in","type":"inbox"},"definition":{"id":"in","type":"inbox"}}`))
		if _, err := os.Stat(filepath.Join(dir, "t-1", "in")); err != nil {
			t.Error(err)
		}
	})
	t.Run("a directory that cannot be written to is said, and tried again", func(t *testing.T) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f.fails(collect("in"), agent.Retrying, "collect", "cannot be kept in "+dir)
	})
}

func TestWithoutAPublicAddressNothingIsHandedOut(t *testing.T) {
	f := setUp(t, provisioners.Settings{Type: "depot", Adapter: "http", Endpoint: "http://127.0.0.1:1/"})
	f.cfg.Addresses = nil
	for _, typ := range []string{"local", "depot"} {
		f.fails(f.do("provision", `{"definition":{"id":"in","type":"`+typ+`"}}`), agent.Failed, "provision", "--public-url")
	}
}

func TestWhatNobodyProvisionsIsSaidWithWhatSomebodyDoes(t *testing.T) {
	f := setUp(t, provisioners.Settings{Type: "mine", Adapter: "local"})
	f.fails(f.do("provision", `{"definition":{"id":"in","type":"Bucket"}}`), agent.Failed, "provision", `type "Bucket", only local, mine`)
	f.fails(f.do("provision", `{"definition":{"type":"mine"}}`), agent.Failed, "provision", "no id")
	f.fails(f.do("provision", `{"definition":[]}`), agent.Failed, "provision", "form")
	f.completed(f.do("provision", `{"definition":{"id":"in","type":"mine"}}`))
}

func TestSecretsOfAnotherTransferStayClosed(t *testing.T) {
	f := setUp(t)
	sealed, err := f.keys.Seal(seal.Transfer("t-2"), []byte(`"a secret"`))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	f.fails(f.do("collect", `{"resource":{"type":"local"},"secret":`+string(raw)+`}`), agent.Failed, "collect", "did not seal this for that")
}

// bucket is the settings of a store in this process, whose keys are in files.
func bucket(t *testing.T, store *s3test.Store) provisioners.Settings {
	t.Helper()
	refs := func(id, key string) *provisioners.KeyRefs {
		dir := t.TempDir()
		for name, text := range map[string]string{"id": id, "key": key} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return &provisioners.KeyRefs{
			AccessKeyID: secret.Ref{File: filepath.Join(dir, "id")}, SecretAccessKey: secret.Ref{File: filepath.Join(dir, "key")},
		}
	}
	return provisioners.Settings{
		Type: "AmazonS3", Adapter: "s3", Endpoint: store.URL, Bucket: s3test.Bucket, Region: s3test.Region, Prefix: "waybill/",
		Keys: refs(s3test.AccessKeyID, s3test.SecretAccessKey), HandOut: refs("AKIAPUSH", "pushers secret"),
	}
}

func TestABucketGivesEachResourceAFolder(t *testing.T) {
	store := s3test.New(t)
	f := setUp(t, bucket(t, store))
	made := f.do("provision", `{"definition":{"id":"in","type":"AmazonS3"}}`)
	logged, open := f.completed(made)
	if strings.Contains(logged, "pushers secret") || strings.Contains(logged+open, s3test.SecretAccessKey) {
		t.Errorf("a key is on the log: %s", logged)
	}
	for _, part := range []string{
		`"type":"AmazonS3"`, `"bucketName":"landing"`, `"region":"eu-central-1"`, `"folderName":"waybill/t-1/in"`, `"accessKeyId":"AKIAPUSH"`,
		`"secretAccessKey":"pushers secret"`, `"endpointOverride":"` + store.URL + `"`,
	} {
		if !strings.Contains(open, part) {
			t.Errorf("%s is not in %s", part, open)
		}
	}

	resource := `{"resource":` + f.resource(made) + `}`
	f.fails(f.do("collect", resource), agent.Failed, "collect", "nothing is in waybill/t-1/in/")
	store.Put("waybill/t-1/in/", nil) // as consoles make folders
	store.Put("waybill/t-1/in/document.json", []byte(`{"value":"dog"}`))
	store.Put("waybill/t-1/inner/document.json", []byte(`{"value":"cat"}`))
	if out, _ := f.completed(f.do("collect", resource)); out != `{"value":"dog"}` {
		t.Errorf("collected %s", out)
	}
	store.Put("waybill/t-1/in/second.json", []byte("x"))
	f.fails(f.do("collect", resource), agent.Failed, "collect", "several objects")
	store.Fail(1)
	f.fails(f.do("collect", resource), agent.Retrying, "collect", "SlowDown")
	store.Fail(1)
	f.fails(f.do("deprovision", resource), agent.Retrying, "deprovision", "SlowDown")
	f.completed(f.do("deprovision", resource))
	f.completed(f.do("deprovision", resource))
	if keys := store.Keys(); len(keys) != 1 || keys[0] != "waybill/t-1/inner/document.json" {
		t.Errorf("left are %q", keys)
	}
}

func TestAnObjectMayBeNamed(t *testing.T) {
	store := s3test.New(t)
	settings := bucket(t, store)
	settings.HandOut, settings.KeyName, settings.Prefix = nil, "landing-keys", ""
	f := setUp(t, settings)
	made := f.do("provision", `{"definition":{"id":"in","type":"AmazonS3","objectName":"second"}}`)
	if logged, _ := f.completed(made); !strings.Contains(logged, `"keyName":"landing-keys"`) || strings.Contains(logged, "secretAccessKey") {
		t.Errorf("handed out: %s", logged)
	}
	store.Put("t-1/in/first", []byte("1"))
	store.Put("t-1/in/second", []byte("deux"))
	if out, _ := f.completed(f.do("collect", `{"resource":`+f.resource(made)+`}`)); !strings.Contains(out, `"text":"deux"`) {
		t.Errorf("collected %s", out)
	}
	for _, bad := range []string{`{"id":"..","type":"AmazonS3"}`, `{"id":"a/b","type":"AmazonS3"}`, `{"id":"a","type":"AmazonS3","objectName":"../x"}`} {
		f.fails(f.do("provision", `{"definition":`+bad+`}`), agent.Failed, "provision", "name of an object")
	}
}

func TestABucketThatCannotBeReadIsNoticedAtOnce(t *testing.T) {
	store := s3test.New(t)
	settings := bucket(t, store)
	settings.Keys = settings.HandOut
	f := setUp(t, settings)
	r := f.do("provision", `{"definition":{"id":"in","type":"AmazonS3"}}`)
	f.fails(r, agent.Failed, "provision", "SignatureDoesNotMatch")
	if strings.Contains(r.Fault().Message, "pushers") {
		t.Error(r.Fault().Message)
	}
	settings = bucket(t, store)
	settings.Endpoint = "http://127.0.0.1:1"
	f.fails(setUp(t, settings).do("provision", `{"definition":{"id":"in","type":"AmazonS3"}}`), agent.Retrying, "provision", "refused")
}

// depot is a provisioner as others write them: it answers what the test says, and keeps what
// it was asked.
func depot(t *testing.T, status *int) (provisioners.Settings, *[]map[string]any) {
	t.Helper()
	var asked []map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if json.NewDecoder(r.Body).Decode(&body) != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked = append(asked, body)
		w.WriteHeader(*status)
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	t.Cleanup(server.Close)
	return provisioners.Settings{Type: "depot", Adapter: "http", Endpoint: server.URL + "/provision?tenant=secret"}, &asked
}

func TestAnotherSystemIsAskedAsEDCAsksIt(t *testing.T) {
	status := http.StatusOK
	settings, asked := depot(t, &status)
	f := setUp(t, settings)
	if r := f.do("provision", `{"transferId":"t-1","assetId":"a","policy":{"permission":[]},"definition":{"id":"in","type":"depot"}}`); r.Kind() != agent.Waiting {
		t.Errorf("%s, %v", r.Kind(), r.Err())
	}
	if r := f.do("deprovision", `{"transferId":"t-1","assetId":"a","resource":{"resourceDefinitionId":"in"},"definition":{"id":"in","type":"depot"}}`); r.Kind() != agent.Waiting {
		t.Errorf("%s, %v", r.Kind(), r.Err())
	}
	if len(*asked) != 2 {
		t.Fatalf("asked %v", *asked)
	}
	for i, typ := range []string{"provision", "deprovision"} {
		got := (*asked)[i]
		address := fmt.Sprint(got["callbackAddress"])
		delete(got, "callbackAddress")
		policy := "map[permission:[]]"
		if i == 1 {
			policy = "<nil>"
		}
		want := "map[assetId:a policy:" + policy + " resourceDefinitionId:in transferProcessId:t-1 type:" + typ + "]"
		if fmt.Sprint(got) != want {
			t.Errorf("asked %v, want %s", got, want)
		}
		path := strings.Split(strings.TrimPrefix(address, "https://waybill.example.com/callbacks/provisioner/"), "/")
		if len(path) != 2 {
			t.Fatalf("the callback is at %s", address)
		}
		if about, ok := f.proofs.Provisioner(path[0], path[1]); !ok || about.ID != "t-1" || about.Task != "in" {
			t.Errorf("the callback is about %+v", about)
		}
	}
}

func TestAnswersOfAnotherSystemAreTakenAsEDCTakesThem(t *testing.T) {
	status := 0
	settings, _ := depot(t, &status)
	f := setUp(t, settings)
	for code, kind := range map[int]agent.Kind{
		200: agent.Waiting, 202: agent.Waiting, 204: agent.Waiting,
		500: agent.Retrying, 502: agent.Retrying, 503: agent.Retrying, 504: agent.Retrying, 429: agent.Retrying,
		505: agent.Failed, 400: agent.Failed, 404: agent.Failed, 409: agent.Failed,
	} {
		status = code
		for _, typ := range []string{"provision", "deprovision"} {
			r := f.do(typ, `{"definition":{"id":"in","type":"depot"}}`)
			if r.Kind() != kind {
				t.Errorf("%s answered with %d is %s", typ, code, r.Kind())
			}
			if m := r.Fault().Message; strings.Contains(m, "tenant") {
				t.Errorf("%s", m)
			}
		}
	}
	settings.Endpoint = "http://127.0.0.1:1/"
	f.fails(setUp(t, settings).do("provision", `{"definition":{"id":"in","type":"depot"}}`), agent.Retrying, "provision", "refused")
}

func TestWhatAnotherSystemProvisionedIsReadWhereItSays(t *testing.T) {
	var got http.Header
	content := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		if r.URL.Path != "/landed/x" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"value":"lazy"}`)
	}))
	t.Cleanup(content.Close)
	store := s3test.New(t)
	store.Put("their/place", []byte(`{"value":"over"}`))
	status := http.StatusOK
	settings, _ := depot(t, &status)
	f := setUp(t, settings, bucket(t, store))
	f.cfg.Allow = []string{strings.TrimPrefix(content.URL, "http://")}
	const ns = "https://w3id.org/edc/v0.0.1/ns/"
	collect := func(properties string) agent.Result {
		return f.do("collect", `{"secret":"jwt-1","resource":{"resourceDefinitionId":"in","contentDataAddress":{"properties":{`+properties+`}}}}`)
	}
	if out, _ := f.completed(collect(`"` + ns + `type":"HttpData","` + ns + `baseUrl":"` + content.URL + `/landed","` + ns + `path":"x"`)); out != `{"value":"lazy"}` || got.Get("Authorization") != "Bearer jwt-1" {
		t.Errorf("%s, with %v", out, got)
	}
	f.completed(collect(`"type":"HttpData","baseUrl":"` + content.URL + `/landed/x","authKey":"X-Api-Key","authCode":"k-1"`))
	if got.Get("X-Api-Key") != "k-1" || got.Get("Authorization") != "" {
		t.Errorf("with %v", got)
	}
	if out, _ := f.completed(collect(`"type":"AmazonS3","bucketName":"landing","folderName":"their","objectName":"place"`)); out != `{"value":"over"}` {
		t.Errorf("%s", out)
	}
	f.fails(collect(`"type":"HttpData","baseUrl":"`+content.URL+`/other?sig=secret"`), agent.Retrying, "collect", "503")
	f.fails(collect(`"type":"HttpData","baseUrl":"http://elsewhere.example.com/"`), agent.Failed, "address", "allow")
	f.fails(collect(`"type":"AmazonS3","bucketName":"other"`), agent.Failed, "address", `"other"`)
	f.fails(collect(`"type":"AzureStorage"`), agent.Failed, "address", `"AzureStorage"`)
}

func TestASecretOfADataAddressGoesToItsHostAloneAndIsNotShown(t *testing.T) {
	const secret = "k-1-which-is-secret"
	var got http.Header
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = io.WriteString(w, `{"value":"lazy"}`)
	}))
	t.Cleanup(elsewhere.Close)
	content := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/"+r.Header.Get("X-Api-Key"))
		_, _ = io.WriteString(w, "you sent "+r.Header.Get("X-Api-Key"))
	}))
	t.Cleanup(content.Close)
	f := setUp(t)
	f.cfg.Allow = []string{"127.0.0.1:*"}
	collect := func(path string) string {
		out, _ := f.completed(f.do("collect", `{"resource":{"resourceDefinitionId":"in","contentDataAddress":{"type":"HttpData","baseUrl":"`+content.URL+path+`","authKey":"X-Api-Key","authCode":"`+secret+`"}}}`))
		return out
	}
	if out := collect("/away"); out != `{"value":"lazy"}` || got.Get("X-Api-Key") != "" {
		t.Errorf("%s, elsewhere with %v", out, got)
	}
	if out := collect("/here"); strings.Contains(out, secret) || !strings.Contains(out, "you sent") {
		t.Errorf("got %s", out)
	}
}

func TestAConfigurationIsCheckedEntryByEntry(t *testing.T) {
	good := bucket(t, s3test.New(t))
	change := func(f func(*provisioners.Settings)) provisioners.Settings { s := good; f(&s); return s }
	for want, s := range map[string][]provisioners.Settings{
		"type":              {{Adapter: "local"}},
		`adapter "ftp"`:     {{Type: "a", Adapter: "ftp"}},
		"two of this type":  {{Type: "a", Adapter: "local"}, {Type: "a", Adapter: "local"}},
		"no other":          {{Type: "a", Adapter: "local", Bucket: "b"}},
		"takes a directory": {{Type: "a", Adapter: "directory"}},
		"nothing else":      {{Type: "a", Adapter: "directory", Directory: "/d", Bucket: "b"}},
		"no directory":      {change(func(s *provisioners.Settings) { s.Directory = "/d" })},
		"endpoint":          {{Type: "a", Adapter: "http", Endpoint: "depot:80"}},
		"another secret":    {{Type: "a", Adapter: "http", Endpoint: "http://ada:s3cret@depot"}},
		"settings are":      {{Type: "a", Adapter: "http", Endpoint: "http://depot/?sig=s3cret"}},
		"and timeout":       {{Type: "a", Adapter: "http", Endpoint: "http://depot", Region: "r"}},
		"bucket":            {change(func(s *provisioners.Settings) { s.Bucket = "" })},
		"region":            {change(func(s *provisioners.Settings) { s.Region = "" })},
		"keys":              {change(func(s *provisioners.Settings) { s.Keys = nil })},
		"exclude":           {change(func(s *provisioners.Settings) { s.KeyName = "k" })},
		"handOut: a secret": {change(func(s *provisioners.Settings) {
			s.HandOut = &provisioners.KeyRefs{AccessKeyID: secret.Ref{Env: "A"}}
		})},
		"takes no timeout": {change(func(s *provisioners.Settings) { s.Timeout = 1 })},
	} {
		if err := provisioners.Check(s); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "provisioners[") {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if err := provisioners.Check([]provisioners.Settings{good, {Type: "a", Adapter: "local"}, {Type: "b", Adapter: "http", Endpoint: "https://depot/x"}}); err != nil {
		t.Error(err)
	}
}
