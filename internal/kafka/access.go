package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// AccessError says that the brokers do not let us in, or not do something, and what would help. It does
// not go away by itself.
type AccessError struct {
	Err error
	Do  string
}

// Error implements error.
func (e *AccessError) Error() string { return fmt.Sprintf("%v: %s", e.Err, e.Do) }

// Unwrap gives the cause.
func (e *AccessError) Unwrap() error { return e.Err }

// guide is where the rights of each role stand.
const guide = "`waybill topics acls` lists what each role needs (docs/kafka.md)"

// Explain makes an *AccessError of an error that is one: what the client says of it is true, but does not
// say what to change here. Other errors stay as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*AccessError](err); ok {
		return err
	}
	if do := whatToDo(err); do != "" {
		return &AccessError{err, do}
	}
	return err
}

func whatToDo(err error) string {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return "Kafka does not know this user, or not by this password: see --kafka-user and --kafka-password-file"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the broker does not offer this mechanism: see --kafka-sasl"
	case errors.Is(err, kerr.IllegalSaslState):
		return "the broker asks nobody who they are at this address: leave --kafka-sasl out, or give the address of the listener that does"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "the user has no right to do this to the topic: " + guide
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return "the user has no right to do this to the group: " + guide
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return "the user has no right to the transactional id, which machines write under: " + guide
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "the user has no right to do this to the cluster: " + guide
	}
	if do := aboutCertificates(err); do != "" {
		return do
	}
	return aboutTransport(err)
}

func aboutCertificates(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch text := err.Error(); {
	case errors.As(err, &unknown):
		return "nobody we believe vouches for the broker: see --kafka-ca"
	case errors.As(err, &host):
		return "see --kafka-server-name, or use the name in --brokers that the certificate has"
	case errors.As(err, &invalid):
		return "the broker's certificate is no good"
	case strings.Contains(text, "remote error: tls: "): // the type of an alert is not exported
		return "the broker does not like our certificate, or misses one: see --kafka-cert and --kafka-key"
	}
	return ""
}

func aboutTransport(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the broker does not speak TLS at this address"
	}
	text := err.Error()
	if strings.Contains(text, "tls alert record") { // the client's words; it has no type for it
		return "the broker speaks TLS at this address: use --kafka-tls"
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); !ok {
		return ""
	}
	switch {
	case strings.Contains(text, "using TLS when"):
		return "the broker may not speak TLS at this address (--kafka-tls), or it stops"
	case strings.Contains(text, "SASL is required"):
		return "the broker may want to know who we are (--kafka-sasl), or it stops"
	}
	return "the broker may speak TLS at this address (--kafka-tls), or it stops"
}
