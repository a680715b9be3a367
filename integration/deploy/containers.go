package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/process"
)

const (
	readyWithin = 60 * time.Second
	stopWithin  = 10 * time.Second
	nobody      = "65532:65532"
	token       = "of-this-test"
)

// images looks at what the images say of themselves.
func (s *scenario) images(ctx context.Context) error {
	for image, port := range map[string]string{s.image: "7470/tcp", s.pipeline: "8089/tcp"} {
		out, err := s.docker(ctx, "inspect", "--format", "{{.Config.User}} {{json .Config.ExposedPorts}} {{.Size}}", image)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(out, nobody+" ") || !strings.Contains(out, port) {
			s.amiss("image %s: want user %s and port %s, found %s", image, nobody, port, out)
		}
		fmt.Printf("  image %s: user, ports and bytes are %s\n", image, out)
	}
	return nil
}

// openToAll starts a server as the image is, which anybody could reach.
func (s *scenario) openToAll(ctx context.Context) error {
	name, err := s.start(ctx, "open", s.image)
	if err != nil {
		return err
	}
	code, out, err := s.ended(ctx, name)
	if err == nil && (code != 2 || !strings.Contains(out, "--insecure") || strings.Contains(out, "\n")) {
		s.amiss("a server that anybody can reach: exit %d, want 2 and one line that names --insecure: %s", code, out)
	}
	return err
}

// mounts writes the settings and the secrets of a pod and returns how to mount them.
func (s *scenario) mounts(name string, p pod) ([]string, error) {
	dir := filepath.Join(s.dir, name)
	files := map[string]string{
		"config/waybill.yaml": p.config,
		"secrets/token":       token, "secrets/address-key": "0123456789abcdef0123456789abcdef",
	}
	for file, content := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // nobody has to read it
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil { //nolint:gosec // likewise
			return nil, err
		}
	}
	// MkdirTemp made it for us alone.
	if err := os.Chmod(s.dir, 0o755); err != nil { //nolint:gosec // likewise
		return nil, err
	}
	return []string{
		"--volume", filepath.Join(dir, "config") + ":" + filepath.Dir(configPath) + ":ro",
		"--volume", filepath.Join(dir, "secrets") + ":/run/secrets/waybill:ro",
	}, nil
}

