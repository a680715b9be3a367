package redact

import (
	"regexp"
	"strings"

	"github.com/waybill/waybill/internal/seal"
)

var (
	// A token says by its first letters that it is one: they are {"alg or {"typ in base64.
	token = regexp.MustCompile(`\beyJ[-A-Za-z0-9_]{5,}={0,2}\.[-A-Za-z0-9_]*={0,2}(\.[-A-Za-z0-9_]*={0,2}){0,3}`)
	// An address that we hand out is proven by its last part, of which the one before tells what it is good for.
	address = regexp.MustCompile(`(?i)((?:/|%2f)(?:work|edc|provisioner|uploads)(?:/|%2f))[-a-z0-9_.~%]+?(?:/|%2f)[-a-z0-9_]{43}\b`)
	// The password of an address, and the names and values in its query.
	password = regexp.MustCompile(`(://[^/?#\s"@:]*:)[^/?#\s"@]+@`)
	param    = regexp.MustCompile(`([?&]([^=&\s"#]{1,100})=)[^&\s"#]+`)
	// A member may be of JSON that stands within a text of JSON.
	member = regexp.MustCompile(`(\\*")([^"\\]{1,200})(\\*"\s*:\s*\\*")((?:[^"\\]|\\+[^"\\])*)`)
)

// Text takes out of a text of others what is a secret by its look: tokens, addresses of ours
// that prove who was given them, what opens other addresses, and members whose names say that they
// are secret.
func Text(s string) string {
	if strings.Contains(s, "eyJ") {
		s = token.ReplaceAllString(s, seal.Redacted)
	}
	s = address.ReplaceAllString(s, "${1}"+seal.Redacted)
	if strings.Contains(s, "://") {
		s = password.ReplaceAllString(s, "${1}"+seal.Redacted+"@")
		s = param.ReplaceAllStringFunc(s, func(whole string) string {
			if m := param.FindStringSubmatch(whole); seal.SecretParam(m[2]) {
				return m[1] + seal.Redacted
			}
			return whole
		})
	}
	if !strings.Contains(s, `"`) {
		return s
	}
	return member.ReplaceAllStringFunc(s, func(whole string) string {
		m := member.FindStringSubmatch(whole)
		if m[4] == "" || !seal.SecretName(m[2]) {
			return whole
		}
		return m[1] + m[2] + m[3] + seal.Redacted
	})
}
