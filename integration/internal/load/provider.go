package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Providers are three plain providers of documents. They stay up while all else is
// killed.
type Providers struct {
	urls    []string
	servers []*http.Server

	mu        sync.Mutex
	documents map[string]string // path -> JSON
	flaky     map[string]int    // path -> how often it still answers 503
	asked     map[string]int
}

// Hosts lists the providers as --allow wants them.
func (p *Providers) Hosts() []string {
	hosts := make([]string, len(p.urls))
	for i, u := range p.urls {
		hosts[i] = strings.TrimPrefix(u, "http://")
	}
	return hosts
}

// Asked is how many requests there were, for how many documents.
func (p *Providers) Asked() (requests, documents int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.asked {
		requests += n
	}
	return requests, len(p.asked)
}

// Close stops the providers.
func (p *Providers) Close() {
	for _, s := range p.servers {
		_ = s.Close() // whoever still reads is not waited for
	}
}

func startProviders(ctx context.Context) (*Providers, error) {
	p := &Providers{documents: map[string]string{}, flaky: map[string]int{}, asked: map[string]int{}}
	for range 3 {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			p.Close()
			return nil, err
		}
		server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
		p.urls, p.servers = append(p.urls, "http://"+ln.Addr().String()), append(p.servers, server)
		go func() { _ = server.Serve(ln) }() // until it is closed
	}
	return p, nil
}

// ServeHTTP implements http.Handler.
func (p *Providers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	p.mu.Lock()
	doc, ok := p.documents[name]
	p.asked[name]++
	broken := p.flaky[name] > 0
	if broken {
		p.flaky[name]--
	}
	p.mu.Unlock()
	select { // long enough to be killed in
	case <-r.Context().Done():
		return
	case <-time.After(rand.N(40 * time.Millisecond)): //nolint:gosec // a delay, no secret
	}
	switch {
	case broken:
		http.Error(w, "not now", http.StatusServiceUnavailable)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, doc)
	}
}

type transfer struct {
	File         string `json:"file"`
	ConnectorURL string `json:"connectorUrl"`
}

type document struct {
	Value             string     `json:"value"`
	TransferProcesses []transfer `json:"transferProcesses"`
}

// grow makes a tree of documents and returns its root, and the values depth first.
func (p *Providers) grow(rnd *rand.Rand, name string, depth int) (transfer, []string, error) {
	d := document{Value: name}
	values := []string{name}
	if depth > 0 {
		for i := range 1 + rnd.IntN(3) {
			child, below, err := p.grow(rnd, fmt.Sprintf("%s.%d", name, i), depth-1)
			if err != nil {
				return transfer{}, nil, err
			}
			d.TransferProcesses = append(d.TransferProcesses, child)
			values = append(values, below...)
		}
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return transfer{}, nil, err
	}
	p.mu.Lock()
	p.documents[name] = string(raw)
	if rnd.IntN(20) == 0 {
		p.flaky[name] = 1
	}
	p.mu.Unlock()
	return transfer{name, p.urls[rnd.IntN(len(p.urls))]}, values, nil
}
