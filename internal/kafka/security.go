package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The mechanisms by which a user can be told apart.
const (
	SASLPlain    = "plain"
	SASLScram256 = "scram-sha-256"
	SASLScram512 = "scram-sha-512"
)

// EnvPassword is the environment variable with the password, below a program's own prefix: it is no
// flag, because anybody on the machine can read the command line of a process.
const EnvPassword = "KAFKA_PASSWORD"

// Security says how the brokers are reached and who we are to them. The zero Security is
// neither encrypted nor anybody in particular. Files are read again for each new connection, so
// that certificates and passwords can be renewed without starting anything again.
type Security struct {
	// TLS encrypts. Any of the files below means the same.
	TLS bool `json:"tls,omitempty"`
	// CAFile has the certificates, PEM, of whom to believe about the brokers; the system's unless set.
	CAFile string `json:"ca,omitempty"`
	// CertFile and KeyFile are our own certificate and its key, PEM, for brokers that ask for one.
	CertFile string `json:"cert,omitempty"`
	KeyFile  string `json:"key,omitempty"`
	// ServerName is what the brokers' certificates have to say; the host of each address unless set.
	ServerName string `json:"serverName,omitempty"`

	// SASL is a mechanism; none unless set. User needs a password, in a file or as it is.
	SASL         string `json:"sasl,omitempty"`
	User         string `json:"user,omitempty"`
	PasswordFile string `json:"passwordFile,omitempty"`
	Password     Secret `json:"-"`
	// Insecure lets the user and the password be sent without TLS to another machine.
	Insecure bool `json:"insecure,omitempty"`
}

// Secret is a text that nothing prints.
type Secret string

// String hides it.
func (Secret) String() string { return "[redacted]" }

// GoString hides it.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SecurityOption is one setting as a flag has it; the environment and files have it too.
type SecurityOption struct {
	Name, Kind, Usage string // Kind is what its value is called; a Bool has none
	Bool              bool
	Set               func(s *Security, value string) error
	Get               func(s *Security) string
}

// SecurityOptions lists the settings, for whoever has flags.
func SecurityOptions() []SecurityOption {
	text := func(name, kind, usage string, of func(*Security) *string) SecurityOption {
		return SecurityOption{
			name, kind, usage, false,
			func(s *Security, v string) error { *of(s) = v; return nil },
			func(s *Security) string { return *of(s) },
		}
	}
	boolean := func(name, usage string, of func(*Security) *bool) SecurityOption {
		return SecurityOption{
			name, "", usage, true,
			func(s *Security, v string) (err error) { *of(s), err = strconv.ParseBool(v); return err },
			func(s *Security) string { return strconv.FormatBool(*of(s)) },
		}
	}
	return []SecurityOption{
		boolean("kafka-tls", "reach Kafka by TLS", func(s *Security) *bool { return &s.TLS }),
		text("kafka-ca", "FILE", "certificates of whom to believe about the brokers, PEM (default the system's)", func(s *Security) *string { return &s.CAFile }),
		text("kafka-cert", "FILE", "our own certificate for brokers that ask for one, PEM", func(s *Security) *string { return &s.CertFile }),
		text("kafka-key", "FILE", "its key, PEM", func(s *Security) *string { return &s.KeyFile }),
		text("kafka-server-name", "NAME", "what the brokers' certificates say (default the host of each address)", func(s *Security) *string { return &s.ServerName }),
		text("kafka-sasl", "MECHANISM", "how the user is told apart: "+strings.Join(mechanisms(), ", "), func(s *Security) *string { return &s.SASL }),
		text("kafka-user", "NAME", "user of Kafka; the password is in --kafka-password-file or the environment (..._"+EnvPassword+")", func(s *Security) *string { return &s.User }),
		text("kafka-password-file", "FILE", "file with the user's password", func(s *Security) *string { return &s.PasswordFile }),
		boolean("kafka-insecure", "send user and password without TLS to another machine", func(s *Security) *bool { return &s.Insecure }),
	}
}

// sharedEnv begins the environment variables that mean every process of a machine.
const sharedEnv = "WAYBILL_"

