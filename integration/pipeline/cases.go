package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
)

// found is what is looked at of a job.
type found struct {
	State  string `json:"state"`
	Output struct {
		Message string `json:"message"`
	} `json:"output"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
	Nodes []struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Attempt int    `json:"attempt"`
	} `json:"nodes"`
}

func (f *found) node(id string) (state string, attempt int) {
	for _, n := range f.Nodes {
		if n.ID == id {
			return n.State, n.Attempt
		}
	}
	return "", 0
}

// submit starts the pipeline and waits for its end, as a user would. The input goes over
// the addresses of the services.
func (s *scenario) submit(ctx context.Context, id string, over map[string]any) (f found, out string, code int, err error) {
	input := map[string]any{
		"request":    map[string]any{"repo_url": s.repo.url},
		"downloader": "http://" + s.download.address, "uploader": "http://" + s.upload.address, "transformer": "http://" + s.transform.address,
	}
	maps.Copy(input, over)
	raw, err := json.Marshal(input)
	if err != nil {
		return f, "", 0, err
	}
	out, code, err = s.cli(ctx, "submit", "--type", "repository-pipeline", "--id", id, "--input", string(raw), "--wait", "--timeout", "2m")
	if err != nil {
		return f, out, code, err
	}
	err = s.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &f)
	return f, out, code, err
}

// good runs the pipeline as it is meant, and reads the Parquet file back.
func (s *scenario) good(ctx context.Context) error {
	gate := func(srv *service) *gate {
		g, err := s.gates.open(ctx, srv.address, nil)
		if err != nil {
			s.wrong.Add("%v", err)
			return &gate{}
		}
		return g
	}
	download, upload, transform := gate(s.download), gate(s.upload), gate(s.transform)
	asked := map[string]any{"repo_url": s.repo.url, "branch": "trunk"}
	began := time.Now()
	f, out, code, err := s.submit(ctx, "good", map[string]any{
		"request": asked, "downloader": download.url, "uploader": upload.url, "transformer": transform.url,
	})
	if err != nil {
		return err
	}
	if code != 0 || f.State != "COMPLETED" {
		return fmt.Errorf("the pipeline is %s, exit code %d: %s", f.State, code, out)
	}
	fmt.Printf("  done in %s: %s\n", since(began), f.Output.Message)
	if !strings.Contains(out, f.Output.Message) || f.Output.Message == "" {
		s.wrong.Add("waybill submit does not show the message %q: %s", f.Output.Message, out)
	}
	container := s.checkRequests(asked, download.requests(), upload.requests(), transform.requests())
	rows, err := s.rows(ctx, container+"-parquet", container+".parquet")
	if err != nil {
		return err
	}
	for _, w := range s.repo.compare(rows) {
		s.wrong.Add("%s", w)
	}
	fmt.Printf("  the Parquet file was read back: %d files as in the repository\n", len(rows))
	return nil
}

// checkRequests holds what the services were asked against their interfaces, and returns
// the name of the container.
func (s *scenario) checkRequests(asked map[string]any, download, upload, transform []request) string {
	if len(download) != 1 || len(upload) != 1 || len(transform) != 1 {
		s.wrong.Add("the services were asked %d, %d and %d times, want once each", len(download), len(upload), len(transform))
		return ""
	}
	d, u, t := download[0], upload[0], transform[0]
	for _, r := range []struct {
		request
		path, contentType string
	}{
		{d, "/v1/download_repository", "application/json"},
		{u, "/v2/repo/upload", ""},
		{t, "/v3/transform-container-to-parquet", "application/json"},
	} {
		if r.method != http.MethodPost || r.request.path != r.path || r.request.contentType != r.contentType || r.key == "" {
			s.wrong.Add("want POST %s as %q with an Idempotency-Key, found %s %s as %q with %q", r.path, r.contentType, r.method, r.request.path, r.request.contentType, r.key)
		}
	}
	var body map[string]any
	if err := json.Unmarshal(d.body, &body); err != nil || !maps.Equal(body, asked) {
		s.wrong.Add("the download service was asked for %s, want %v", d.body, asked)
	}
	query, err := url.ParseQuery(u.query)
	if path := query.Get("repo_path"); err != nil || len(query) != 1 || !filepath.IsAbs(path) || len(u.body) > 0 {
		s.wrong.Add("the upload service was asked with %q and a body of %d bytes, want repo_path alone", u.query, len(u.body))
	}
	body = nil
	container := ""
	if err := json.Unmarshal(t.body, &body); err == nil {
		container, _ = body["container_name"].(string)
	}
	if len(body) != 2 || container == "" || body["single_parquet"] != true {
		s.wrong.Add("the transformation service was asked for %s, want container_name and single_parquet", t.body)
	}
	return container
}

// rows reads a Parquet file back.
func (s *scenario) rows(ctx context.Context, container, blob string) ([]row, error) {
	cmd := exec.CommandContext(ctx, s.services, "rows", container, blob) //nolint:gosec // of ours
	cmd.Env = append(cmd.Environ(), s.storage)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read %s of %s back: %w: %s", blob, container, err, errs.String())
	}
	var rows []row
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var r row
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return nil, err
		}
		rows = append(rows, r)
	}
}

// recovers stops a service, starts the pipeline, and starts the service again once it has
// been missed; another one answers 503 twice.
func (s *scenario) recovers(ctx context.Context) error {
	var times atomic.Int32
	var busy *gate
	busy, err := s.gates.open(ctx, s.upload.address, func(w http.ResponseWriter, r *http.Request) {
		if times.Add(1) <= 2 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		busy.pass.ServeHTTP(w, r)
	})
	if err != nil {
		return err
	}
	if _, err := s.transform.Stop(stopWithin); err != nil {
		return fmt.Errorf("stop service transform: %w", err)
	}
	began := time.Now()
	up := make(chan error, 1)
	go func() {
		err := s.missed(ctx, "recovers", "transform")
		up <- errors.Join(err, s.startService(ctx, s.transform))
	}()
	f, out, code, err := s.submit(ctx, "recovers", map[string]any{"uploader": busy.url})
	if err = errors.Join(err, <-up); err != nil {
		return err
	}
	_, uploads := f.node("upload")
	_, transforms := f.node("transform")
	if code != 0 || f.State != "COMPLETED" || uploads != 3 || transforms < 2 {
		s.wrong.Add("with services that come back the pipeline is %s, exit code %d, after %d and %d attempts: %s", f.State, code, uploads, transforms, out)
	}
	fmt.Printf("  a service that answered 503 twice, and one that was down and came up: done in %s, with %d and %d attempts\n", since(began), uploads, transforms)
	return nil
}

// missed waits until a job tries an activity again.
func (s *scenario) missed(ctx context.Context, id, node string) error {
	for {
		var f found
		if err := s.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &f); err != nil && !api.Is(err, http.StatusNotFound) {
			return err
		}
		if state, _ := f.node(node); state == "RETRYING" {
			return nil
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// failure is a way in which the pipeline fails.
type failure struct {
	name  string
	over  map[string]any
	node  string
	again bool     // it is tried again, as often as the definition says
	says  []string // what the error has, beside the node
}

// attempts are those of the definition: one, and five more.
const attempts = 6

func (s *scenario) failures(ctx context.Context) ([]failure, error) {
	nobody, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	var errs []error
	gate := func(h http.HandlerFunc) string {
		g, err := s.gates.open(ctx, nobody, h)
		if err != nil {
			errs = append(errs, err)
			return ""
		}
		return g.url
	}
	html := gate(says(http.StatusOK, "text/html", "<!DOCTYPE html><title>Please log in</title>"))
	refused := gate(says(http.StatusForbidden, "application/json", `{"error": "not you"}`))
	empty := gate(says(http.StatusOK, "application/json", `{}`))
	broken := gate(says(http.StatusInternalServerError, "application/json", `{"error": "disk full"}`))
	elsewhere := gate(says(http.StatusOK, "application/json", `{"container_name": "not-there"}`))
	var l []failure
	services := []struct{ node, where, path string }{
		{"download", "downloader", "/v1/download_repository"}, {"upload", "uploader", "/v2/repo/upload"}, {"transform", "transformer", "/v3/transform-container-to-parquet"},
	}
	for _, srv := range services {
		at := func(url string) map[string]any { return map[string]any{srv.where: url} }
		l = append(l,
			failure{name: "down", node: srv.node, over: at("http://" + nobody), again: true, says: []string{"connection refused", srv.path}},
			failure{name: "500", node: srv.node, over: at(broken), again: true, says: []string{"500", "disk full"}},
			failure{name: "403", node: srv.node, over: at(refused), says: []string{"403", "not you", srv.path}},
			failure{name: "HTML", node: srv.node, over: at(html), says: []string{"not JSON", "html", srv.path}},
		)
	}
	l = append(l,
		failure{name: "no-repository", node: "download", over: map[string]any{"request": map[string]any{"repo_url": s.repo.url + "-not"}}, says: []string{"422", "git clone", "example.git-not"}},
		failure{name: "no-path", node: "upload", over: map[string]any{"downloader": empty}, says: []string{"download", "path"}},
		failure{name: "no-container-name", node: "transform", over: map[string]any{"uploader": empty}, says: []string{"upload", "container_name"}},
		failure{name: "no-container", node: "transform", over: map[string]any{"uploader": elsewhere}, says: []string{"404", "not-there"}},
	)
	return l, errors.Join(errs...)
}

// fails runs the pipeline with everything that can go wrong, at the same time, for what is
// tried again takes its while.
func (s *scenario) fails(ctx context.Context) error {
	l, err := s.failures(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	lines := make([]string, len(l))
	var all sync.WaitGroup
	for i, f := range l {
		all.Go(func() { lines[i] = s.fail(ctx, f) })
	}
	all.Wait()
	for _, line := range lines {
		fmt.Println("  " + line)
	}
	fmt.Printf("  %d ways to fail, all at once, in %s\n", len(l), since(began))
	return nil
}

// fail runs one of them, looks at what became of it, and returns a line about it.
func (s *scenario) fail(ctx context.Context, want failure) string {
	id := "fails-" + want.node + "-" + want.name
	f, out, code, err := s.submit(ctx, id, want.over)
	if err != nil {
		s.wrong.Add("%s: %v: %s", id, err, out)
		return id
	}
	message := ""
	if f.Error != nil {
		message = f.Error.Message
	}
	state, tried := f.node(want.node)
	if f.State != "ERROR" || code != 1 || state != "FAILED" {
		s.wrong.Add("%s is %s, its activity %s, exit code %d, want ERROR, FAILED, 1", id, f.State, state, code)
	}
	wanted := 1
	if want.again {
		wanted = attempts
	}
	// What cannot even be asked for, for want of what it needs, is not tried at all.
	if tried != wanted && (tried != 0 || wanted != 1) {
		s.wrong.Add("%s was tried %d times, want %d", id, tried, wanted)
	}
	for _, text := range append([]string{want.node}, want.says...) {
		if !strings.Contains(out, text) {
			s.wrong.Add("%s: what waybill prints has no %q: %s", id, text, out)
		}
	}
	// What comes after the failed step is never called.
	before := true
	for _, n := range f.Nodes {
		if before && n.ID != want.node && n.State != "COMPLETED" || !before && n.State != "CANCELLED" {
			s.wrong.Add("%s: %s is %s", id, n.ID, n.State)
		}
		before = before && n.ID != want.node
	}
	return fmt.Sprintf("%-28s exit %d, %d tried: %.150s", id, code, tried, message)
}