// cluster runs a server of standalone.yaml without its agents, and agents of cluster.yaml
// beside it, in the same network, for the broker is on the server's loopback.
func (s *scenario) cluster(ctx context.Context) error {
	began := time.Now()
	standalone, agents := s.pods["standalone.yaml/waybill"], s.pods["cluster.yaml/waybill-agents"]
	mounts, err := s.mounts("server", standalone)
	if err != nil {
		return err
	}
	server, err := s.start(ctx, "server", join(mounts, []string{"--publish", "127.0.0.1::7470", s.image}, standalone.args, []string{"--roles", "machines,projections,api"})...)
	if err != nil {
		return err
	}
	url, err := s.published(ctx, server, 7470)
	if err == nil {
		err = s.ready(ctx, server, url)
	}
	if err != nil {
		return err
	}
	fmt.Printf("  a server as in standalone.yaml, on a read-only file system, was ready %.1f s after its start\n", time.Since(began).Seconds())
	if mounts, err = s.mounts("agents", agents); err != nil {
		return err
	}
	agent, err := s.start(ctx, "agents", join(mounts, []string{
		"--network", "container:" + server, "--env", "WAYBILL_BROKERS=127.0.0.1:9092", "--env", "WAYBILL_LISTEN=127.0.0.1:7471", s.image,
	}, agents.args)...)
	if err != nil {
		return err
	}
	ready, err := s.start(ctx, "http", "--network", "container:"+server, s.image,
		"agent", "http", "--brokers", "127.0.0.1:9092", "--settings", `{"allow": ["127.0.0.1:7470"]}`)
	if err != nil {
		return err
	}
	if err := s.jobDone(ctx, server, url, agent, ready); err != nil {
		return err
	}
	// The agents first: the network that they share ends with the server's container.
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return s.stops(ctx, agent) },
		func(ctx context.Context) error { return s.stops(ctx, ready) },
		func(ctx context.Context) error { return s.restart(ctx, server) },
		func(ctx context.Context) error { return s.stops(ctx, server) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// jobDone has a job done by both kinds of agents, which without the token is refused.
func (s *scenario) jobDone(ctx context.Context, server, url string, agents ...string) error {
	definition := filepath.Join(s.dir, "once.json")
	if err := os.WriteFile(definition, []byte(`{"type": "once", "activities": [
		{"id": "a", "type": "noop", "with": {"delay": "PT0.1S"}},
		{"id": "b", "type": "http", "with": {"url": "http://127.0.0.1:7470/healthz"}}]}`), 0o600); err != nil {
		return err
	}
	env := []string{"WAYBILL_SERVER=" + url}
	if out, code, err := s.cli(ctx, env, "list"); err != nil || code != 4 {
		s.amiss("without the token: exit %d, want 4: %s (%v)", code, out, err)
	}
	env = append(env, "WAYBILL_TOKEN="+token)
	began := time.Now()
	for _, args := range [][]string{
		{"apply", "-f", definition},
		{"submit", "--type", "once", "--id", "j-1", "--wait", "--timeout", "60s"},
	} {
		out, code, err := s.cli(ctx, env, args...)
		if err != nil {
			return err
		}
		if code != 0 {
			err := fmt.Errorf("waybill %s: exit %d: %s", args[0], code, out)
			for _, agent := range agents {
				logs, lerr := s.docker(ctx, "logs", agent)
				err = errors.Join(err, errors.New(logs), lerr)
			}
			return err
		}
	}
	out, code, err := s.cli(ctx, env, "events", "j-1", "-o", "json")
	if err != nil || code != 0 || strings.Count(out, `"activity.claimed.v1"`) != 2 {
		s.amiss("want two activities that agents have claimed: exit %d: %s (%v)", code, out, err)
	}
	fmt.Printf("  a job was done by agents as in cluster.yaml and by `waybill agent http`, in containers of their own, within %.1f s\n", time.Since(began).Seconds())
	// Also from inside, where there is nothing but the program.
	if out, err := s.docker(ctx, "exec", "--env", "WAYBILL_TOKEN="+token, server, "waybill", "get", "j-1"); err != nil || !strings.Contains(out, "COMPLETED") {
		s.amiss("docker exec … waybill get j-1: %s (%v)", out, err)
	}
	return nil
}

// restart restarts a server and looks for what was there before.
func (s *scenario) restart(ctx context.Context, server string) error {
	began := time.Now()
	if _, err := s.docker(ctx, "restart", "--time", "10", server); err != nil {
		return err
	}
	url, err := s.published(ctx, server, 7470) // it is another one now
	if err == nil {
		err = s.ready(ctx, server, url)
	}
	if err != nil {
		return err
	}
	out, code, err := s.cli(ctx, []string{"WAYBILL_SERVER=" + url, "WAYBILL_TOKEN=" + token}, "get", "j-1")
	if err != nil || code != 0 || !strings.Contains(out, "COMPLETED") {
		s.amiss("after a restart of the container the job is not there: exit %d: %s (%v)", code, out, err)
	}
	fmt.Printf("  after a restart, %.1f s with the stop, the job is still there\n", time.Since(began).Seconds())
	return nil
}

// stops stops a container, which has to end by itself.
func (s *scenario) stops(ctx context.Context, name string) error {
	began := time.Now()
	if _, err := s.docker(ctx, "stop", "--time", "30", name); err != nil {
		return err
	}
	took := time.Since(began)
	code, out, err := s.ended(ctx, name)
	if err == nil && (code != 0 || took > stopWithin) {
		s.amiss("%s: docker stop took %s, exit %d: %s", name, took, code, out)
	}
	return err
}

// jobs are those that a server shows.
type jobs struct {
	Items []struct {
		ID    string `json:"id"`
		Type  string `json:"type"`
		State string `json:"state"`
	} `json:"items"`
}

// pipelineAsItIs starts the pipeline's image without a word, where its services are not
// there, and asks on port 8089 how it is going.
func (s *scenario) pipelineAsItIs(ctx context.Context) error {
	began := time.Now()
	name, err := s.start(ctx, "pipeline", "--publish", "127.0.0.1::8089", s.pipeline)
	if err != nil {
		return err
	}
	url, err := s.published(ctx, name, 8089)
	if err == nil {
		err = s.ready(ctx, name, url)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errors.New("the pipeline has not started by itself"))
	defer cancel()
	for {
		var l jobs
		if err := api.New(url).Insist(ctx, http.MethodGet, "/v1/jobs", nil, &l); err != nil {
			return err
		}
		if len(l.Items) > 0 {
			if len(l.Items) != 1 || l.Items[0].Type != "repository-pipeline" {
				s.amiss("the pipeline's container shows %v, want one job of type repository-pipeline", l.Items)
			}
			break
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	fmt.Printf("  the pipeline's image runs the pipeline by itself: shown on port 8089 after %.1f s\n", time.Since(began).Seconds())
	_, err = s.docker(ctx, "stop", "--time", "30", name)
	return err
}

// pipelineEnds runs the pipeline's image with services that answer, and with one that
// refuses.
func (s *scenario) pipelineEnds(ctx context.Context) error {
	for _, c := range []struct {
		name   string
		upload int // the status of the second service's answer
		code   int
		says   []string
	}{
		{"well", http.StatusOK, 0, []string{"COMPLETED", "c-1 is Parquet now"}},
		{"refused", http.StatusForbidden, 1, []string{"ERROR", "upload", "403"}},
	} {
		url, stop, err := services(ctx, c.upload)
		if err != nil {
			return err
		}
		code, out, err := s.pipelineWith(ctx, c.name, url)
		stop()
		if err != nil {
			return err
		}
		if code != c.code {
			s.amiss("pipeline %s: exit %d, want %d: %s", c.name, code, c.code, out)
		}
		for _, text := range c.says {
			if !strings.Contains(out, text) {
				s.amiss("pipeline %s: the output has no %q: %s", c.name, text, out)
			}
		}
		fmt.Printf("  the pipeline's container with services, %s: exit %d\n", c.name, code)
	}
	return nil
}

// pipelineWith runs the pipeline with services on this machine's loopback, and on the
// environment of pipeline.yaml but for where they are.
func (s *scenario) pipelineWith(ctx context.Context, name, url string) (code int, out string, err error) {
	listen, err := process.FreeAddress()
	if err != nil {
		return 0, "", err
	}
	input, err := json.Marshal(map[string]any{
		"request": map[string]any{"repo_url": "https://example.com/repo"}, "downloader": url, "uploader": url, "transformer": url,
	})
	if err != nil {
		return 0, "", err
	}
	args := []string{"--network", "host"}
	for _, e := range append(s.pods["pipeline.yaml/repository-pipeline"].env,
		"WAYBILL_LISTEN="+listen, "WAYBILL_KAFKA_LISTEN=127.0.0.1:0", "WAYBILL_INPUT="+string(input), "WAYBILL_ALLOW=127.0.0.1:*") {
		args = append(args, "--env", e)
	}
	container, err := s.start(ctx, "pipeline-"+name, append(args, s.pipeline)...)
	if err != nil {
		return 0, "", err
	}
	return s.ended(ctx, container)
}

// services answers as the three of the pipeline do; integration/pipeline has real ones.
func services(ctx context.Context, upload int) (url string, stop func(), err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/download_repository", answer(http.StatusOK, `{"path": "/clones/1"}`))
	mux.Handle("POST /v2/repo/upload", answer(upload, `{"container_name": "c-1"}`))
	mux.Handle("POST /v3/transform-container-to-parquet", answer(http.StatusOK, `{"message": "c-1 is Parquet now"}`))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(ln) }() // until it is closed
	return "http://" + ln.Addr().String(), func() { _ = server.Close() }, nil
}
