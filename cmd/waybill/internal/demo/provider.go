package demo

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"text/template"
	"time"
)

// Each provider's folder. The providers' addresses are only known once they listen, so a
// document names them like {{.provider2}}.
//
//go:embed documents
var documents embed.FS

// providerNames lists the providers; each has a folder of this name.
func providerNames() []string { return []string{"provider1", "provider2", "provider3"} }

// provider is a plain provider: it answers GET /<file> from its folder.
type provider struct {
	name, url, dir string
	delay          time.Duration
	broken         bool
	asked          atomic.Int64

	server   *http.Server
	listener net.Listener
	done     chan struct{}
}

// startProviders starts all providers on free ports. The caller closes them; after an
// error there are none.
func startProviders(ctx context.Context, dir string, o Options) (_ []*provider, err error) {
	var all []*provider
	defer func() {
		if err != nil {
			closeProviders(all)
		}
	}()
	addresses := map[string]string{}
	for _, name := range providerNames() {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p := &provider{
			name: name, url: "http://" + ln.Addr().String(), dir: filepath.Join(dir, name),
			delay: o.Delay, broken: name == o.Fail, listener: ln, done: make(chan struct{}),
		}
		addresses[name] = p.url
		all = append(all, p)
		p.serve()
	}
	for _, p := range all {
		if err := p.fill(addresses); err != nil {
			return nil, fmt.Errorf("the documents of %s: %w", p.name, err)
		}
	}
	return all, nil
}

func closeProviders(all []*provider) {
	for _, p := range all {
		// Whoever still reads is an attempt that nobody waits for.
		_ = p.server.Close()
		<-p.done
	}
}

// fill writes the folder, with the real addresses in its documents.
func (p *provider) fill(addresses map[string]string) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	folder, err := fs.Sub(documents, "documents/"+p.name)
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		t, err := template.New(e.Name()).Option("missingkey=error").ParseFS(folder, e.Name())
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, addresses); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.dir, e.Name()), b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (p *provider) serve() {
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(discard{}, "", 0), // a client that has gone is no news
	}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(p.listener) // until it is closed
	}()
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func (p *provider) handler() http.Handler {
	files := http.FileServer(http.Dir(p.dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		select {
		case <-r.Context().Done():
			return
		case <-time.After(p.delay):
		}
		if p.broken {
			http.Error(w, p.name+" is out of order, as --fail asked for", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		files.ServeHTTP(w, r)
	})
}
