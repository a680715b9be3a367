package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
)

// tool is the script that looks after the connectors, from the root of the module.
const tool = "integration/edc/connectors/edc"

const consumer, provider1, provider2, provider3 = "consumer", "provider1", "provider2", "provider3"

// connector is one of them, as connectors.json describes it.
type connector struct {
	Name          string `json:"name"`
	ParticipantID string `json:"participantId"`
	ManagementURL string `json:"managementUrl"`
	APIKey        string `json:"apiKey"`
	Protocol      string `json:"protocol"`
	ProtocolURL   string `json:"protocolUrl"`
}

// connectors are a consumer, three providers, and the backend with their documents.
type connectors struct {
	dir     string
	many    int // documents called generated-0 and on, beside the tree
	backend string
	of      map[string]connector
}

// startConnectors starts and seeds them. Stop them even if that fails.
func (s *scenario) startConnectors(ctx context.Context, name string, many int, more ...string) (*connectors, error) {
	c := &connectors{dir: filepath.Join(s.dir, name), many: many, of: map[string]connector{}}
	if err := errors.Join(os.Mkdir(c.dir, 0o700), s.leave(c.dir)); err != nil {
		return c, err
	}
	began := time.Now()
	if _, err := c.tool(ctx, append([]string{"start"}, more...)...); err != nil {
		return c, err
	}
	b, err := os.ReadFile(filepath.Join(c.dir, "connectors.json"))
	if err != nil {
		return c, err
	}
	var described struct {
		BackendURL string      `json:"backendUrl"`
		Connectors []connector `json:"connectors"`
	}
	if err := json.Unmarshal(b, &described); err != nil {
		return c, fmt.Errorf("connectors.json: %w", err)
	}
	c.backend = described.BackendURL
	for _, found := range described.Connectors {
		c.of[found.Name] = found
	}
	if err := c.seed(ctx); err != nil {
		return c, err
	}
	fmt.Printf("  the connectors were ready and seeded after %.1f s\n", time.Since(began).Seconds())
	return c, nil
}

// leave tells whoever has started this program where connectors run, in case it cannot stop them.
func (s *scenario) leave(dir string) error {
	if s.started == "" {
		return nil
	}
	f, err := os.OpenFile(s.started, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, dir)
	return errors.Join(err, f.Close())
}

// tool runs a command of the script.
func (c *connectors) tool(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "bash", append(append([]string{tool}, args...), "--dir", c.dir)...) //nolint:gosec // of ours
	// So that what it has started by then is ended by it, too.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("edc %v: %w: %s", args, err, errs.Bytes())
	}
	return out.Bytes(), nil
}

// seed registers the documents, again where a connector has forgotten them.
func (c *connectors) seed(ctx context.Context) error {
	_, err := c.tool(ctx, "seed", "--many", strconv.Itoa(c.many))
	return err
}

// restart ends a connector and starts it again: it has lost all it knew but its documents.
func (c *connectors) restart(ctx context.Context, name string) error {
	if _, err := c.tool(ctx, "restart", name); err != nil {
		return err
	}
	return c.seed(ctx)
}

func (c *connectors) pause(ctx context.Context, name string) error {
	_, err := c.tool(ctx, "pause", name)
	return err
}

func (c *connectors) resume(ctx context.Context, name string) error {
	_, err := c.tool(ctx, "resume", name)
	return err
}

// stop ends all of them, whatever has happened to ctx.
func (c *connectors) stop(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dir, "run")); err != nil {
		return nil // nothing was started
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, err := c.tool(ctx, "stop")
	return err
}

// release lets those go on who wait for held-document.
func (c *connectors) release(ctx context.Context) error {
	return api.New(c.backend).Once(ctx, http.MethodPost, "/release", []byte("{}"), nil)
}

// books are what one connector has in its own.
type books struct {
	Negotiations        map[string]int `json:"negotiations"` // by state
	NegotiationsByAsset map[string]int `json:"negotiationsByAsset"`
	Agreements          int            `json:"agreements"`
	Transfers           map[string]int `json:"transfers"` // by state
	TransfersByAsset    map[string]int `json:"transfersByAsset"`
}

// counts are what the connectors and their backend have seen.
type counts struct {
	of      map[string]books
	Fetched map[string]int // GETs by document
	Waiting int            // resources to be provisioned, until they are released
}

// counts asks all of them.
func (c *connectors) counts(ctx context.Context) (*counts, error) {
	out, err := c.tool(ctx, "counts")
	if err != nil {
		return nil, err
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(out, &raw); err != nil {
		return nil, err
	}
	found := &counts{of: map[string]books{}}
	for name, of := range raw {
		if name == "backend" {
			b := struct {
				Documents map[string]int `json:"documents"`
				Waiting   int            `json:"waiting"`
			}{}
			if err := json.Unmarshal(of, &b); err != nil {
				return nil, err
			}
			found.Fetched, found.Waiting = b.Documents, b.Waiting
			continue
		}
		var b books
		if err := json.Unmarshal(of, &b); err != nil {
			return nil, err
		}
		found.of[name] = b
	}
	return found, nil
}

// negotiated is how many negotiations the providers have seen, by asset.
func (n *counts) negotiated() map[string]int {
	all := map[string]int{}
	for name, b := range n.of {
		if name != consumer {
			for asset, k := range b.NegotiationsByAsset {
				all[asset] += k
			}
		}
	}
	return all
}

// since is what has been added between two counts, without what has not changed.
func since(before, after map[string]int) map[string]int {
	diff := map[string]int{}
	for k, n := range after {
		if n != before[k] {
			diff[k] = n - before[k]
		}
	}
	return diff
}
