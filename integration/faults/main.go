package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/standin"
)

const (
	keyVariable = "STANDIN_API_KEY"
	key         = "the-key-of-all-stand-ins"

	// constraint is what every offer asks for, as reasons write it.
	constraint = "region eq eu"

	// endsWithin is how long a job may take: what stays for ever is given up long before.
	endsWithin = 90 * time.Second
	// strikesWithin is how long it may take until a job is where something goes wrong.
	strikesWithin = 60 * time.Second
	// together is how many cells play at the same time: with all of them a slow machine would be
	// the worst of the faults.
	together   = 60
	stopWithin = 15 * time.Second
	look       = 100 * time.Millisecond
)

// place is where a cell plays: a connector, a provider and a document of its own.
type place struct {
	*cell
	s        *scenario
	edc      *standin.Connector
	provider *standin.Provider
	asset    string
	id       string // of the job
	faults   []*standin.Fault
	sink     string
	retries  int
	took     time.Duration
}

// mend ends the faults that are set.
func (p *place) mend() {
	for _, f := range p.faults {
		f.Mend()
	}
}

// scenario is the table on a server.
type scenario struct {
	stage.Stage
	bin, listen, kafka, config string
	server                     *process.Process
	api                        *api.Client
	places                     []*place
	gathered                   []*place // of the crowds

	mu    sync.Mutex
	wrong []string
}

func (s *scenario) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func main() {
	list := flag.Bool("list", false, "list the cells and do nothing")
	only := flag.String("only", "", "only the cells whose name has this in it")
	flags := stage.NewFlags(10 * time.Minute)
	flag.Parse()
	cells := slices.DeleteFunc(table(), func(c *cell) bool { return !strings.Contains(c.name(), *only) })
	many := slices.DeleteFunc(crowds(), func(c *crowd) bool { return !strings.Contains("crowd: "+c.name, *only) })
	if *list {
		for _, c := range cells {
			fmt.Println(c.name())
		}
		for _, c := range many {
			fmt.Println("crowd: " + c.name)
		}
		return
	}
	os.Exit(flags.Play("faults", func(ctx context.Context, on stage.Stage) error { return run(ctx, on, cells, many) }))
}

