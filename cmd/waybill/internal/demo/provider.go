package demo

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/waybill/waybill/internal/standin"
)

// Each provider's folder. The providers' addresses are only known once they listen, so a
// document names them like {{.provider2}}.
//
//go:embed documents
var documents embed.FS

// providerNames lists the providers; each has a folder of this name.
func providerNames() []string { return []string{"provider1", "provider2", "provider3"} }

// provider is one of the three, with a folder of documents.
type provider struct {
	name   string
	url    string // as documents and jobs name it
	dir    string
	delay  time.Duration
	broken bool
	asked  func() int // how many requests it has seen
}

// providers are all three, plain or behind a connector.
type providers struct {
	list  []*provider
	plain []*plain
	edc   *standin.Connector // nil: they are plain
}

// startProviders starts all providers on free ports. The caller closes them; after an
// error there are none.
func startProviders(ctx context.Context, dir string, o Options) (_ *providers, err error) {
	all := &providers{}
	defer func() {
		if err != nil {
			all.close()
		}
	}()
	for _, name := range providerNames() {
		all.list = append(all.list, &provider{name: name, dir: filepath.Join(dir, name), delay: o.Delay, broken: name == o.Fail})
	}
	if o.Plain {
		err = all.startPlain(ctx)
	} else {
		err = all.startConnector(ctx)
	}
	if err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, p := range all.list {
		addresses[p.name] = p.url
	}
	for _, p := range all.list {
		if err := p.fill(addresses); err != nil {
			return nil, fmt.Errorf("the documents of %s: %w", p.name, err)
		}
	}
	return all, nil
}

func (a *providers) close() {
	for _, p := range a.plain {
		// Whoever still reads is an attempt that nobody waits for.
		_ = p.server.Close()
		<-p.done
	}
	if a.edc != nil {
		a.edc.Close()
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
