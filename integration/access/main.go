package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/standin"
)

const (
	// apiKey is what the stand-in wants to see.
	apiKey = "the-key-of-the-stand-in"
	// patience is how long one thing may take.
	patience = 90 * time.Second
	// settleWithin is how long what goes on after the last end may take.
	settleWithin = 20 * time.Second
	// glance is the time between two looks.
	glance = 20 * time.Millisecond
)

func main() {
	only := flag.String("only", "", "cases, limits, terminations or kills; all of them unless given")
	k := stage.NewKafka("access")
	flags := stage.NewFlags(8 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("access", func(ctx context.Context, on stage.Stage) error {
		return errors.Join(run(ctx, on, k, *only), k.Clear(ctx))
	}))
}

func run(ctx context.Context, on stage.Stage, k *stage.Kafka, only string) error {
	fmt.Printf("access (%s):\n", k)
	bin, err := process.Build(ctx, on.Dir)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		play func(context.Context, site) error
	}{{"cases", cases}, {"limits", limits}, {"terminations", terminations}, {"kills", kills}} {
		if only != "" && only != part.name {
			continue
		}
		s := site{Stage: on, bin: bin, kafka: k.Apart(part.name)}
		if s.Dir, err = os.MkdirTemp(on.Dir, part.name); err != nil {
			return err
		}
		fmt.Println(part.name)
		began := time.Now()
		if err := part.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Printf("  ok, %.1f s\n", time.Since(began).Seconds())
	}
	return nil
}

// site is where one part plays.
type site struct {
	stage.Stage
	bin    string
	kafka  *stage.Kafka
	broker string // a `waybill broker`, where several servers share one
}

// server is a `waybill serve`.
type server struct {
	*process.Process
	*api.Client
	site   site
	listen string
	data   string
	cfg    kafka.Config // of its log
	args   []string
}

// configure writes a configuration with the stand-in as the connector for all its providers.
func (s site) configure(edc *standin.Connector, providers []string, parallelism int, more map[string]any) (string, error) {
	match := make([]string, len(providers))
	for i, p := range providers {
		match[i] = edc.Provider(p).Address(standin.Protocol2025)
	}
	key := filepath.Join(s.Dir, "api-key")
	if err := os.WriteFile(key, []byte(apiKey+"\n"), 0o600); err != nil {
		return "", err
	}
	connector := map[string]any{
		"name": "consumer", "adapter": "edc", "match": match, "managementUrl": edc.ManagementURL(),
		"apiKey": map[string]string{"file": key}, "protocol": standin.Protocol2025,
	}
	if parallelism > 0 {
		connector["parallelism"] = parallelism
	}
	config := map[string]any{"connectors": []any{connector}}
	for name, value := range more {
		config[name] = value
	}
	b, err := yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Dir, "waybill.yaml")
	return path, os.WriteFile(path, b, 0o600)
}

// serve starts a server and waits until it is ready.
func (s site) serve(ctx context.Context, name string, args ...string) (*server, error) {
	listen, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	srv := &server{site: s, listen: listen, Client: api.New("http://" + listen), data: filepath.Join(s.Dir, name)}
	where, err := s.log(srv)
	if err != nil {
		return nil, err
	}
	srv.args = append([]string{"serve", "--data", srv.data, "--listen", listen}, append(where, args...)...)
	return srv, srv.start(ctx)
}

// log says where a server's log is, and notes how it is reached.
func (s site) log(srv *server) ([]string, error) {
	if s.broker != "" {
		srv.cfg = s.kafka.Config(s.broker)
		seal, err := stage.Seal(s.Dir)
		return append([]string{"--brokers", s.broker}, seal...), err
	}
	embedded, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	srv.cfg = s.kafka.Config(embedded)
	if !s.kafka.Others() {
		return s.kafka.Args(embedded), nil
	}
	seal, err := stage.Seal(s.Dir)
	return append(s.kafka.Args(embedded), seal...), err
}

