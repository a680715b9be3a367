package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
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
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/standin"
)

const (
	// apiKey is what the stand-in wants to see.
	apiKey = "the-key-of-the-stand-in"
	// patience is how long one thing may take.
	patience = 90 * time.Second
	// glance is the time between two looks.
	glance = 20 * time.Millisecond
)

func main() {
	only := flag.String("only", "", "cases, limits, terminations or kills; all of them unless given")
	brokers := flag.String("brokers", "", "host:port,… of a Kafka to play on instead of the embedded broker")
	flags := stage.NewFlags(8 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("access", func(ctx context.Context, on stage.Stage) error {
		bin, err := process.Build(ctx, on.Dir)
		if err != nil {
			return err
		}
		for _, part := range []struct {
			name string
			play func(context.Context, site) error
		}{{"cases", cases}, {"limits", limits}, {"terminations", terminations}, {"kills", kills}} {
			if *only != "" && *only != part.name {
				continue
			}
			s := site{Stage: on, bin: bin, brokers: *brokers, prefix: fmt.Sprintf("access-%s-%d", part.name, time.Now().UnixMilli())}
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
	}))
}

// site is where one part plays.
type site struct {
	stage.Stage
	bin             string
	brokers, prefix string // of another Kafka
}

// server is a `waybill serve`.
type server struct {
	*process.Process
	*api.Client
	site   site
	listen string
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
	kafka, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	srv := &server{site: s, listen: listen, Client: api.New("http://" + listen)}
	srv.args = append([]string{"serve", "--data", filepath.Join(s.Dir, name), "--listen", listen, "--kafka-listen", kafka}, args...)
	if s.brokers != "" {
		keys, err := s.sealKeys()
		if err != nil {
			return nil, err
		}
		srv.args = append(srv.args, "--brokers", s.brokers, "--create-topics", "--prefix", s.prefix, "--seal-keys-file", keys)
	}
	return srv, srv.start(ctx)
}

// sealKeys makes the keys that servers of one log share.
func (s site) sealKeys() (string, error) {
	path := filepath.Join(s.Dir, "seal.keys")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte("k1:"+base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
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

func (srv *server) end() error {
	_, err := srv.Stop(10 * time.Second)
	return err
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
