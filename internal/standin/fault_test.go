package standin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

// arrival is a request at a sink or a callback endpoint.
type arrival struct {
	header http.Header
	body   string
}

// sink is an endpoint that takes whatever comes.
func (c *client) sink() (string, <-chan arrival) {
	c.Helper()
	got := make(chan arrival, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- arrival{r.Header, string(body)}
	}))
	c.Cleanup(s.Close)
	return s.URL, got
}

// listen lets the callbacks of a client come to a sink and names their events as they come.
func (c *client) listen() <-chan string {
	c.Helper()
	url, arrived := c.sink()
	c.callback = url
	events := make(chan string, 1000)
	go func() {
		for a := range arrived {
			var e struct{ Type string }
			_ = json.Unmarshal([]byte(a.body), &e)
			events <- e.Type
		}
	}()
	return events
}

// next waits for so many events.
func (c *client) next(events <-chan string, n int) []string {
	c.Helper()
	var out []string
	for range n {
		select {
		case e := <-events:
			out = append(out, e)
		case <-time.After(10 * time.Second):
			c.Fatalf("no more than %v", out)
		}
	}
	return out
}

var negotiated = []string{
	"ContractNegotiationInitiated", "ContractNegotiationRequested", "ContractNegotiationAgreed",
	"ContractNegotiationVerified", "ContractNegotiationFinalized",
}

