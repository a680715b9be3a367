package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// destination is where a push is to go to.
type destination map[string]string

// UnmarshalJSON takes the members that are text.
func (d *destination) UnmarshalJSON(raw []byte) error {
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	*d = destination{}
	for name, v := range members {
		if text, ok := v.(string); ok && !strings.HasPrefix(name, "@") {
			(*d)[strings.TrimPrefix(strings.TrimPrefix(name, nsEDC), "edc:")] = text
		}
	}
	return nil
}

// MarshalJSON writes it as a data address.
func (d destination) MarshalJSON() ([]byte, error) {
	out := map[string]string{"@type": "DataAddress"}
	for name, v := range d {
		out[name] = v
	}
	return json.Marshal(out)
}

// pushTimeout is how long a sink may take.
const pushTimeout = 30 * time.Second

// push sends the document to where the client wants it; the transfer is COMPLETED when that
// is answered with 2xx, else the provider ends it.
func (c *Connector) push(t *transfer) {
	if t.pushing {
		return
	}
	t.pushing = true
	a, to, turn, p := t.agreement.asset, t.destination, t.turn, t.provider
	c.pushes.Go(func() {
		ok := !a.Broken && pushTo(c.ctx, to, a)
		c.mu.Lock()
		defer c.mu.Unlock()
		t.pushing = false
		r := resumption{t, turn, endIt}
		if ok {
			if p.counts.Pushed == nil {
				p.counts.Pushed = map[string]int{}
			}
			p.counts.Pushed[a.ID]++
			r.how = done
		}
		c.due(r)
	})
}

// pushed completes a transfer.
func (c *Connector) pushed(m machine) {
	if t, ok := m.(*transfer); ok && c.hear(t) {
		c.over(t, TransferCompleted)
	}
}

// pushTo says whether the sink has taken the document.
func pushTo(ctx context.Context, to destination, a *asset) bool {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	method := to["method"]
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, to["baseUrl"]+to["path"], bytes.NewReader(a.Document))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", a.ContentType)
	for name, value := range to {
		if header, ok := strings.CutPrefix(name, "header:"); ok {
			req.Header.Set(header, value)
		}
	}
	if to["authKey"] != "" {
		req.Header.Set(to["authKey"], to["authCode"])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	status, err := exchange(client, req)
	return err == nil && status/100 == 2
}

// exchange sends a request and reads the answer away, so that the connection can be used
// again.
func exchange(client *http.Client, req *http.Request) (int, error) {
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, nil
}
