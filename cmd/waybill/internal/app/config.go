package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/consumers/agent"
	"github.com/waybill/waybill/consumers/agent/secret"
	"github.com/waybill/waybill/consumers/agents"
	"github.com/waybill/waybill/consumers/connectors"
	"github.com/waybill/waybill/consumers/provisioners"
	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers/intake"
)

// The roles a process can have.
const (
	RoleMachines    = "machines"    // decide commands
	RoleAgents      = "agents"      // carry out work of the built-in activity types
	RoleProjections = "projections" // fold events into SQLite
	RoleAPI         = "api"         // answer HTTP
)

// Defaults of a Config, in this one place.
const (
	DefaultData   = "waybill-data"
	DefaultListen = "127.0.0.1:7470"
)

// Roles lists all roles.
func Roles() []string { return []string{RoleMachines, RoleAgents, RoleProjections, RoleAPI} }

// Config says what Main runs. Zero values take the defaults.
type Config struct {
	Data        string         // directory for all this process keeps
	Listen      string         // HTTP, host:port
	KafkaListen string         // of the embedded broker, host:port
	Brokers     []string       // of Kafka; empty means the embedded broker
	Security    kafka.Security // of the way to Brokers
	// CreateTopics lets what is missing be created at Brokers, where topics are otherwise only looked at.
	CreateTopics bool
	Roles        []string // empty means all
	Fsync        bool     // the embedded broker syncs before it acknowledges
	Prefix       string   // of topic names
	Shards       int32    // partitions of the sharded topics
	Allow        []string // HOST[:PORT] that agents may call, * for any port
	Insecure     bool     // listen beyond loopback without token and TLS
	Token        string   // bearer token that HTTP requests must have
	TLSCert      string   // files, PEM
	TLSKey       string
	CallbackKey  []byte // signs what callbacks are told; empty means that nothing is signed
	PublicURL    string // where others reach the HTTP interface; empty means at its own address
	AddressKey   []byte // makes the addresses that others are given unguessable; empty means one of this process
	SealKeys     string // keys that secrets are sealed with on the log; empty means those of the data directory
	MaxPayload   int64  // bytes of an input or an output at most; 0 means blob.DefaultMax
	// MaxBacklog is how many commands of a shard may be undecided, and MaxLive how many jobs may not have ended,
	// when another job is taken over HTTP; 0 means intake.DefaultBacklog and intake.DefaultLive.
	MaxBacklog, MaxLive int64
	// KeepBlobs is how long what an ended orchestration left among the large values can be read; 0
	// means orchestration.DefaultKeepBlobs.
	KeepBlobs time.Duration
	// KeepHistory is how long the log keeps what has ended; 0 means for ever.
	KeepHistory time.Duration
	// Remember is how long the IDs of answered commands are kept, in memory and in the view; 0 means
	// DefaultRemember.
	Remember time.Duration
	Version  string // shown by /metrics and the page
	Logger   *slog.Logger

	// Connectors are those through which providers are spoken with. Provisioners, beside the local
	// one, make what a transfer needs to be there.
	Connectors   connectors.Config
	Provisioners []provisioners.Settings
	// Outside says what the agents that speak with the outside may do; Allow adds to its list.
	Outside agents.Settings
	// Vault is where secrets may be kept.
	Vault secret.VaultConfig
	// Agents carry out activities beside the built-in agents, by activity type.
	Agents map[string]agent.Processor
}

// DefaultRemember is Config.Remember unless set, and leastRemember the least that makes sense.
const (
	DefaultRemember = 7 * 24 * time.Hour
	leastRemember   = time.Minute
)