func run(ctx context.Context, on stage.Stage, cells []*cell, crowds []*crowd) error {
	s := &scenario{Stage: on}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is pushed has arrived
	}))
	defer sink.Close()
	for i, c := range cells {
		if err := s.place(ctx, i, c, sink.URL); err != nil {
			return err
		}
	}
	for i, c := range crowds {
		if err := s.gather(ctx, i, c); err != nil {
			return err
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	for i, c := range crowds {
		if err := s.crowded(ctx, s.gathered[i], c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if _, err := s.server.Stop(stopWithin); err != nil {
		return fmt.Errorf("SIGTERM to waybill serve: %w", err)
	}
	s.report()
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(s.wrong))
	}
	return nil
}

// place starts the connector of a cell.
func (s *scenario) place(ctx context.Context, i int, c *cell, sink string) error {
	p := &place{cell: c, s: s, asset: "document-" + strconv.Itoa(i), id: "fault-" + strconv.Itoa(i), sink: sink}
	edc, err := standin.Start(ctx, standin.Config{APIKey: key, Providers: []standin.ProviderConfig{{Name: "provider", Assets: []standin.Asset{{
		ID: p.asset, Policies: []standin.Policy{standin.Region("eu")}, Document: []byte(`{"value": "seen"}`),
	}}}}})
	if err != nil {
		return err
	}
	p.edc, p.provider = edc, edc.Provider("provider")
	s.places = append(s.places, p)
	return nil
}

// connector is how serve speaks with the provider of a cell: impatiently, but where it is counted
// what was asked, for another round would be no mistake on a slow machine.
func (p *place) connector() connectors.Connector {
	seconds := func(n float64) definition.Duration {
		return definition.Duration(time.Duration(n * float64(time.Second)))
	}
	c := connectors.Connector{
		Name: p.id, Adapter: connectors.AdapterEDC, Match: []string{p.provider.Address(standin.Protocol2025)},
		ManagementURL: p.edc.ManagementURL(), APIKey: secret.Ref{Env: keyVariable}, Timeout: seconds(1.5),
		Poll: connectors.Poll{First: seconds(.1), Most: seconds(.5)}, Rounds: 2, Processes: 2, Retries: 3,
		TTL:       connectors.TTL{Negotiation: seconds(8)},
		Deadlines: connectors.Deadlines{Catalog: seconds(8), State: seconds(3), EDR: seconds(5), Wish: seconds(30)},
	}
	if p.check != nil {
		c.TTL = connectors.TTL{}
		c.Deadlines = connectors.Deadlines{}
	}
	return c
}

// prepare starts serve and puts the definitions.
func (s *scenario) prepare(ctx context.Context) (err error) {
	if s.bin, err = process.Build(ctx, s.Dir); err != nil {
		return err
	}
	if s.listen, err = process.FreeAddress(); err != nil {
		return err
	}
	if s.kafka, err = process.FreeAddress(); err != nil {
		return err
	}
	var cfg struct {
		PublicURL  string                 `json:"publicUrl"`
		Connectors []connectors.Connector `json:"connectors"`
	}
	cfg.PublicURL = "http://" + s.listen
	for _, p := range s.places {
		cfg.Connectors = append(cfg.Connectors, p.connector())
	}
	for _, p := range s.gathered { // patient, for there are many and it goes wrong often
		c := p.connector()
		c.Rounds, c.Retries, c.TTL = 0, p.retries, connectors.TTL{}
		c.Deadlines = connectors.Deadlines{State: definition.Duration(10 * time.Second)}
		cfg.Connectors = append(cfg.Connectors, c)
	}
	b, err := yaml.Marshal(cfg)
	if err != nil {
		return err
	}
	s.config = filepath.Join(s.Dir, "waybill.yaml")
	if err := os.WriteFile(s.config, b, 0o600); err != nil {
		return err
	}
	s.api = api.New("http://" + s.listen)
	if err := s.start(ctx); err != nil {
		return err
	}
	for _, d := range definitions {
		path := "/v1/definitions/orchestrations/" + d.Type
		body, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if err := s.api.Insist(ctx, http.MethodPut, path, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// start starts serve, again after a kill.
func (s *scenario) start(ctx context.Context) (err error) {
	s.server, err = process.Start(ctx, process.Command{
		Path: s.bin, Log: s.Log, Env: []string{keyVariable + "=" + key},
		Args: []string{"serve", "--config", s.config, "--data", filepath.Join(s.Dir, "data"), "--listen", s.listen, "--kafka-listen", s.kafka},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, strikesWithin, errors.New("serve is not ready"))
	defer cancel()
	return s.server.Until(ctx, s.api.Ready)
}

// activity and orchestration are definitions, as far as they are needed.
type activity struct {
	ID    string         `json:"id"`
	Type  string         `json:"type"`
	With  map[string]any `json:"with"`
	Retry map[string]any `json:"retry"`
}

type orchestration struct {
	Type       string     `json:"type"`
	Activities []activity `json:"activities"`
}

// twice is how often an attempt is made once more: each is a transfer of its own.
var twice = map[string]any{"limit": 2, "baseDelay": "PT0.2S"}

// definitions fetch one document.
var definitions = []orchestration{
	{"faults-pull", []activity{{
		ID: "pull", Type: "retrieve", Retry: twice,
		With: map[string]any{"file": "{{input.asset}}", "connectorUrl": "{{input.provider}}"},
	}}},
	{"faults-push", []activity{{
		ID: "push", Type: "transfer", Retry: twice, With: map[string]any{
			"assetId": "{{input.asset}}", "provider": "{{input.provider}}", "transferType": standin.Push,
			"destination": map[string]any{"type": "HttpData", "baseUrl": "{{input.sink}}"},
			"deadline":    "PT25S", // 15 s before, whoever is asked for access says why there is none
		},
	}}},
}

// play runs all cells; those that wait for the end of serve are the last.
func (s *scenario) play(ctx context.Context) error {
	crash := func(p *place) bool { return p.crash }
	calm := slices.DeleteFunc(slices.Clone(s.places), crash)
	if err := atOnce(calm, func(p *place) error { return s.one(ctx, p) }); err != nil {
		return err
	}
	crashing := slices.DeleteFunc(slices.Clone(s.places), func(p *place) bool { return !crash(p) })
	if len(crashing) == 0 {
		return nil
	}
	if err := atOnce(crashing, func(p *place) error {
		if err := s.begin(ctx, p); err != nil || p.before == nil {
			return err
		}
		return p.before(ctx, p)
	}); err != nil {
		return err
	}
	if err := s.server.Kill(); err != nil {
		return err
	}
	for _, p := range crashing {
		p.mend()
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	return atOnce(crashing, func(p *place) error { return s.goOn(ctx, p, time.Now()) })
}

func atOnce(places []*place, do func(*place) error) error {
	errs := make([]error, len(places))
	slots := make(chan struct{}, together)
	var all sync.WaitGroup
	for i, p := range places {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if err := do(p); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.name(), err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// one plays one cell.
func (s *scenario) one(ctx context.Context, p *place) error {
	began := time.Now()
	if err := s.begin(ctx, p); err != nil {
		return err
	}
	return s.goOn(ctx, p, began)
}

// goOn does what a cell does once something has gone wrong, and sees how it ends.
func (s *scenario) goOn(ctx context.Context, p *place, began time.Time) error {
	if p.during != nil {
		if err := p.during(ctx, p); err != nil {
			return err
		}
	}
	return s.finish(ctx, p, began)
}

// begin asks for the document and waits until something goes wrong, where that is to be used.
func (s *scenario) begin(ctx context.Context, p *place) error {
	p.faults = p.set(p)
	if err := s.submit(ctx, p, p.id); err != nil {
		return err
	}
	if p.during == nil && !p.crash {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, strikesWithin, errors.New("it never came there"))
	defer cancel()
	for p.faults[0].Hits() == 0 {
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error { return api.Pause(ctx, d) }

func (s *scenario) submit(ctx context.Context, p *place, id string) error {
	if p.direct {
		return p.start(ctx, id)
	}
	typ := definitions[0].Type
	if p.push {
		typ = definitions[1].Type
	}
	body, err := json.Marshal(map[string]any{"id": id, "type": typ, "input": map[string]string{
		"asset": p.asset, "provider": p.provider.Address(standin.Protocol2025), "sink": p.sink,
	}})
	if err != nil {
		return err
	}
	return s.api.Insist(ctx, http.MethodPost, "/v1/jobs", body, nil)
}

// fault is why a job has failed.
type fault struct {
	Step    string `json:"step"`
	Message string `json:"message"`
}

// job is what is looked at of one.
type job struct {
	State string `json:"state"`
	Error *fault `json:"error"`
}

// end waits for the end of a job.
func (s *scenario) end(ctx context.Context, p *place, id string) (job, error) {
	if p.direct {
		return p.ended(ctx, id)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endsWithin, fmt.Errorf("job %s has no end after %s", id, endsWithin))
	defer cancel()
	for {
		var j job
		err := s.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &j)
		switch {
		case err != nil && !api.Is(err, http.StatusNotFound): // the view may not have it yet
			return j, err
		case j.State == "COMPLETED" || j.State == "ERROR" || j.State == "CANCELLED":
			return j, nil
		}
		if err := pause(ctx, look); err != nil {
			return j, err
		}
	}
}

// finish checks how the job of a cell ends, and that the asset can be had when all is well again.
func (s *scenario) finish(ctx context.Context, p *place, began time.Time) error {
	j, err := s.end(ctx, p, p.id)
	if err != nil {
		s.complain("%s: %v", p.name(), err)
		return nil // the other cells go on
	}
	p.took = time.Since(began)
	reason := fault{}
	if j.Error != nil {
		reason = *j.Error
	}
	if j.State != string(p.want) {
		s.complain("%s: it ended %s, want %s: %s: %s", p.name(), j.State, p.want, reason.Step, reason.Message)
	}
	if j.State == string(fails) {
		if missing := explained(p, reason); missing != "" {
			s.complain("%s: the reason does not name %s: %s: %s", p.name(), missing, reason.Step, reason.Message)
		}
	}
	if p.check != nil {
		if wrong := p.check(p.edc.Counts().Providers["provider"], p.edc.Transfers()); wrong != "" {
			s.complain("%s: at the provider: %s", p.name(), wrong)
		}
	}
	return s.again(ctx, p)
}

// again wants the same asset when all is well.
func (s *scenario) again(ctx context.Context, p *place) error {
	p.mend()
	if p.cell.mend != nil {
		if err := p.cell.mend(ctx, p); err != nil {
			return err
		}
	}
	if err := s.submit(ctx, p, p.id+"-again"); err != nil {
		return err
	}
	j, err := s.end(ctx, p, p.id+"-again")
	if err != nil {
		s.complain("%s, and then all was well: %v", p.name(), err)
		return nil // the other cells go on
	}
	if j.State != string(completes) {
		s.complain("%s, and then all was well: the asset is not to be had: %+v", p.name(), j.Error)
	}
	return nil
}

// report prints the table: what is right, and how long it took.
func (s *scenario) report() {
	row := ""
	for _, p := range s.places {
		if name := p.row; name != row {
			row = name
			fmt.Printf("%s\n", row)
		}
		way := "pull"
		if p.push {
			way = "push"
		}
		fmt.Printf("  %-36s %s  %-9s %6.1f s\n", p.column, way, p.want, p.took.Seconds())
	}
	for _, w := range s.wrong {
		fmt.Println("WRONG  " + w)
	}
	fmt.Printf("%d cells, %d things wrong\n", len(s.places), len(s.wrong))
}