func (srv *server) start(ctx context.Context) (err error) {
	srv.Process, err = process.Start(ctx, process.Command{Path: srv.site.bin, Args: srv.args, Log: srv.site.Log})
	if err != nil {
		return err
	}
	return srv.Until(ctx, srv.Ready)
}

// killed kills the server as nobody expects it, and starts it again.
func (srv *server) killed(ctx context.Context) error {
	if err := srv.Kill(); err != nil {
		return err
	}
	return srv.start(ctx)
}

// end holds the log and what the server has made of it against what must be, and stops the server.
func (srv *server) end(ctx context.Context) error {
	err := srv.audited(ctx)
	_, stopped := srv.Stop(10 * time.Second)
	return errors.Join(err, stopped)
}

// audited holds them against what must be when the log stands still: what was shared is still being closed
// when the last job has ended.
func (srv *server) audited(ctx context.Context) error {
	scratch, err := os.MkdirTemp(srv.site.Dir, "replay")
	if err != nil {
		return err
	}
	var report *audit.Report
	var wrongs []audit.Wrong
	rows := 0
	for end := time.Now().Add(settleWithin); ; {
		log, err := audit.ReadLog(ctx, srv.cfg)
		if err != nil {
			return err
		}
		report = audit.Check(log, audit.Options{Embedded: srv.cfg.Embedded, Quiet: true, Now: time.Now(), Secrets: []string{apiKey}})
		if wrongs = report.Wrongs; len(wrongs) == 0 {
			if wrongs, rows, err = audit.Projection(ctx, srv.cfg, filepath.Join(srv.data, "projections.db"), scratch); err != nil {
				return err
			}
		}
		if len(wrongs) == 0 || time.Now().After(end) {
			break
		}
		if err := api.Pause(ctx, 10*glance); err != nil {
			return err
		}
	}
	fmt.Printf("  on the log: %s; rows of the view that a fresh replay has as well: %d\n", report, rows)
	var w wrong
	for _, sentence := range audit.Sentences(wrongs) {
		w.unless(false, "%s", sentence)
	}
	return w.err()
}

// until waits for something to become true.
func until(ctx context.Context, what string, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s: not after %s", what, patience))
	defer cancel()
	for {
		ok, err := is()
		if ok || err != nil {
			return err
		}
		if err := api.Pause(ctx, glance); err != nil {
			return err
		}
	}
}

// transfer is what is looked at of one.
type transfer struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Outcome string `json:"outcome"`
	Reason  any    `json:"reason"`
}

// ended waits until a transfer has an outcome.
func (srv *server) ended(ctx context.Context, id string) (transfer, error) {
	return srv.sees(ctx, id, "its end", func(t transfer) bool { return t.Outcome != "" })
}

// sees waits until a transfer looks like that.
func (srv *server) sees(ctx context.Context, id, what string, like func(transfer) bool) (t transfer, err error) {
	err = until(ctx, "transfer "+id+": "+what, func() (bool, error) {
		t = transfer{}
		err := srv.Insist(ctx, http.MethodGet, "/v1/transfers/"+id, nil, &t)
		if api.Is(err, http.StatusNotFound) {
			return false, nil
		}
		return err == nil && like(t), err
	})
	if err != nil {
		err = fmt.Errorf("%w; it is %+v", err, t)
	}
	return t, err
}

// job waits for the end of a job, which must be a good one.
func (srv *server) job(ctx context.Context, id string) error {
	var j api.Job
	err := until(ctx, "job "+id, func() (bool, error) {
		err := srv.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &j)
		if api.Is(err, http.StatusNotFound) {
			return false, nil
		}
		return j.Ended(), err
	})
	if err == nil && j.State != "COMPLETED" {
		err = fmt.Errorf("job %s ended %s: %s", id, j.State, j.Error)
	}
	return err
}

// wrong collects what is not as it should be.
type wrong []string

func (w *wrong) unless(ok bool, format string, args ...any) {
	if !ok {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

func (w *wrong) err() error {
	if len(*w) == 0 {
		return nil
	}
	return errors.New(strings.Join(*w, "\n  "))
}
