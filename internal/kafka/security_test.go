package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

// authority makes a certificate for the loopback address that vouches for itself, and its files.
func authority(t *testing.T) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return cert, file(t, "cert.pem", string(certPEM)), file(t, "key.pem", string(keyPEM))
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAMistakeInTheSettingsIsSaid(t *testing.T) {
	_, cert, key := authority(t)
	_, _, otherKey := authority(t)
	text, empty := file(t, "text", "no PEM"), file(t, "empty", "\n")
	scram := kafka.Security{SASL: "scram-sha-512", User: "u", Password: "p"}
	for says, s := range map[string]kafka.Security{
		"--kafka-cert and --kafka-key belong together":     {CertFile: cert},
		"--kafka-ca: open /nowhere":                        {CAFile: "/nowhere"},
		"--kafka-ca " + text + ": there is no certificate": {CAFile: text},
		"--kafka-key " + text + ": there is no key":        {CertFile: cert, KeyFile: text},
		"private key does not match":                       {CertFile: cert, KeyFile: otherKey},
		"--kafka-server-name":                              {ServerName: "kafka"},
		"want one of plain, scram-sha-256":                 {SASL: "gssapi", User: "u", Password: "p"},
		"--kafka-sasl needs --kafka-user":                  {SASL: "plain"},
		"--kafka-user u needs a password":                  {SASL: "plain", User: "u"},
		"need --kafka-sasl":                                {User: "u"},
		"want one line, the password":                      {SASL: "plain", User: "u", PasswordFile: empty},
		"give one of them":                                 {SASL: "plain", User: "u", PasswordFile: text, Password: "p"},
		"--kafka-insecure said aloud":                      scram,
	} {
		if err := s.Check([]string{"127.0.0.1:9092", "kafka.example.com:9092"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
	aloud := scram
	aloud.Insecure = true
	encrypted := scram
	encrypted.CAFile, encrypted.CertFile, encrypted.KeyFile = cert, cert, key
	for _, s := range []kafka.Security{{}, aloud, encrypted} {
		if err := s.Check([]string{"kafka.example.com:9092"}); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := scram.Check([]string{"127.0.0.1:9092", "localhost:9092", "[::1]:9092"}); err != nil {
		t.Errorf("nobody listens within a machine: %v", err)
	}
}

func TestNothingPrintsThePassword(t *testing.T) {
	c := kafka.Config{Security: kafka.Security{SASL: "plain", User: "u", Password: "hunter2"}}
	raw, err := json.Marshal(c.Security)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, raw); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
}

func TestTheEnvironmentSaysWhatIsNotSet(t *testing.T) {
	env := map[string]string{"WAYBILL_KAFKA_TLS": "true", "WAYBILL_KAFKA_SASL": "plain", "WAYBILL_KAFKA_USER": "theirs", "WAYBILL_KAFKA_PASSWORD": "p"}
	s := kafka.Security{User: "ours"}
	err := s.FromEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if want := (kafka.Security{TLS: true, SASL: "plain", User: "ours", Password: "p"}); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
	env["WAYBILL_KAFKA_INSECURE"] = "perhaps"
	if err := s.FromEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err == nil || !strings.Contains(err.Error(), "WAYBILL_KAFKA_INSECURE") {
		t.Errorf("a mistake is not said: %v", err)
	}
}

// ping connects, and says how that went.
func ping(t *testing.T, c kafka.Config, s kafka.Security) error {
	t.Helper()
	c.Security = s
	cl, err := c.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return kafka.Explain(cl.Ping(ctx))
}

// What real brokers say of wrong passwords, and of TLS where there is none, integration/secured tries.
func TestWhoIsNotLetInIsToldWhatToDo(t *testing.T) {
	cert, ca, _ := authority(t)
	_, otherCA, _ := authority(t)
	user := kfake.Superuser("SCRAM-SHA-512", "u", "p")
	sealed := embeddedtest.New(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), kfake.EnableSASL(), user)
	good := kafka.Security{CAFile: ca, SASL: "scram-sha-512", User: "u", Password: "p"}
	if err := ping(t, sealed, good); err != nil {
		t.Fatal(err)
	}
	with := func(change func(s *kafka.Security)) kafka.Security { s := good; change(&s); return s }
	for what, c := range map[string]struct {
		s    kafka.Security
		says string
	}{
		"an unknown authority": {with(func(s *kafka.Security) { s.CAFile = otherCA }), "see --kafka-ca"},
		"another name":         {with(func(s *kafka.Security) { s.ServerName = "kafka" }), "--kafka-server-name"},
		"no TLS where it is":   {kafka.Security{}, "--kafka-tls"},
	} {
		err := ping(t, sealed, c.s)
		if access, ok := errors.AsType[*kafka.AccessError](err); !ok || !strings.Contains(access.Do, c.says) {
			t.Errorf("%s: want something about %s, got %v", what, c.says, err)
		}
	}
}

func TestRenewedFilesAreForNewConnections(t *testing.T) {
	cert, ca, _ := authority(t)
	_, otherCA, _ := authority(t)
	cluster := embeddedtest.New(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", "new"))
	copyTo := func(from, to string) {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	used, password := file(t, "ca.pem", ""), file(t, "password", "old\n")
	copyTo(otherCA, used)
	cluster.Security = kafka.Security{CAFile: used, SASL: "scram-sha-256", User: "u", PasswordFile: password}
	cl, err := cluster.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Ping(t.Context()); err == nil {
		t.Fatal("the authority is another one")
	}
	copyTo(ca, used)
	if err := cl.Ping(t.Context()); err == nil {
		t.Fatal("the password is an old one")
	}
	copyTo(file(t, "renewed", "new\n"), password)
	if err := cl.Ping(t.Context()); err != nil {
		t.Errorf("the same client is not let in with what was renewed: %v", err)
	}
}
