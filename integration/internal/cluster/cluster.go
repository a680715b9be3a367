package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// BrokersVariable names the environment variable with the brokers, HOST:PORT,…, of a Kafka that
// is there already.
const BrokersVariable = "WAYBILL_TEST_BROKERS"

// Brokers are those that the environment names; none if it names none.
func Brokers() []string {
	var brokers []string
	for broker := range strings.SplitSeq(os.Getenv(BrokersVariable), ",") {
		if broker = strings.TrimSpace(broker); broker != "" {
			brokers = append(brokers, broker)
		}
	}
	return brokers
}

// stopping is how long an end may take: the script itself kills what takes longer than 15 s.
const stopping = 30 * time.Second

// Options say what cluster is wanted. The zero Options is one node without any security.
type Options struct {
	Nodes int    // 1 or 3; with 3, replication 3 and min.insync.replicas 2
	Port  int    // of the clients' listener of the first node; the other listeners follow. Free ones unless given
	Dir   string // for all it writes; a temporary one unless named. Removed by Stop
	TLS   bool   // clients speak TLS and may show a certificate
	MTLS  bool   // they must show one
	SCRAM bool   // clients log in with SCRAM-SHA-512; nothing is allowed without an ACL
	ACL   bool   // nothing is allowed without an ACL
	// Users are names and passwords beside the super user admin, with SCRAM.
	Users map[string]string
	// Set are further settings of the brokers.
	Set map[string]string
	// Measured lets the JVM compile fully: a slower start, and the speed that Kafka has.
	Measured bool
}

func (o Options) args() []string {
	args := []string{"--port", strconv.Itoa(o.Port), "--nodes", strconv.Itoa(max(1, o.Nodes))}
	for _, flag := range []struct {
		name string
		on   bool
	}{{"--tls", o.TLS}, {"--mtls", o.MTLS}, {"--scram", o.SCRAM}, {"--acl", o.ACL}} {
		if flag.on {
			args = append(args, flag.name)
		}
	}
	for name, password := range o.Users {
		args = append(args, "--user", name+":"+password)
	}
	for name, value := range o.Set {
		args = append(args, "--set", name+"="+value)
	}
	if o.Measured {
		args = append(args, "--jit", "full")
	}
	return args
}

// Certificate is a client's, as PEM files.
type Certificate struct{ Cert, Key string }

// Cluster is a Kafka that runs.
type Cluster struct {
	Version string // of Apache Kafka
	Dir     string // what it writes: DIR/node-N/log/broker.log says what a node refused
	CA      string // the file with the certificate authority, with TLS
	Client  Certificate
	Admin   Certificate // of the super user
	// AdminPassword is that of the user admin, with SCRAM.
	AdminPassword string

	script  string
	brokers []string
}

// Start starts a cluster and returns when it serves: a transaction on a new topic was committed.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	script, err := find(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{script: script, Dir: o.Dir}
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "waybill-kafka-"); err != nil {
			return nil, err
		}
	}
	out, err := c.run(ctx, "start", append(o.args(), "--owner", strconv.Itoa(os.Getpid()))...)
	if err == nil {
		err = c.learn(out)
	}
	if err != nil {
		// What has not started whole is not left behind in part.
		return nil, errors.Join(err, c.stop(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// find finds the script; the working directory must be in the module.
func find(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/waybill/waybill").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "integration", "cluster", "kafka"), nil
}

// learn takes what the script says of what it has started.
func (c *Cluster) learn(said []byte) error {
	for line := range strings.Lines(string(said)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		switch name {
		case "version":
			c.Version = value
		case "ca":
			c.CA = value
		case "client_cert":
			c.Client.Cert = value
		case "client_key":
			c.Client.Key = value
		case "admin_cert":
			c.Admin.Cert = value
		case "admin_key":
			c.Admin.Key = value
		case "sasl_admin":
			_, c.AdminPassword, _ = strings.Cut(value, ":")
		case "bootstrap":
			c.brokers = strings.Split(value, ",")
		}
	}
	if len(c.brokers) == 0 {
		return fmt.Errorf("%s start does not say where it serves: %s", c.script, said)
	}
	return nil
}

// Brokers are the addresses, one for each node, in the order of the nodes.
func (c *Cluster) Brokers() []string { return c.brokers }

// Kill ends a node as a power cut would. Nodes count from 1.
func (c *Cluster) Kill(ctx context.Context, node int) error { return c.on(ctx, "kill", node) }

// Pause stops a node in the middle of whatever it does (SIGSTOP).
func (c *Cluster) Pause(ctx context.Context, node int) error { return c.on(ctx, "pause", node) }

// Resume lets a paused node go on.
func (c *Cluster) Resume(ctx context.Context, node int) error { return c.on(ctx, "resume", node) }

// Restart starts a node on its data, after ending it where it runs, and returns when all serve and
// every replica is in sync. While another node is down use RestartAmong.
func (c *Cluster) Restart(ctx context.Context, node int) error { return c.on(ctx, "restart", node) }

// RestartAmong is Restart while only so many nodes are alive, this one among them.
func (c *Cluster) RestartAmong(ctx context.Context, node, alive int) error {
	_, err := c.run(ctx, "restart", strconv.Itoa(node), "--alive", strconv.Itoa(alive))
	return err
}

// Wait waits until all nodes serve and every replica is in sync.
func (c *Cluster) Wait(ctx context.Context) error {
	_, err := c.run(ctx, "wait")
	return err
}

// Certify issues a client certificate: with TLS, User:name of the ACLs.
func (c *Cluster) Certify(ctx context.Context, name string) (Certificate, error) {
	if _, err := c.run(ctx, "cert", name); err != nil {
		return Certificate{}, err
	}
	path := filepath.Join(c.Dir, "tls", name)
	return Certificate{Cert: path + ".pem", Key: path + ".key"}, nil
}

// Tool runs one of Kafka's own command line tools (topics, configs, acls, …) as the super user.
func (c *Cluster) Tool(ctx context.Context, name string, args ...string) ([]byte, error) {
	return c.run(ctx, "tool", append([]string{name}, args...)...)
}

// Stop ends every node, and removes what they have written.
func (c *Cluster) Stop() error { return c.stop(context.Background()) }

func (c *Cluster) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopping)
	defer cancel()
	if _, err := os.Stat(filepath.Join(c.Dir, "cluster.conf")); err == nil {
		if _, err := c.run(ctx, "stop", "--wipe"); err != nil {
			return err
		}
	}
	return os.RemoveAll(c.Dir)
}

func (c *Cluster) on(ctx context.Context, verb string, node int) error {
	_, err := c.run(ctx, verb, strconv.Itoa(node))
	return err
}

// run runs the script on this cluster. Its words on stderr become the error.
func (c *Cluster) run(ctx context.Context, verb string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.script, append([]string{verb, "--dir", c.Dir}, args...)...) //nolint:gosec // a script of this tree
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	// The nodes outlive the script, and must not be waited for.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("kafka %s: %w: %s", verb, err, strings.TrimSpace(said.String()))
	}
	return out.Bytes(), nil
}
