package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// pushes has the provider send a document to an upload address of ours, twice: negotiated once.
func (s *scenario) pushes(ctx context.Context) error {
	srv, err := s.serve(ctx, "push", s.peers, nil)
	if err != nil {
		return err
	}
	negotiated := map[string]int{root: 1}
	for _, id := range []string{"push-1", "push-2"} {
		err := s.counted(ctx, "a push to an upload address", negotiated, map[string]int{root: 1}, func(ctx context.Context) error {
			err := srv.initiate(ctx, id, map[string]any{
				"provider": s.peers.of[provider1].ProtocolURL, "assetId": root, "transferType": "HttpData-PUSH",
				"manifest": map[string]any{"definitions": []map[string]string{{"id": "landing", "type": "local"}}},
			})
			if err != nil {
				return err
			}
			found, err := srv.reach(ctx, id, "DEPROVISIONED")
			if err != nil {
				return err
			}
			var document struct {
				Value string `json:"value"`
			}
			if err := json.Unmarshal(found.Output, &document); err != nil || document.Value != "The quick" || found.Outcome != "completed" {
				s.wrong.Add("%s: outcome %q (%s), its document is %s", id, found.Outcome, found.Reason, found.Output)
			}
			return nil
		})
		if err != nil {
			return err
		}
		negotiated = nil
	}
	return srv.stop()
}

// provisionerType is what manifests call the provisioner.
const provisionerType = "landing.example"

// provisioner makes places for others to push to, as EDC's HTTP provisioner does, and says so later.
type provisioner struct {
	url    string
	server *http.Server
	place  *sink

	mu    sync.Mutex
	asked []asked
	fault error
}

// asked is what it is asked for.
type asked struct {
	AssetID              string `json:"assetId"`
	TransferProcessID    string `json:"transferProcessId"`
	CallbackAddress      string `json:"callbackAddress"`
	ResourceDefinitionID string `json:"resourceDefinitionId"`
	Type                 string `json:"type"`
}

func (l *sinks) provision(ctx context.Context) (*provisioner, error) {
	place, err := l.hold(ctx)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &provisioner{url: "http://" + ln.Addr().String() + "/", place: place}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	l.more = append(l.more, p.server)
	go func() { _ = p.server.Serve(ln) }() // until it is closed
	return p, nil
}

// ServeHTTP takes requests; those to take a place away are reported at once.
func (p *provisioner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a asked
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, a)
	p.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	if a.Type == "deprovision" {
		go p.report(context.WithoutCancel(r.Context()), a, map[string]any{"provisionedResourceId": a.ResourceDefinitionID, "inProcess": false, "error": false})
	}
}

// times is how often it was asked for something.
func (p *provisioner) times(typ string) (n int, last asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked {
		if a.Type == typ {
			n, last = n+1, a
		}
	}
	return n, last
}

// report calls back.
func (p *provisioner) report(ctx context.Context, a asked, body map[string]any) {
	err := call(ctx, a.CallbackAddress+"/"+a.TransferProcessID+"/"+a.Type, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.fault = err
	}
}

func call(ctx context.Context, url string, body map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // what there is of it
		return fmt.Errorf("a callback is answered with %s: %s", resp.Status, said)
	}
	return nil
}

// inProvisioning is a push whose place is still being made.
func (s *scenario) inProvisioning(p *provisioner) situation {
	return situation{"PROVISIONING_REQUESTED", func(ctx context.Context, srv *server, id string) (finish, error) {
		err := srv.initiate(ctx, id, map[string]any{
			"provider": s.peers.of[provider1].ProtocolURL, "assetId": root, "transferType": "HttpData-PUSH",
			"manifest": map[string]any{"definitions": []map[string]string{{"id": "landing", "type": provisionerType}}},
		})
		if err != nil {
			return nil, err
		}
		_, err = srv.reach(ctx, id, "PROVISIONING_REQUESTED")
		return func(ctx context.Context) (verdict, error) { return s.provisioned(ctx, srv, p, id) }, err
	}}
}

// provisioned reports the place, and waits until it was filled and is taken away.
func (s *scenario) provisioned(ctx context.Context, srv *server, p *provisioner, id string) (verdict, error) {
	_, a := p.times("provision")
	p.place.release()
	p.report(ctx, a, map[string]any{
		"resourceDefinitionId": a.ResourceDefinitionID, "assetId": a.AssetID, "resourceName": "a place", "apiKeyJwt": s.apiKeyJWT, "hasToken": true,
		"contentDataAddress": map[string]any{"properties": map[string]string{"type": "HttpData", "baseUrl": p.place.url}},
	})
	found, err := srv.reach(ctx, id, "DEPROVISIONED")
	if err != nil {
		return verdict{}, err
	}
	made, _ := p.times("provision")
	gone, _ := p.times("deprovision")
	p.mu.Lock()
	defer p.mu.Unlock()
	if made != 1 || gone != 1 || p.fault != nil || len(p.place.pushed()) != 1 {
		s.wrong.Add("%s: asked to make %d places and to take %d away, pushed to %d times, want once each: %v", id, made, gone, len(p.place.pushed()), p.fault)
	}
	return verdict{found.Outcome == "completed", found.Reason}, nil
}
