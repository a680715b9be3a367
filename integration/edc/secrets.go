package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/schemas"
)

// secrets looks for the key of the management API, for the tokens of EDRs and for what a provisioner handed out in all that
// servers keep, say and log. Only the connectors and waybill's memory may have them.
func (s *scenario) secrets(ctx context.Context) error {
	p1 := s.peers.of[provider1]
	if err := s.completes(ctx, s.main, "secrets", root, p1, sentence); err != nil {
		return err
	}
	sought, err := s.sought(ctx)
	if err != nil {
		return err
	}
	places, size := 0, 0
	for _, srv := range append([]*server{s.main}, s.also...) {
		told, err := srv.all(ctx)
		if err != nil {
			return err
		}
		for where, b := range told {
			places, size = places+1, size+len(b)
			for what, clear := range sought {
				if bytes.Contains(b, []byte(clear)) {
					s.wrong.Add("%s stands in the clear in %s", what, where)
				}
			}
		}
		for _, where := range []string{transfersPath, "topic " + srv.cfg.Topics().Events(schemas.AggregateTransfer), filepath.Join(srv.dir, "projections.db")} {
			if !bytes.Contains(told[where], []byte(root)) { // which is no secret
				s.wrong.Add("%s does not even say %s: what was searched is not what is kept", where, root)
			}
		}
	}
	fmt.Printf("  %d secrets sought in %d places, %d KiB\n", len(sought), places, size>>10)
	return s.main.start(ctx)
}

// transfersPath is one of the places.
const transfersPath = "GET /v1/transfers?limit=200"

// all is what a server says and keeps, by place. It is stopped for that.
func (srv *server) all(ctx context.Context) (map[string][]byte, error) {
	all, err := srv.told(ctx)
	if err != nil {
		return nil, err
	}
	records, err := srv.logged(ctx)
	if err != nil {
		return nil, err
	}
	maps.Copy(all, records)
	if err := srv.stop(); err != nil { // so that SQLite has written all of it
		return nil, err
	}
	files, err := kept(filepath.Dir(srv.dir))
	maps.Copy(all, files)
	return all, err
}

// sought are the secrets: what to call each, and what it is.
func (s *scenario) sought(ctx context.Context) (map[string]string, error) {
	c := s.peers.of[consumer]
	sought := map[string]string{"the API key": c.APIKey, "the key of a provisioned place": s.apiKeyJWT}
	var entries []struct {
		ID string `json:"transferProcessId"`
	}
	if err := manage(ctx, c, http.MethodPost, "/v3/edrs/request", `{"@context":{"@vocab":"https://w3id.org/edc/v0.0.1/ns/"},"@type":"QuerySpec","limit":500}`, &entries); err != nil {
		return nil, err
	}
	for _, e := range entries {
		var address struct {
			Authorization string `json:"authorization"`
		}
		if err := manage(ctx, c, http.MethodGet, "/v3/edrs/"+e.ID+"/dataaddress", "", &address); err != nil {
			return nil, err
		}
		// The signature alone: whoever cuts a token or decodes its beginning is found too.
		sought["the token of EDR "+e.ID] = address.Authorization[strings.LastIndexByte(address.Authorization, '.')+1:]
	}
	if len(sought) < 5 {
		return nil, fmt.Errorf("the consumer has the EDRs %v, want those of the tree at least", entries)
	}
	return sought, nil
}

// manage asks the management API of a connector.
func manage(ctx context.Context, c connector, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.ManagementURL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Api-Key", c.APIKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s of %s: %s", method, path, c.Name, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// told is all that the HTTP interface says, by path.
func (srv *server) told(ctx context.Context) (map[string][]byte, error) {
	told := map[string][]byte{}
	get := func(path string) (json.RawMessage, error) {
		var b json.RawMessage
		err := srv.api.Insist(ctx, http.MethodGet, path, nil, &b)
		told["GET "+path] = b
		return b, err
	}
	for _, list := range []string{"/v1/jobs", "/v1/transfers", "/v1/negotiations"} {
		b, err := get(list + "?limit=200")
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []struct {
				ID string `json:"id"`
			} `json:"items"`
		}
		if err := json.Unmarshal(b, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			paths := []string{list + "/" + item.ID}
			if list == "/v1/jobs" {
				paths = append(paths, paths[0]+"/events?all=true&limit=500")
			}
			for _, path := range paths {
				if _, err := get(path); err != nil {
					return nil, err
				}
			}
		}
	}
	return told, nil
}

// logged is every record of every topic, by topic.
func (srv *server) logged(ctx context.Context) (map[string][]byte, error) {
	client, err := srv.cfg.NewClient()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		if !strings.HasPrefix(topic, srv.cfg.Prefix+".") {
			continue // somebody else's
		}
		records, err := audit.Read(ctx, srv.cfg.Brokers, topic)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		for _, r := range records {
			fmt.Fprintln(&b, r.Key, r.Value)
		}
		all["topic "+topic] = b.Bytes()
	}
	return all, nil
}

// kept is every file below a directory: the data, the configuration, and what was printed.
func kept(dir string) (map[string][]byte, error) {
	all := map[string][]byte{}
	return all, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		all[path], err = os.ReadFile(path) //nolint:gosec // a directory of ours
		return err
	})
}
