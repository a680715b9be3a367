package provisioners

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/waybill/waybill/consumers/connectors/adapter"
	"github.com/waybill/waybill/internal/outbound"
	"github.com/waybill/waybill/internal/redact"
	"github.com/waybill/waybill/internal/seal"
)

// dataAddress is EDC's: names, without their namespace, and texts.
type dataAddress map[string]string

// UnmarshalJSON reads both forms: flat, and with everything under properties.
func (d *dataAddress) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return errors.New("a data address is an object")
	}
	*d = dataAddress{}
	d.take(members)
	var properties map[string]json.RawMessage
	if json.Unmarshal(members["properties"], &properties) == nil {
		delete(*d, "properties")
		d.take(properties)
	}
	return nil
}

func (d *dataAddress) take(members map[string]json.RawMessage) {
	for name, value := range members {
		if i := strings.LastIndexAny(name, "/#:"); i >= 0 {
			name = name[i+1:]
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		(*d)[name] = text
	}
}

// others reads what has landed where another system says that it is.
type others struct {
	hosts  *outbound.Hosts
	client *http.Client
	limits outbound.Limits
	stores []*objects
}

func (o *others) read(ctx context.Context, d dataAddress, token string) (adapter.Document, error) {
	switch typ := d["type"]; typ {
	case "HttpData":
		return o.get(ctx, d, token)
	case amazonS3:
		for _, store := range o.stores {
			if store.settings.Bucket == d["bucketName"] {
				return store.read(ctx, place(d))
			}
		}
		return unreadable("no provisioner of this process has the bucket %q: add one with adapter s3", d["bucketName"])
	default:
		return unreadable("the data address is of type %q; HttpData and %s can be read", typ, amazonS3)
	}
}

func unreadable(format string, args ...any) (adapter.Document, error) {
	return adapter.Document{}, &adapter.Fault{Step: adapter.StepAddress, Err: fmt.Errorf(format, args...)}
}

// get gets a document by HTTP: with the header that the data address names, else with the
// token that came with it.
func (o *others) get(ctx context.Context, d dataAddress, token string) (adapter.Document, error) {
	u, err := url.Parse(d["baseUrl"])
	if err != nil || u.Host == "" {
		return unreadable("the data address has no baseUrl that can be called")
	}
	if path := d["path"]; path != "" {
		u = u.JoinPath(path)
	}
	if err := o.hosts.Check(u); err != nil {
		return unreadable("%w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return unreadable("the data address cannot be called")
	}
	req.Header.Set("User-Agent", "waybill")
	name, value := "Authorization", ""
	switch {
	case d["authKey"] != "" && d["authCode"] != "":
		name, value = d["authKey"], d["authCode"]
	case token != "":
		value = "Bearer " + token
	}
	if value != "" {
		req.Header.Set(name, value)
	}
	answer, failed := o.limits.Do(o.keeping(name), req)
	if failed == nil {
		failed = answer.Refusal()
	}
	hidden := redact.Sent(seal.Redacted, d["authCode"], token)
	if failed != nil {
		failed.Err = hidden.Error(failed.Err)
		return adapter.Document{}, faultOf(stepCollect, "GET "+shown(u), failed)
	}
	return adapter.Document{Body: hidden.Bytes(answer.Body), ContentType: hidden.Text(answer.Header.Get("Content-Type")), Source: shown(u)}, nil
}

// keeping is a client that carries a header no further than to the host that it is for: only those that
// everybody knows are left behind on a redirect otherwise.
func (o *others) keeping(header string) *http.Client {
	client := *o.client
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
			req.Header.Del(header)
		}
		return o.client.CheckRedirect(req, via)
	}
	return &client
}

// shown is an address without what may be secret in it.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host }

// faultOf makes a Fault of one of the connection or of the answer.
func faultOf(step, doing string, f *outbound.Fault) *adapter.Fault {
	if f.Address {
		step = adapter.StepAddress
	}
	return &adapter.Fault{Step: step, Err: fmt.Errorf("%s: %w", doing, f), Again: f.Again, After: f.After}
}