// FromEnv takes what is not set from the environment: WAYBILL_KAFKA_TLS, ..., WAYBILL_KAFKA_PASSWORD.
func (s *Security) FromEnv(getenv func(string) (string, bool)) error {
	for _, o := range SecurityOptions() {
		name := sharedEnv + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
		v, _ := getenv(name)
		if set := o.Get(s); v == "" || set != "" && set != "false" || o.Name == "kafka-password-file" && s.Password != "" {
			continue
		}
		if err := o.Set(s, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if v, _ := getenv(sharedEnv + EnvPassword); s.Password == "" && s.PasswordFile == "" {
		s.Password = Secret(v)
	}
	return nil
}

func mechanisms() []string { return []string{SASLPlain, SASLScram256, SASLScram512} }

// SecurityKey is the name of a setting in the section kafka of a configuration file: passwordFile for
// kafka-password-file.
func SecurityKey(option string) string {
	parts := strings.Split(strings.TrimPrefix(option, "kafka-"), "-")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
	}
	return strings.Join(parts, "")
}

// encrypted says whether connections use TLS.
func (s *Security) encrypted() bool {
	return s.TLS || s.CAFile != "" || s.CertFile != "" || s.KeyFile != ""
}

// Check says what is wrong with the settings, the files included, for brokers at these addresses.
func (s *Security) Check(brokers []string) error {
	if (s.CertFile == "") != (s.KeyFile == "") {
		return errors.New("--kafka-cert and --kafka-key belong together: give both")
	}
	if s.ServerName != "" && !s.encrypted() {
		return errors.New("--kafka-server-name: there are no certificates without --kafka-tls")
	}
	if s.encrypted() {
		if _, err := s.tlsConfig(); err != nil {
			return err
		}
	}
	return s.checkSASL(brokers)
}

func (s *Security) checkSASL(brokers []string) error {
	switch {
	case s.SASL == "" && (s.User != "" || s.PasswordFile != ""):
		return fmt.Errorf("--kafka-user and --kafka-password-file need --kafka-sasl: %s", strings.Join(mechanisms(), ", "))
	case s.SASL == "":
		return nil // a password in the environment may be meant for others
	case s.User == "":
		return errors.New("--kafka-sasl needs --kafka-user")
	case s.PasswordFile != "" && s.Password != "":
		return errors.New("--kafka-password-file: there is a password in the environment as well: give one of them")
	}
	if _, err := s.mechanism(); err != nil {
		return err
	}
	if _, err := s.password(); err != nil {
		return err
	}
	if s.encrypted() || s.Insecure {
		return nil
	}
	for _, b := range brokers {
		host, _, err := net.SplitHostPort(b)
		ip := net.ParseIP(host)
		if err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("--kafka-sasl %s: %s is another machine, and without --kafka-tls anybody on the way can listen: it needs TLS, or --kafka-insecure said aloud", s.SASL, b)
		}
	}
	return nil
}

// password reads it; the error never has it.
func (s *Security) password() (string, error) {
	if s.PasswordFile == "" {
		if s.Password == "" {
			return "", fmt.Errorf("--kafka-user %s needs a password: --kafka-password-file, or the environment (..._%s)", s.User, EnvPassword)
		}
		return string(s.Password), nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("--kafka-password-file: %w", err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" || strings.ContainsAny(p, "\r\n\x00") {
		return "", fmt.Errorf("--kafka-password-file %s: want one line, the password", s.PasswordFile)
	}
	return p, nil
}

// mechanism asks for the password each time a connection is made.
func (s *Security) mechanism() (sasl.Mechanism, error) {
	user, password := s.User, s.password
	salted := func(context.Context) (scram.Auth, error) {
		p, err := password()
		return scram.Auth{User: user, Pass: p}, err
	}
	switch s.SASL {
	case SASLPlain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := password()
			return plain.Auth{User: user, Pass: p}, err
		}), nil
	case SASLScram256:
		return scram.Sha256(salted), nil
	case SASLScram512:
		return scram.Sha512(salted), nil
	}
	return nil, fmt.Errorf("--kafka-sasl %s: want one of %s", s.SASL, strings.Join(mechanisms(), ", "))
}

// tlsConfig reads the files.
func (s *Security) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
	if s.CAFile != "" {
		b, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--kafka-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("--kafka-ca %s: there is no certificate in it: want PEM", s.CAFile)
		}
	}
	if s.CertFile == "" {
		return c, nil
	}
	cert, err := pair(s.CertFile, s.KeyFile)
	if err != nil {
		return nil, err
	}
	// Whatever authorities the broker names: it says best itself what it does not like.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	return c, nil
}

// pair reads a certificate and its key, and says which of the files is no good.
func pair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("--kafka-cert: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("--kafka-key: %w", err)
	}
	if b, _ := pem.Decode(certPEM); b == nil {
		return nil, fmt.Errorf("--kafka-cert %s: there is no certificate in it: want PEM", certFile)
	}
	if b, _ := pem.Decode(keyPEM); b == nil {
		return nil, fmt.Errorf("--kafka-key %s: there is no key in it: want PEM", keyFile)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("--kafka-cert %s, --kafka-key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}

// dialTimeout bounds a connection and its handshake.
const dialTimeout = 10 * time.Second

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// secured dials by TLS. Its files are read each time: nobody has to start anything again when
// certificates are renewed.
func (s *Security) secured(dial dialer) dialer {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		cfg, err := s.tlsConfig()
		if err != nil {
			return nil, err
		}
		if cfg.ServerName == "" {
			if cfg.ServerName, _, err = net.SplitHostPort(address); err != nil {
				return nil, fmt.Errorf("address %s of a broker: %w", address, err)
			}
		}
		plain, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(plain, cfg)
		if err := conn.HandshakeContext(ctx); err != nil {
			plain.Close() //nolint:errcheck // there is nothing on it yet
			return nil, fmt.Errorf("TLS with %s: %w", address, err)
		}
		return conn, nil
	}
}

// options are those of a client that is secured.
func (s *Security) options(dial dialer) ([]kgo.Opt, error) {
	var opts []kgo.Opt
	if s.encrypted() {
		dial = s.secured(dial)
	}
	if dial != nil {
		opts = append(opts, kgo.Dialer(dial))
	}
	if s.SASL == "" {
		return opts, nil
	}
	m, err := s.mechanism()
	return append(opts, kgo.SASL(m)), err
}
