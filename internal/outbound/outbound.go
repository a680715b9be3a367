package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Hosts says which hosts may be called, and makes the clients that call no others.
// An entry of the allow list is
//
//   - "provider1:8181": this host on this port,
//   - "provider1": this host on the default port of http and https,
//   - "provider1:*": this host on any port,
//   - "*": any host.
//
// An entry may begin with "http://" or "https://" and then holds for that scheme alone.
// Hosts are compared as they are written, without resolving them. Whatever is allowed,
// a connection to a link-local, multicast or unspecified address, or to one of those where
// clouds serve their metadata, is refused when it is dialled, so that no name and no
// redirect leads there.
type Hosts struct {
	any   bool
	rules []rule
	also  func(*url.URL) bool // nil: nothing
}

type rule struct{ scheme, host, port string } // an empty scheme or port means the default, "*" any port

// NotAllowedError is a host that the allow list does not have.
type NotAllowedError struct{ Host string }

// Error implements error.
func (e *NotAllowedError) Error() string {
	return fmt.Sprintf("%s is not on the list of allowed hosts; allow it with --allow %s", e.Host, e.Host)
}

// ForbiddenAddressError is an address that nobody may call.
type ForbiddenAddressError struct{ Address netip.Addr }

// Error implements error.
func (e *ForbiddenAddressError) Error() string {
	return fmt.Sprintf("%s is a link-local, metadata, multicast or unspecified address, which is never called", e.Address)
}

// New reads an allow list. Without entries nothing is allowed.
func New(allow []string) (*Hosts, error) {
	o := &Hosts{}
	for _, entry := range allow {
		if entry = strings.TrimSpace(entry); entry == "*" {
			o.any = true
			continue
		}
		r, err := parseRule(entry)
		if err != nil {
			return nil, err
		}
		o.rules = append(o.rules, r)
	}
	return o, nil
}

// Or are the same hosts and those of the URLs that fit.
func (o *Hosts) Or(fits func(*url.URL) bool) *Hosts {
	return &Hosts{any: o.any, rules: o.rules, also: fits}
}

func parseRule(entry string) (rule, error) {
	wrong := func() (rule, error) {
		return rule{}, fmt.Errorf("allowed host %q: want HOST, HOST:PORT, HOST:* or *", entry)
	}
	var r rule
	rest := strings.ToLower(entry)
	if scheme, host, ok := strings.Cut(rest, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return wrong()
		}
		r.scheme, rest = scheme, strings.TrimSuffix(host, "/")
	}
	switch {
	case strings.HasPrefix(rest, "["):
		host, port, ok := strings.Cut(rest[1:], "]")
		if !ok || port != "" && !strings.HasPrefix(port, ":") {
			return wrong()
		}
		r.host, r.port = host, strings.TrimPrefix(port, ":")
	case strings.Count(rest, ":") > 1: // an IPv6 address without brackets
		r.host = rest
	default:
		host, port, ok := strings.Cut(rest, ":")
		if ok && port == "" {
			return wrong()
		}
		r.host, r.port = host, port
	}
	if r.host == "" || strings.ContainsAny(r.host, "/*?#@ ") || strings.Trim(r.port, "0123456789") != "" && r.port != "*" {
		return wrong()
	}
	return r, nil
}

func (r rule) fits(u *url.URL) bool {
	if r.scheme != "" && r.scheme != u.Scheme || !strings.EqualFold(r.host, u.Hostname()) {
		return false
	}
	port := Port(u)
	switch r.port {
	case "*":
		return true
	case "":
		return port == defaultPort(u.Scheme)
	}
	return port == r.port
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// Port is the port of a URL, said or implied.
func Port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return defaultPort(u.Scheme)
}

// Check returns a *NotAllowedError unless the URL's host may be called.
func (o *Hosts) Check(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is neither http nor https", u.Redacted())
	}
	if o.any || o.also != nil && o.also(u) {
		return nil
	}
	for _, r := range o.rules {
		if r.fits(u) {
			return nil
		}
	}
	return &NotAllowedError{net.JoinHostPort(u.Hostname(), Port(u))}
}

// maxRedirects is what browsers and clients of other languages stop at, halved.
const maxRedirects = 10

// Client makes a client that calls only what is allowed; connections per host are kept
// for that many callers at once. It uses no proxy: whom a proxy calls nobody could check.
func (o *Hosts) Client(callers int) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
			MaxIdleConns: 4 * callers, MaxIdleConnsPerHost: callers, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second,
			MaxResponseHeaderBytes: 256 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			// It says where the request came from: what stands in that address's query is not for others.
			req.Header.Del("Referer")
			if len(via) >= maxRedirects {
				return errTooManyRedirects
			}
			if err := o.Check(req.URL); err != nil {
				return &RedirectError{err}
			}
			return nil
		},
	}
}

var errTooManyRedirects = errors.New("it redirects again and again")

// RedirectError is a redirect to where nothing may be called.
type RedirectError struct{ err error }

// Error implements error.
func (e *RedirectError) Error() string {
	return "it redirects to where nothing may be called: " + e.err.Error()
}

// Unwrap gives what is wrong with the address.
func (e *RedirectError) Unwrap() error { return e.err }

// control looks at the very address that is about to be dialled, after resolving.
func control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %q: %w", address, err)
	}
	if forbidden(ap.Addr()) {
		return &ForbiddenAddressError{ap.Addr()}
	}
	return nil
}

// forbidden are the addresses that mean the machine or its cloud, not somebody else.
func forbidden(addr netip.Addr) bool {
	addr = embedded(addr.WithZone("").Unmap())
	if addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
		return true
	}
	switch addr.String() {
	case "255.255.255.255",
		"fd00:ec2::254",   // Amazon, IPv6
		"fd00:ec2::23",    // Amazon, the identity of a pod
		"fd20:ce::254",    // Google, IPv6
		"100.100.100.200", // Alibaba
		"192.0.0.192",     // Oracle
		"168.63.129.16":   // Azure
		return true
	}
	return strings.HasPrefix(addr.String(), "0.")
}

// embedded is the IPv4 address within a NAT64, translated, 6to4 or IPv4-compatible one, else the
// address itself.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b},
		[6]byte(b[:6]) == [6]byte{0, 0x64, 0xff, 0x9b, 0, 1}, // NAT64 of a network's own
		[12]byte(b[:12]) == [12]byte{8: 0xff, 9: 0xff}:       // translated
		return netip.AddrFrom4([4]byte(b[12:]))
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6]))
	case [12]byte(b[:12]) == [12]byte{} && !addr.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr
}

// Shown is an address without what may be secret: user, query and fragment.
func Shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
