package partstree

import (
	"crypto/sha1" //nolint:gosec // names a node; nothing is kept safe by it
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// maxAddressBytes bounds a provider's address and a file's name.
const maxAddressBytes = 2048

// NormalizeURL is the one spelling of a provider's address: scheme and host in lower
// case, no default port, no slash at the end. It refuses what is no http or https URL,
// and user information, queries, fragments and dot segments, which no address needs.
func NormalizeURL(address string) (string, error) {
	if len(address) > maxAddressBytes {
		return "", fmt.Errorf("the address has %d bytes, over the limit of %d", len(address), maxAddressBytes)
	}
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return "", fmt.Errorf("the address cannot be read: %w", err)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the address %q does not begin with http:// or https://", u.Redacted())
	case u.Hostname() == "" || u.Opaque != "":
		return "", fmt.Errorf("the address %q names no host", u.Redacted())
	case u.User != nil:
		return "", fmt.Errorf("the address %q has user information", u.Redacted())
	case u.RawQuery != "" || u.ForceQuery:
		return "", fmt.Errorf("the address %q has a query", address)
	case u.Fragment != "" || strings.Contains(address, "#"):
		return "", fmt.Errorf("the address %q has a fragment", address)
	}
	host, err := normalHost(u)
	if err != nil {
		return "", err
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	for _, segment := range strings.Split(u.Path, "/") {
		if segment == "." || segment == ".." {
			return "", fmt.Errorf("the address %q has the path segment %q", address, segment)
		}
	}
	return u.Scheme + "://" + host + path, nil
}

func normalHost(u *url.URL) (string, error) {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("the address %q has the port %s; ports go from 1 to 65535", u.Redacted(), port)
	}
	if u.Scheme == "http" && n == 80 || u.Scheme == "https" && n == 443 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

// NormalizeFile is the one spelling of a file: without slashes before it. It refuses an
// empty one, control characters, and the segments "." and "..", by which it would name
// something else than it seems to.
func NormalizeFile(file string) (string, error) {
	name := strings.TrimLeft(file, "/")
	switch {
	case name == "":
		return "", errors.New("the file is empty")
	case len(name) > maxAddressBytes:
		return "", fmt.Errorf("the file has %d bytes, over the limit of %d", len(name), maxAddressBytes)
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		return "", fmt.Errorf("the file %q has a control character", name)
	}
	for _, segment := range strings.FieldsFunc(name, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == "." || segment == ".." {
			return "", fmt.Errorf("the file %q has the path segment %q", name, segment)
		}
	}
	return name, nil
}

// Location is where the document is to be had: the file, escaped but for its slashes,
// below the provider's normalised address.
func Location(connectorURL, file string) (string, error) {
	base, err := NormalizeURL(connectorURL)
	if err != nil {
		return "", err
	}
	if file, err = NormalizeFile(file); err != nil {
		return "", err
	}
	segments := strings.Split(file, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return base + "/" + strings.Join(segments, "/"), nil
}

// spelling is the normalised address and file, or what was written where that is wrong:
// the activity that is to fetch it then says so.
func spelling(connectorURL, file string) (string, string) {
	if u, err := NormalizeURL(connectorURL); err == nil {
		connectorURL = u
	}
	if f, err := NormalizeFile(file); err == nil {
		file = f
	}
	return connectorURL, file
}

// NodeID is the identity of a document: short, fit for a URL, the same for every spelling
// of the provider's address.
func NodeID(connectorURL, file string) string {
	connectorURL, file = spelling(connectorURL, file)
	sum := sha1.Sum([]byte(connectorURL + "\n" + file)) //nolint:gosec // as above
	return "n-" + hex.EncodeToString(sum[:8])
}

// Name is what people call a document: "test-document-2 at http://provider2:8181".
func Name(connectorURL, file string) string {
	connectorURL, file = spelling(connectorURL, file)
	return file + " at " + connectorURL
}
