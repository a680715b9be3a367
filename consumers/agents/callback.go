package agents

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/internal/outbound"
)

// SignatureHeader carries, where a key is set, "sha256=" and the hexadecimal HMAC-SHA256 of
// the body under that key.
const SignatureHeader = "Waybill-Signature"

// Callback tells a URL of an end: the record of the completions topic as a CloudEvents HTTP
// request in binary mode. Whatever is not answered with 2xx is tried again until the
// activity's deadline.
type Callback struct {
	hosts  *outbound.Hosts
	key    []byte
	client *http.Client
}

// NewCallback makes a Callback that calls only those hosts and signs with key, if there is one.
func NewCallback(hosts *outbound.Hosts, key []byte, concurrency int) *Callback {
	return &Callback{hosts: hosts, key: key, client: hosts.Client(max(concurrency, 1))}
}

// Process implements agent.Processor.
func (c *Callback) Process(ctx context.Context, a agent.Activity) agent.Result {
	var in struct {
		URL     string          `json:"url"`
		ID      string          `json:"id"`
		Type    string          `json:"type"`
		Subject string          `json:"subject"`
		Time    string          `json:"time"`
		Data    json.RawMessage `json:"data"`
	}
	if err := a.Input.Decode(&in); err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	u, err := url.Parse(in.URL)
	if err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	if err := c.hosts.Check(u); err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, outbound.DefaultTimeout, fmt.Errorf("not answered within %s", outbound.DefaultTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(in.Data))
	if err != nil {
		return agent.Fatal(err).AtStep("address")
	}
	for k, v := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "waybill", "Idempotency-Key": a.IdempotencyKey,
		"Ce-Specversion": "1.0", "Ce-Source": "/waybill/orchestration",
		"Ce-Id": in.ID, "Ce-Type": in.Type, "Ce-Subject": in.Subject, "Ce-Time": in.Time,
	} {
		req.Header.Set(k, v)
	}
	if len(c.key) > 0 {
		mac := hmac.New(sha256.New, c.key)
		mac.Write(in.Data)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	return c.deliver(ctx, req)
}

func (c *Callback) deliver(ctx context.Context, req *http.Request) agent.Result {
	again := func(err error) agent.Result {
		// The address may carry a secret of its owner: its path and query are not shown.
		return agent.Retry(fmt.Errorf("POST %s://%s: %w", req.URL.Scheme, req.URL.Host, err)).AtStep("deliver")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return again(cause)
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return again(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return again(err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return again(fmt.Errorf("it answers %s", resp.Status))
	}
	return agent.Complete(map[string]int{"status": resp.StatusCode})
}
