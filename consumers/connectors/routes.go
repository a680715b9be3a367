package connectors

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/waybill/waybill/domain/partstree"
	"github.com/waybill/waybill/internal/outbound"
)

// Routes find the connector for a provider. They are the same in every process with the same
// configuration.
type Routes struct {
	routes       []route
	participants map[string]string
}

type route struct {
	name, adapter string
	match         []pattern
}

// Route is how a provider is spoken with.
type Route struct {
	Connector      string // empty: through none, as far as its host is allowed
	Adapter        string
	Provider       string // its address, normalised
	CounterPartyID string // where it is configured
}

// NewRoutes checks a configuration and makes its Routes.
func NewRoutes(cfg Config) (*Routes, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	r := &Routes{participants: make(map[string]string, len(cfg.Participants))}
	for _, k := range cfg.Connectors {
		match, err := patterns(k.Match)
		if err != nil {
			return nil, err
		}
		r.routes = append(r.routes, route{k.Name, k.Adapter, match})
	}
	for address, id := range cfg.Participants {
		normalised, err := partstree.NormalizeURL(address)
		if err != nil {
			return nil, err
		}
		r.participants[normalised] = id
	}
	return r, nil
}

// Find says how to speak with a provider: through the first connector that matches, else
// plainly. An error is about the address.
func (r *Routes) Find(provider string) (Route, error) {
	address, err := partstree.NormalizeURL(provider)
	if err != nil {
		return Route{}, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return Route{}, err
	}
	found := Route{Adapter: AdapterHTTP, Provider: address, CounterPartyID: r.participants[address]}
	if i := slices.IndexFunc(r.routes, func(k route) bool { return fit(k.match, u) }); i >= 0 {
		found.Connector, found.Adapter = r.routes[i].name, r.routes[i].adapter
	}
	return found, nil
}

// pattern matches addresses; a member that is * matches any.
type pattern struct{ scheme, host, port, path string }

func patterns(texts []string) ([]pattern, error) {
	list := make([]pattern, 0, len(texts))
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func parsePattern(text string) (pattern, error) {
	if text == "*" {
		return pattern{"*", "*", "*", ""}, nil
	}
	wrong := fmt.Errorf("match %q: want SCHEME://HOST[:PORT][/PATH], with * for any host or port, or *", text)
	scheme, rest, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" || strings.ContainsAny(rest, "?#@ ") {
		return pattern{}, wrong
	}
	authority, path, _ := strings.Cut(rest, "/")
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.Trim(authority, "[]"), ""
	}
	if path = strings.TrimRight(path, "/"); path != "" {
		path = "/" + path
	}
	p := pattern{scheme, strings.ToLower(host), port, path}
	if p.port == "" {
		p.port = outbound.Port(&url.URL{Scheme: scheme})
	}
	if p.host == "" || p.host != "*" && strings.Contains(p.host, "*") || p.port != "*" && strings.Trim(p.port, "0123456789") != "" || strings.Contains(path, "*") {
		return pattern{}, wrong
	}
	return p, nil
}

// fit says whether one of them matches.
func fit(match []pattern, u *url.URL) bool {
	return slices.ContainsFunc(match, func(p pattern) bool { return p.fits(u) })
}

func (p pattern) fits(u *url.URL) bool {
	is := func(want, got string) bool { return want == "*" || strings.EqualFold(want, got) }
	path := u.EscapedPath()
	return is(p.scheme, u.Scheme) && is(p.host, u.Hostname()) && is(p.port, outbound.Port(u)) &&
		(p.path == "" || path == p.path || strings.HasPrefix(path, p.path+"/"))
}