func TestCallbacksComeInOrder(t *testing.T) {
	c := start(t, standin.Config{}, document)
	events := c.listen()
	c.started("transfer-1", "document")
	want := append(slices.Clone(negotiated), "TransferProcessInitiated", "TransferProcessProvisioned", "TransferProcessRequested", "TransferProcessStarted")
	if got := c.next(events, len(want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	c.eventually(func() bool { return c.edc.Counts().Callbacks == standin.CallbackCounts{Sent: 9} }, "%+v", c.edc.Counts().Callbacks)
}

func TestCallbackCarriesTheTokenAndItsOwnSecret(t *testing.T) {
	c := start(t, standin.Config{Vault: map[string]string{"code": "s3cret"}}, document)
	url, arrived := c.sink()
	agreement := c.agreement("document")
	address := func(code string) []object {
		return []object{{"transactional": false, "uri": url, "events": "transfer.process.started", "authKey": "x-own", "authCodeId": code}}
	}
	silent := c.transferRequest("transfer-1", agreement)
	silent["callbackAddresses"] = address("unknown")
	c.want(200, c.do("POST", "/v3/transferprocesses", silent))
	heard := c.transferRequest("transfer-2", agreement)
	heard["callbackAddresses"] = address("code")
	c.want(200, c.do("POST", "/v3/transferprocesses", heard))
	got := <-arrived
	var event struct {
		Payload struct {
			ID      string `json:"transferProcessId"`
			Address struct {
				Properties map[string]string `json:"properties"`
			} `json:"dataAddress"`
		} `json:"payload"`
	}
	if err := json.Unmarshal([]byte(got.body), &event); err != nil {
		t.Fatal(err)
	}
	properties := event.Payload.Address.Properties
	if event.Payload.ID != "transfer-2" || got.header.Get("X-Own") != "s3cret" {
		t.Error(got)
	}
	c.want(200, c.get(properties[edc+"endpoint"], properties[edc+"authorization"]))
}

func TestFaultsOfCallbacks(t *testing.T) {
	for name, test := range map[string]struct {
		class  string
		effect standin.CallbackEffect
		when   standin.When
		want   []string
	}{
		"all lost":          {"", standin.Lose(), standin.When{Times: 5}, negotiated},
		"every second lost": {"", standin.Lose(), standin.When{Every: 2, Times: 2}, slices.Concat([]string{negotiated[0], negotiated[2], negotiated[4]}, negotiated)},
		"one repeated":      {"ContractNegotiationAgreed", standin.Repeat(), standin.When{Times: 1}, slices.Insert(slices.Clone(negotiated), 2, negotiated[2])},
		"one late":          {"ContractNegotiationAgreed", standin.Late(time.Millisecond), standin.When{}, negotiated},
		"one overtaken":     {"ContractNegotiationAgreed", standin.Behind(2), standin.When{}, []string{negotiated[0], negotiated[1], negotiated[3], negotiated[4], negotiated[2]}},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, standin.Config{}, document)
			events := c.listen()
			c.edc.OnCallback(test.class, test.effect, test.when)
			c.negotiate("document")
			c.negotiate("document") // so that something comes where all of the first is lost
			if got := c.next(events, len(test.want)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	t.Run("one overtaken by none comes when the fault is mended", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		events := c.listen()
		f := c.edc.OnCallback("ContractNegotiationFinalized", standin.Behind(1), standin.When{})
		c.negotiate("document")
		c.next(events, 4)
		f.Mend()
		if got := c.next(events, 1); got[0] != "ContractNegotiationFinalized" {
			t.Error(got)
		}
	})
}

func TestFaultsOfRequests(t *testing.T) {
	c := start(t, standin.Config{}, document)
	ask := func() answer { return c.do("POST", "/v3/catalog/request", c.catalogRequest()) }
	catalogs := func() int { return c.edc.Counts().Providers["provider1"].Catalogs }
	for name, test := range map[string]struct {
		effect standin.RequestEffect
		when   standin.When
		check  func(f *standin.Fault)
	}{
		"the next two are refused": {standin.Refuse(503), standin.When{Times: 2}, func(f *standin.Fault) {
			for _, status := range []int{503, 503, 200} {
				c.want(status, ask())
			}
			if f.Hits() != 2 {
				t.Error(f.Hits())
			}
		}},
		"a page of the web server": {standin.RefusePage(502), standin.When{}, func(*standin.Fault) {
			contains(t, string(c.want(502, ask()).body), "<html>")
			c.accept = "application/json"
			contains(t, string(c.want(502, ask()).body), `"status":"502"`)
			c.accept = ""
		}},
		"booting": {standin.Boot(), standin.When{}, func(*standin.Fault) {
			contains(t, c.want(405, ask()).kind, "text/html")
		}},
		"a share, the same with the same seed": {standin.Refuse(500), standin.When{Share: .5}, func(f *standin.Fault) {
			for range 100 {
				ask()
			}
			if n := f.Hits(); n < 30 || n > 70 {
				t.Error(n, "of 100")
			}
		}},
		"only of another provider": {standin.Refuse(500), standin.When{Provider: "provider2"}, func(*standin.Fault) {
			c.want(200, ask())
		}},
		"slow": {standin.Slow(20 * time.Millisecond), standin.When{}, func(*standin.Fault) {
			if began := time.Now(); c.want(200, ask()).err != nil || time.Since(began) < 20*time.Millisecond {
				t.Error("after", time.Since(began))
			}
		}},
		"cut off, nothing done": {standin.Cut(), standin.When{}, func(*standin.Fault) {
			before := catalogs()
			if a := ask(); a.err == nil || catalogs() != before {
				t.Error(a)
			}
		}},
		"done, and the answer lost": {standin.LoseReply(), standin.When{}, func(*standin.Fault) {
			before := catalogs()
			if a := ask(); a.err == nil || catalogs() == before {
				t.Error(a)
			}
		}},
		"hanging until it is mended": {standin.Hang(), standin.When{}, func(f *standin.Fault) {
			done := make(chan answer, 1)
			go func() { done <- ask() }()
			c.eventually(func() bool { return f.Hits() == 1 }, "nothing hangs")
			f.Mend()
			if a := <-done; a.status != 200 {
				t.Error(a)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			defer c.within(t)()
			f := c.edc.OnRequest(standin.Catalog, test.effect, test.when)
			defer f.Mend()
			test.check(f)
		})
	}
	c.want(200, ask())
}

func TestDocumentsCanFailToo(t *testing.T) {
	c := start(t, standin.Config{}, document)
	endpoint, token := c.started("transfer-1", "document")
	c.edc.OnRequest(standin.Document, standin.Refuse(503), standin.When{Asset: "document", Times: 1})
	c.want(503, c.get(endpoint, token))
	c.want(200, c.get(endpoint, token))
	if n := c.edc.Counts().Providers["provider1"].Documents["document"]; n != 1 {
		t.Error(n)
	}
}

func TestStagesTakeTimeHoldAndEnd(t *testing.T) {
	for _, stage := range []standin.Stage{
		standin.NegotiationInitial, standin.NegotiationRequesting, standin.NegotiationRequested, standin.NegotiationAgreed,
		standin.NegotiationVerifying, standin.NegotiationVerified,
	} {
		t.Run(string(stage), func(t *testing.T) {
			c := start(t, standin.Config{}, document)
			stay := c.edc.OnStage(stage, standin.Stay(), standin.When{Times: 1})
			n := c.negotiate("document")
			if s := c.state("contractnegotiations", n); s != stage.State() {
				t.Errorf("it is %s", s)
			}
			stay.Mend()
			c.becomes("contractnegotiations", n, "FINALIZED")
			c.edc.OnStage(stage, standin.End(), standin.When{Times: 1})
			c.becomes("contractnegotiations", c.negotiate("document"), "TERMINATED")
			c.edc.OnStage(stage, standin.Take(time.Millisecond), standin.When{})
			c.becomes("contractnegotiations", c.negotiate("document"), "FINALIZED")
			if now := c.edc.Counts().Providers["provider1"].Most.Negotiations; now != 1 {
				t.Errorf("%d negotiations at once", now)
			}
		})
	}
	for _, stage := range []standin.Stage{standin.TransferInitial, standin.TransferProvisioned, standin.TransferRequesting, standin.TransferRequested} {
		t.Run(string(stage), func(t *testing.T) {
			c := start(t, standin.Config{}, document)
			agreement := c.agreement("document")
			stay := c.edc.OnStage(stage, standin.Stay(), standin.When{Times: 1})
			c.pull("held", agreement)
			if s := c.state("transferprocesses", "held"); s != stage.State() {
				t.Errorf("it is %s", s)
			}
			stay.Mend()
			c.becomes("transferprocesses", "held", "STARTED")
			c.edc.OnStage(stage, standin.End(), standin.When{Times: 1})
			c.pull("ended", agreement)
			c.becomes("transferprocesses", "ended", "TERMINATED")
		})
	}
	t.Run("a transfer that the provider ends", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		c.edc.OnStage(standin.TransferStarted, standin.End(), standin.When{})
		c.pull("ended", c.agreement("document"))
		c.becomes("transferprocesses", "ended", "TERMINATED")
	})
	t.Run("an EDR that comes a moment after STARTED", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		later := c.edc.OnStage(standin.TransferEDR, standin.Stay(), standin.When{})
		c.pull("transfer-1", c.agreement("document"))
		c.becomes("transferprocesses", "transfer-1", "STARTED")
		c.want(404, c.do("GET", "/v3/edrs/transfer-1/dataaddress", nil))
		later.Mend()
		c.want(200, c.get(c.token("transfer-1")))
	})
}

func TestStockConnectorsEndSomeByThemselves(t *testing.T) {
	c := start(t, standin.Config{Seed: 1}, document)
	c.edc.Stock(.2)
	states := map[string]int{}
	for range 500 {
		states[c.state("contractnegotiations", c.negotiate("document"))]++
	}
	if n := states["TERMINATED"] + states["VERIFIED"]; n < 50 || n > 150 || states["VERIFIED"] == 0 || states["FINALIZED"]+n != 500 {
		t.Error(states)
	}
}

func TestConnectorDiesAndComesBack(t *testing.T) {
	c := start(t, standin.Config{}, document)
	endpoint, token := c.started("transfer-1", "document")
	stay := c.edc.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{})
	n := c.negotiate("document")
	c.edc.Kill()
	if a := c.do("GET", "/v3/contractnegotiations/"+n, nil); a.err == nil {
		t.Error("it still answers", a)
	}
	stay.Mend()
	if err := c.edc.Restart(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	c.becomes("contractnegotiations", n, "FINALIZED")
	c.edc.Kill()
	if err := c.edc.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	contains(t, c.want(404, c.do("GET", "/v3/contractnegotiations/"+n, nil)).String(), "ObjectNotFound")
	contains(t, c.want(404, c.do("GET", "/v3/transferprocesses/transfer-1", nil)).String(), "ObjectNotFound")
	c.want(200, c.get(endpoint, token)) // it is the provider's
	c.becomes("contractnegotiations", c.negotiate("document"), "FINALIZED")
}

func TestConnectorIsPaused(t *testing.T) {
	c := start(t, standin.Config{}, document)
	slow := c.edc.OnStage(standin.NegotiationRequested, standin.Take(time.Millisecond), standin.When{})
	n := c.negotiate("document")
	c.edc.Pause()
	done := make(chan answer, 1)
	go func() { done <- c.do("GET", "/v3/contractnegotiations/"+n, nil) }()
	select {
	case a := <-done:
		t.Error("it answers", a)
	case <-time.After(20 * time.Millisecond):
	}
	c.edc.Resume()
	if a := <-done; a.status != 200 {
		t.Error(a)
	}
	slow.Mend()
	c.becomes("contractnegotiations", n, "FINALIZED")
}

func TestProviderDies(t *testing.T) {
	t.Run("before it was asked: TERMINATED", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		body := c.contractRequest("document", c.offer("document"))
		c.provider.Kill()
		c.want(502, c.do("POST", "/v3/catalog/request", c.catalogRequest()))
		n := id(c.want(200, c.do("POST", "/v3/contractnegotiations", body)))
		c.becomes("contractnegotiations", n, "TERMINATED")
	})
	t.Run("after it was asked, and forgets: REQUESTED for ever", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		stay := c.edc.OnStage(standin.NegotiationRequested, standin.Stay(), standin.When{Times: 1})
		n := c.negotiate("document")
		c.provider.Kill()
		stay.Mend()
		if err := c.provider.Restart(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		c.becomes("contractnegotiations", c.negotiate("document"), "FINALIZED")
		if s := c.state("contractnegotiations", n); s != "REQUESTED" {
			t.Error(s)
		}
	})
	t.Run("with transfers: the old token is dead, the old agreement unknown", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		agreement := c.agreement("document")
		c.pull("transfer-1", agreement)
		endpoint, token := c.token("transfer-1")
		c.provider.Kill()
		if a := c.get(endpoint, token); a.err == nil {
			t.Error("it still answers", a)
		}
		if err := c.provider.Restart(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		c.want(403, c.get(endpoint, token))
		c.becomes("transferprocesses", "transfer-1", "STARTED")
		c.pull("transfer-2", agreement)
		c.becomes("transferprocesses", "transfer-2", "TERMINATED")
		contains(t, c.do("GET", "/v3/transferprocesses/transfer-2", nil).String(), `\"code\":\"404\"`)
		c.want(204, c.verb("transfer-1", "suspend"))
		c.becomes("transferprocesses", "transfer-1", "TERMINATED")
	})
	t.Run("for a while, with a memory: all goes on", func(t *testing.T) {
		c := start(t, standin.Config{}, document)
		endpoint, token := c.started("transfer-1", "document")
		c.provider.Kill()
		if err := c.provider.Restart(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		c.want(200, c.get(endpoint, token))
	})
}

func TestProviderHangs(t *testing.T) {
	c := start(t, standin.Config{}, document)
	body := c.contractRequest("document", c.offer("document"))
	c.provider.Pause()
	n := id(c.want(200, c.do("POST", "/v3/contractnegotiations", body)))
	if s := c.state("contractnegotiations", n); s != "REQUESTING" {
		t.Error(s)
	}
	done := make(chan answer, 1)
	go func() { done <- c.do("POST", "/v3/catalog/request", c.catalogRequest()) }()
	select {
	case a := <-done:
		t.Error("it answers", a)
	case <-time.After(20 * time.Millisecond):
	}
	c.provider.Resume()
	c.becomes("contractnegotiations", n, "FINALIZED")
	if a := <-done; a.status != 200 {
		t.Error(a)
	}
}

func TestAtOnceIsExact(t *testing.T) {
	c := start(t, standin.Config{}, document)
	c.edc.OnStage(standin.NegotiationRequested, standin.Take(20*time.Millisecond), standin.When{})
	var done sync.WaitGroup
	slots := make(chan struct{}, 5)
	for range 30 {
		done.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c.becomes("contractnegotiations", c.negotiate("document"), "FINALIZED")
		})
	}
	done.Wait()
	if most := c.edc.Counts().Providers["provider1"].Most; most.Together > 5 || most.Negotiations < 2 || most.Catalogs < 1 {
		t.Errorf("%+v", most)
	}
}

func BenchmarkWalk(b *testing.B) {
	c := start(b, standin.Config{}, document)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			agreement := c.agreement("document")
			transfer := "transfer-" + agreement
			c.pull(transfer, agreement)
			c.want(200, c.get(c.token(transfer)))
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "walks/s")
}