// UsageError is a mistake in how the program was called; its text says what to change.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// complete fills the defaults in and says what cannot be.
func (c Config) complete() (Config, error) {
	if c.Data == "" {
		c.Data = DefaultData
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.KafkaListen == "" {
		c.KafkaListen = embedded.DefaultListen
	}
	if c.Prefix == "" {
		c.Prefix = kafka.DefaultPrefix
	}
	if c.Shards == 0 {
		c.Shards = kafka.DefaultShards
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = blob.DefaultMax
	}
	if c.MaxBacklog == 0 {
		c.MaxBacklog = intake.DefaultBacklog
	}
	if c.MaxLive == 0 {
		c.MaxLive = intake.DefaultLive
	}
	if c.KeepBlobs == 0 {
		c.KeepBlobs = orchestration.DefaultKeepBlobs
	}
	if c.Remember == 0 {
		c.Remember = DefaultRemember
	}
	if len(c.Roles) == 0 {
		c.Roles = Roles()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, errors.Join(c.checkRoles(), c.checkListen(), c.checkPublicURL(), c.checkTopics(), c.checkPayload())
}

func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

func (c *Config) checkRoles() error {
	for _, r := range c.Roles {
		if !slices.Contains(Roles(), r) {
			return usage("--roles: there is no role %q, only %s", r, strings.Join(Roles(), ", "))
		}
	}
	if c.has(RoleAPI) && !c.has(RoleProjections) {
		return usage("--roles: %s answers from the projections of its own process: add %s", RoleAPI, RoleProjections)
	}
	return nil
}

// most is what a process can hold several of in memory; references allow no more.
const mostPayload = 1 << 30

func (c *Config) checkPayload() error {
	if c.MaxPayload < blob.Threshold || c.MaxPayload > mostPayload {
		return usage("--max-payload %d: want %d to %d bytes", c.MaxPayload, blob.Threshold, mostPayload)
	}
	if c.MaxBacklog < 1 || c.MaxLive < 1 {
		return usage("--max-backlog %d, --max-live %d: want at least 1 of each", c.MaxBacklog, c.MaxLive)
	}
	if c.KeepBlobs < 0 {
		return usage("--keep-blobs %s is negative", c.KeepBlobs)
	}
	if c.KeepHistory < 0 {
		return usage("--keep-history %s is negative", c.KeepHistory)
	}
	if c.Remember < leastRemember {
		return usage("--remember %s: want at least %s, for as long clients repeat what was not acknowledged", c.Remember, leastRemember)
	}
	return nil
}

func (c *Config) checkTopics() error {
	if c.Shards < 1 || c.Shards > 1000 {
		return usage("--shards %d: want 1 to 1000", c.Shards)
	}
	for _, r := range c.Prefix {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return usage("--prefix %q: Kafka takes letters, digits and . _ - in the names of topics", c.Prefix)
		}
	}
	return nil
}

// checkListen refuses to open the doors wide by accident.
func (c *Config) checkListen() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return usage("--tls-cert and --tls-key belong together: give both")
	}
	if err := checkAddress("--listen", c.Listen); err != nil {
		return err
	}
	if !c.Insecure && !loopback(c.Listen) && (c.Token == "" || c.TLSCert == "") {
		return usage("--listen %s can be reached from outside: it needs a token (--token-file) and TLS (--tls-cert, --tls-key), or --insecure said aloud", c.Listen)
	}
	if len(c.Brokers) > 0 {
		return nil
	}
	if err := checkAddress("--kafka-listen", c.KafkaListen); err != nil {
		return err
	}
	if !c.Insecure && !loopback(c.KafkaListen) {
		return usage("--kafka-listen %s can be reached from outside, and the embedded broker asks nobody who they are: it needs --insecure said aloud", c.KafkaListen)
	}
	return nil
}

func (c *Config) checkPublicURL() error {
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return usage("--public-url %s: want where others reach this server, like https://waybill.example.com", c.PublicURL)
	}
	return nil
}

func checkAddress(flag, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return usage("%s %s: want host:port, like 127.0.0.1:7470", flag, address)
	}
	return nil
}

// loopback says whether only this machine can reach an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ReadKey reads a key from the file that a flag names: all of it but spaces around it.
func ReadKey(flag, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("%s: %w", flag, err)
	}
	b = bytes.TrimSpace(b)
	if err := CheckKey(b); err != nil {
		return nil, usage("%s %s: %w", flag, path, err)
	}
	return b, nil
}

// CheckKey refuses a key that could be guessed.
func CheckKey(key []byte) error {
	if len(key) < minKeyBytes {
		return fmt.Errorf("want a key of at least %d bytes", minKeyBytes)
	}
	return nil
}

// minKeyBytes is from how many bytes on a key cannot be guessed.
const minKeyBytes = 16

// ReadToken reads a token from a file: its first line that is not empty.
func ReadToken(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", usage("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", usage("--token-file %s: want one token, a line without spaces", path)
	}
	return token, nil
}
