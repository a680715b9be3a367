package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// docker runs the command line client and returns what it printed, on both streams.
func (s *scenario) docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput() //nolint:gosec // of ours
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return text, nil
}

// hardened is what the manifests ask for, in Docker's words.
var hardened = []string{"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"}

// start starts a container in the background and returns its name.
func (s *scenario) start(ctx context.Context, name string, args ...string) (string, error) {
	name = fmt.Sprintf("waybill-%s-%d", name, time.Now().UnixNano())
	s.containers = append(s.containers, name)
	_, err := s.docker(ctx, append(append([]string{"run", "--detach", "--name", name}, hardened...), args...)...)
	return name, err
}

// clean removes what was started, with its volumes.
func (s *scenario) clean(ctx context.Context) {
	for _, name := range s.containers {
		// Whatever is left after that goes with the engine, or shows in its list.
		_, _ = s.docker(context.WithoutCancel(ctx), "rm", "--force", "--volumes", name)
	}
}

// published is the address of this machine at which a container's port is reached.
func (s *scenario) published(ctx context.Context, name string, port int) (string, error) {
	out, err := s.docker(ctx, "port", name, strconv.Itoa(port))
	if err != nil {
		return "", err
	}
	address, _, _ := strings.Cut(out, "\n")
	return "http://" + address, nil
}

// ended waits until a container has ended and returns its exit code and its output.
func (s *scenario) ended(ctx context.Context, name string) (code int, output string, err error) {
	out, err := s.docker(ctx, "wait", name)
	if err != nil {
		return 0, "", err
	}
	if code, err = strconv.Atoi(out); err != nil {
		return 0, "", fmt.Errorf("docker wait %s: %w", name, err)
	}
	output, err = s.docker(ctx, "logs", name)
	return code, output, err
}

// ready waits until the server in a container is, or the container has ended.
func (s *scenario) ready(ctx context.Context, name, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("%s was not ready within %s", name, readyWithin))
	defer cancel()
	c := api.New(url)
	for {
		if c.Once(ctx, http.MethodGet, "/readyz", nil, nil) == nil {
			return nil
		}
		if state, err := s.docker(ctx, "inspect", "--format", "{{.State.Running}}", name); err == nil && state == "false" {
			logs, err := s.docker(ctx, "logs", name)
			return errors.Join(fmt.Errorf("%s has ended: %s", name, logs), err)
		}
		if err := api.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// cli runs the program on this machine as a user would.
func (s *scenario) cli(ctx context.Context, env []string, args ...string) (out string, code int, err error) {
	cmd := exec.CommandContext(ctx, s.waybill, args...) //nolint:gosec // what the script has built
	cmd.Env = env
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		return strings.TrimSpace(string(b)), cmd.ProcessState.ExitCode(), nil
	}
	return string(b), 0, err
}
