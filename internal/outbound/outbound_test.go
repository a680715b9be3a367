package outbound_test

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/waybill/waybill/internal/outbound"
)

func TestTheAllowList(t *testing.T) {
	for entry, c := range map[string]struct{ allows, refuses []string }{
		"provider1:8181":   {[]string{"http://provider1:8181/x", "http://PROVIDER1:8181"}, []string{"http://provider1", "http://provider2:8181", "http://provider1.evil:8181", "ftp://provider1:8181"}},
		"provider1":        {[]string{"http://provider1", "https://provider1/x"}, []string{"http://provider1:8181", "http://x.provider1"}},
		"127.0.0.1:*":      {[]string{"http://127.0.0.1:1", "https://127.0.0.1"}, []string{"http://127.0.0.2:1", "http://localhost:1"}},
		"[::1]:8181":       {[]string{"http://[::1]:8181"}, []string{"http://[::1]", "http://[::2]:8181"}},
		"::1":              {[]string{"http://[::1]"}, []string{"http://[::1]:8181"}},
		"https://a:*":      {[]string{"https://a:1"}, []string{"http://a:1"}},
		"http://Provider/": {[]string{"http://provider"}, []string{"https://provider"}},
		"*":                {[]string{"http://anything:1", "https://1.2.3.4"}, []string{"file:///etc/passwd"}},
	} {
		o, err := outbound.New([]string{entry})
		if err != nil {
			t.Errorf("%s: %v", entry, err)
			continue
		}
		check := func(address string, want bool) {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Check(u); (err == nil) != want {
				t.Errorf("%s: %s: %v", entry, address, err)
			}
		}
		for _, a := range c.allows {
			check(a, true)
		}
		for _, a := range c.refuses {
			check(a, false)
		}
	}
	for _, entry := range []string{"", "a:", "a:b", "ftp://a", "http://", "a/b", "*:80", "*.a", "[::1", "[::1]8", "u@a"} {
		if _, err := outbound.New([]string{entry}); err == nil {
			t.Errorf("%q is taken for a host", entry)
		}
	}
}

func TestAddressesThatAreNeverCalled(t *testing.T) {
	for address, want := range map[string]bool{
		"169.254.169.254": true, "169.254.1.1": true, "::ffff:169.254.169.254": true, "fe80::1%eth0": true, "fd00:ec2::254": true,
		"fd00:ec2::23": true, "fd20:ce::254": true, "64:ff9b:1::a9fe:a9fe": true, "::ffff:0:a9fe:a9fe": true,
		"64:ff9b::a9fe:a9fe": true, "2002:a9fe:a9fe::1": true, "::a9fe:a9fe": true, "100.100.100.200": true, "0.0.0.0": true, "0.1.2.3": true, "::": true,
		"224.0.0.1": true, "ff02::1": true, "255.255.255.255": true, "192.0.0.192": true, "168.63.129.16": true,
		"127.0.0.1": false, "::1": false, "10.0.0.1": false, "192.168.1.1": false, "8.8.8.8": false, "2001:db8::1": false, "fd00::1": false,
	} {
		if got := outbound.Forbidden(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}
