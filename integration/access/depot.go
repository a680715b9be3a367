package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
)

// depot is a provisioner that EDC could ask as well: it accepts what it is asked for, and reports
// when the scenario says so; what is provisioned for an asset whose DEPROVISIONING_REQUESTED is
// wanted it reports at once.
type depot struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  map[string]order // the last of each asset
}

// order is a request as EDC's http-provisioner makes it.
type order struct {
	AssetID              string `json:"assetId"`
	TransferProcessID    string `json:"transferProcessId"`
	CallbackAddress      string `json:"callbackAddress"`
	ResourceDefinitionID string `json:"resourceDefinitionId"`
	Type                 string `json:"type"`
}

func newDepot(ctx context.Context) *depot {
	d := &depot{asked: map[string]order{}}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.take(ctx, w, r) }))
	return d
}

func (d *depot) url() string { return d.server.URL }
func (d *depot) close()      { d.server.Close() }

func (d *depot) take(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.asked[o.AssetID] = o
	d.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	if quick := o.AssetID == "DEPROVISIONING_REQUESTED" && o.Type == "provision" || o.AssetID == "PROVISIONING_REQUESTED" && o.Type == "deprovision"; quick {
		go func() { _ = o.report(ctx) }() // the transfer's end shows it
	}
}

// answer reports on the last that was asked of an asset.
func (d *depot) answer(ctx context.Context, asset string) error {
	d.mu.Lock()
	o, ok := d.asked[asset]
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("nobody has asked the provisioner for anything of %s", asset)
	}
	return o.report(ctx)
}

// report calls back, until somebody is there to take it.
func (o order) report(ctx context.Context) error {
	body := map[string]any{
		"resourceDefinitionId": o.ResourceDefinitionID, "assetId": o.AssetID, "resourceName": "depot-" + o.AssetID, "hasToken": true,
		"apiKeyJwt":          "a-token-of-the-depot",
		"contentDataAddress": map[string]any{"properties": map[string]string{"type": "HttpData", "baseUrl": "http://127.0.0.1:1/"}},
	}
	if o.Type == "deprovision" {
		body = map[string]any{"provisionedResourceId": o.ResourceDefinitionID}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return until(ctx, "the callback of "+o.AssetID, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.CallbackAddress+"/"+o.TransferProcessID+"/"+o.Type, bytes.NewReader(b))
		if err != nil {
			return false, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil // it is just being started
		}
		defer resp.Body.Close()
		return resp.StatusCode < 300, nil
	})
}
