package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 10 * time.Second
)

// server is a `waybill serve` with data of its own.
type server struct {
	*process.Process
	bin, dir, listen, config string
	cfg                      kafka.Config // of its log
	where                    []string     // the same, as it is told
	key                      string       // of the management API
	logs                     string       // what it has printed
	api                      *api.Client
}

// serve starts a server on new data; change may change its configuration before.
func (s *scenario) serve(ctx context.Context, name string, on *connectors, change func(*config)) (*server, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	srv := &server{bin: s.bin, key: on.of[consumer].APIKey, dir: filepath.Join(dir, "data"), config: filepath.Join(dir, "waybill.yaml"), logs: filepath.Join(dir, "output")}
	var err error
	if srv.listen, err = process.FreeAddress(); err != nil {
		return nil, err
	}
	if err := srv.place(s.kafka.Apart(name)); err != nil {
		return nil, err
	}
	srv.api = api.New("http://" + srv.listen)
	c := newConfig(on, srv.listen)
	if change != nil {
		change(c)
	}
	if err := c.write(srv.config); err != nil {
		return nil, err
	}
	s.servers = append(s.servers, srv)
	return srv, srv.start(ctx)
}

// place gives the server a log of its own.
func (srv *server) place(k *stage.Kafka) error {
	embedded, err := process.FreeAddress()
	if err != nil {
		return err
	}
	srv.cfg, srv.where = k.Config(embedded), k.Args(embedded)
	if !k.Others() {
		return nil
	}
	seal, err := stage.Seal(filepath.Dir(srv.dir))
	srv.where = append(srv.where, seal...)
	return err
}

// start starts the server, again where it has been killed.
func (srv *server) start(ctx context.Context) error {
	log, err := os.OpenFile(srv.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own
	srv.Process, err = process.Start(ctx, process.Command{
		Path: srv.bin, Args: append([]string{"serve", "--config", srv.config, "--data", srv.dir, "--listen", srv.listen}, srv.where...),
		Env: []string{apiKeyVariable + "=" + srv.key}, Log: log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	if err := srv.Until(ctx, srv.api.Ready); err != nil {
		return fmt.Errorf("waybill serve, see %s: %w", srv.logs, err)
	}
	return nil
}

// crash ends the server as a power cut would and starts it again.
func (srv *server) crash(ctx context.Context) error {
	if err := srv.Kill(); err != nil {
		return err
	}
	return srv.start(ctx)
}

// stop ends the server in good order.
func (srv *server) stop() error {
	if _, err := srv.Stop(stopWithin); err != nil {
		return fmt.Errorf("SIGTERM to waybill serve, see %s: %w", srv.logs, err)
	}
	return nil
}

// fault is why something failed.
type fault struct {
	Step    string `json:"step"`
	Message string `json:"message"`
	Code    string `json:"code"`
}

func (f *fault) String() string {
	if f == nil {
		return "no reason"
	}
	return strings.TrimPrefix(f.Step+": "+f.Message, ": ")
}

// job is what is looked at of one.
type job struct {
	ID     string          `json:"id"`
	State  string          `json:"state"`
	Output json.RawMessage `json:"output"`
	Error  *fault          `json:"error"`
	Nodes  []struct {
		ID         string `json:"id"`
		Type       string `json:"type"`
		State      string `json:"state"`
		Attempt    int    `json:"attempt"`
		Error      *fault `json:"error"`
		TransferID string `json:"transferId"`
	} `json:"nodes"`
	StartedAt time.Time `json:"startedAt"`
	EndedAt   time.Time `json:"endedAt"`
}

func (j *job) ended() bool {
	return slices.Contains([]string{"COMPLETED", "ERROR", "CANCELLED"}, j.State)
}

// value is what a parts tree has joined.
func (j *job) value() string {
	var out struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(j.Output, &out) != nil {
		return ""
	}
	return out.Value
}

// submit asks for a job until that is acknowledged.
func (srv *server) submit(ctx context.Context, id, typ string, input any) error {
	body, err := json.Marshal(map[string]any{"id": id, "type": typ, "input": input})
	if err != nil {
		return err
	}
	if err := srv.api.Insist(ctx, http.MethodPost, "/v1/jobs", body, nil); err != nil {
		return fmt.Errorf("start %s: %w", id, err)
	}
	return nil
}

// tree asks for the tree below a document.
func (srv *server) tree(ctx context.Context, id, document string, at connector) error {
	return srv.submit(ctx, id, "parts-tree", map[string]string{"file": document, "connectorUrl": at.ProtocolURL})
}

// await waits for the end of a job; the server answers when it has ended, or after some seconds.
func (srv *server) await(ctx context.Context, id string, within time.Duration) (*job, error) {
	last := &job{}
	err := poll(ctx, within, func(ctx context.Context) (bool, error) {
		found := &job{}
		err := srv.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+id+"?wait=5s", nil, found)
		if api.Is(err, http.StatusNotFound) { // the view is not that far
			return false, nil
		}
		last = found
		return err == nil && found.ended(), err
	})
	if err != nil {
		err = fmt.Errorf("%s is %q and has not ended: %w", id, last.State, err)
	}
	return last, err
}

// transfer is what is looked at of one.
type transfer struct {
	ID       string          `json:"id"`
	Provider string          `json:"provider"`
	AssetID  string          `json:"assetId"`
	State    string          `json:"state"`
	Outcome  string          `json:"outcome"`
	Reason   string          `json:"reason"`
	Output   json.RawMessage `json:"output"`
}

// initiate asks for a transfer.
func (srv *server) initiate(ctx context.Context, id string, body map[string]any) error {
	body["id"] = id
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := srv.api.Insist(ctx, http.MethodPost, "/v1/transfers", b, nil); err != nil {
		return fmt.Errorf("transfer %s: %w", id, err)
	}
	return nil
}

// tell gives a transfer one of its verbs.
func (srv *server) tell(ctx context.Context, id, verb string) error {
	body := []byte(`{"reason": "the scenario wants it"}`)
	return srv.api.Insist(ctx, http.MethodPost, "/v1/transfers/"+url.PathEscape(id)+"/"+verb, body, nil)
}

// reach waits until a transfer is in one of some states.
func (srv *server) reach(ctx context.Context, id string, states ...string) (*transfer, error) {
	last := &transfer{}
	err := poll(ctx, jobTakes, func(ctx context.Context) (bool, error) {
		found := &transfer{}
		err := srv.api.Insist(ctx, http.MethodGet, "/v1/transfers/"+url.PathEscape(id), nil, found)
		if api.Is(err, http.StatusNotFound) {
			return false, nil
		}
		last = found
		return err == nil && slices.Contains(states, found.State), err
	})
	if err != nil {
		err = fmt.Errorf("transfer %s is %q (%s) and not %v: %w", id, last.State, last.Reason, states, err)
	}
	return last, err
}

// poll asks until the answer is yes, or an error other than one of waiting comes.
func poll(ctx context.Context, within time.Duration, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("given up after %s", within))
	defer cancel()
	for {
		ok, err := ask(ctx)
		if ok || err != nil {
			return err
		}
		if err := api.Pause(ctx, 25*time.Millisecond); err != nil {
			return errors.Join(context.Cause(ctx))
		}
	}
}
