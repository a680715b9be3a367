package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
	"github.com/waybill/waybill/internal/kafka"
)

const (
	// greeting is the activity type that the agent of somebody else carries out.
	greeting = "greet.example.com"
	// watchers is the consumer group of the subscriber.
	watchers = "watchers"
	// inputBytes is large enough to be kept apart from the command.
	inputBytes = 400 << 10
	// promptly is how long anything that is refused may take to say so.
	promptly = 15 * time.Second
)

// users are the roles that each user has. Those of "less" lose rights while others work.
func users() map[string][]kafka.Role {
	m := map[string][]kafka.Role{
		"machines": {kafka.RoleMachines}, "agents": {kafka.RoleAgents}, "front": {kafka.RoleProjections, kafka.RoleAPI},
		"greeter": {kafka.RoleAgents}, "publisher": {kafka.RolePublisher}, "subscriber": {kafka.RoleSubscriber}, "operator": {kafka.RoleOperator},
	}
	for name, roles := range maps.Clone(m) {
		m["less-"+name] = roles
	}
	return m
}

type scenario struct {
	dir, bin, greeter string
	log               *os.File
	full              bool
	kafka             *cluster.Cluster
	passwords         map[string]string
	admin             *kadm.Client

	mu        sync.Mutex
	said      bytes.Buffer // what commands printed
	processes map[string]*process.Process
	front     string
	machines  string
	lateEnd   func() error // waits for the job whose topic came late
	created   time.Time    // that topic
}

func main() {
	full := flag.Bool("full", false, "take every right of every role away, one after the other")
	flags := stage.NewFlags(10 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("secured", func(ctx context.Context, on stage.Stage) error {
		s := &scenario{dir: on.Dir, log: on.Log, full: *full, passwords: map[string]string{}, processes: map[string]*process.Process{}}
		return s.run(ctx)
	}))
}

func (s *scenario) run(ctx context.Context) (err error) {
	began := time.Now()
	step := func(name string, do func(context.Context) error) {
		if err != nil {
			return
		}
		at := time.Now()
		if err = do(ctx); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			return
		}
		fmt.Printf("%-62s %5.1f s\n", name, time.Since(at).Seconds())
	}
	defer func() { //nolint:contextcheck // it is stopped when ctx has ended, too
		if s.kafka != nil {
			err = errors.Join(err, s.kafka.Stop())
		}
	}()
	step("Kafka with TLS, users and ACLs", s.start)
	step("topics: refused, created, compared", s.topics)
	step("every role is up, each with its own rights alone", s.up)
	step("jobs go on while one waits for a topic that is not there", s.jobs)
	step("a right fewer is told by name", s.denials)
	step("not let in is told within seconds", s.strangers)
	step("PLAIN, SCRAM-SHA-256, a changed password", s.otherWays)
	step("certificates alone", s.certificates)
	step("the job over all roles has ended", func(context.Context) error { return s.lateEnd() })
	step("no password in any output or command line", s.secrets)
	if err == nil {
		fmt.Printf("all of it took %.0f s\n", time.Since(began).Seconds())
	}
	return err
}

// start builds the programs, starts the cluster, and gives every user what the roles need.
func (s *scenario) start(ctx context.Context) error {
	options := cluster.Options{TLS: true, SCRAM: true, Users: map[string]string{}, Set: map[string]string{
		"listener.name.client.sasl.enabled.mechanisms":         "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
		"listener.name.client.scram-sha-256.sasl.jaas.config":  "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.client.plain.sasl.jaas.config":          `org.apache.kafka.common.security.plain.PlainLoginModule required user_plain="pw-plain-7c1e";`,
		"listener.name.client.plain.connections.max.reauth.ms": "0",
	}}
	for name := range users() {
		s.passwords[name] = "pw-" + name + "-" + strconv.Itoa(os.Getpid())
		options.Users[name] = s.passwords[name]
	}
	s.passwords["plain"] = "pw-plain-7c1e"
	var building sync.WaitGroup
	var built error
	building.Go(func() { built = s.build(ctx) })
	var err error
	s.kafka, err = cluster.Start(ctx, options)
	building.Wait()
	if err = errors.Join(err, built); err != nil {
		return err
	}
	for name, password := range s.passwords {
		if err := os.WriteFile(s.passwordFile(name), []byte(password+"\n"), 0o600); err != nil {
			return err
		}
	}
	cl, err := s.as("admin", s.kafka.AdminPassword).NewClient()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, cl.Close)
	s.admin = kadm.NewClient(cl)
	for name, roles := range users() {
		for _, role := range roles {
			rights, err := s.rights(ctx, name, role)
			if err != nil {
				return err
			}
			if err := s.give(ctx, name, rights...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scenario) build(ctx context.Context) (err error) {
	if s.bin, err = process.Build(ctx, s.dir); err != nil {
		return err
	}
	s.greeter = filepath.Join(s.dir, "greeter")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", s.greeter, "github.com/waybill/waybill/consumers/agent/launch/greeter").CombinedOutput() //nolint:gosec // ours
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func (s *scenario) passwordFile(user string) string { return filepath.Join(s.dir, user+".password") }

func (s *scenario) brokers() string { return strings.Join(s.kafka.Brokers(), ",") }

// as is how a user reaches the log from here.
func (s *scenario) as(user, password string) kafka.Config {
	return kafka.Config{Brokers: s.kafka.Brokers(), ClientID: user, Security: kafka.Security{
		CAFile: s.kafka.CA, SASL: kafka.SASLScram512, User: user, Password: kafka.Secret(password),
	}}
}

// environment is how a program of that user does.
func (s *scenario) environment(user string) []string {
	return []string{
		"WAYBILL_KAFKA_CA=" + s.kafka.CA, "WAYBILL_KAFKA_SASL=" + kafka.SASLScram512, "WAYBILL_KAFKA_USER=" + user,
		"WAYBILL_KAFKA_PASSWORD_FILE=" + s.passwordFile(user), "WAYBILL_BROKERS=" + s.brokers(),
	}
}

// rights are those that `waybill topics acls` lists.
func (s *scenario) rights(ctx context.Context, user string, role kafka.Role) ([]kafka.Right, error) {
	args := []string{"topics", "acls", "--role", string(role), "-o", "json", "--group", watchers}
	if strings.HasSuffix(user, "greeter") {
		args = append(args, "--type", greeting)
	}
	a := s.command(ctx, nil, args...)
	if a.code != 0 {
		return nil, fmt.Errorf("waybill %s: %d %s", strings.Join(args, " "), a.code, a.errs)
	}
	var listed struct {
		Rights []kafka.Right `json:"rights"`
	}
	err := json.Unmarshal([]byte(a.out), &listed)
	listed.Rights = slices.DeleteFunc(listed.Rights, func(r kafka.Right) bool { return r.Optional })
	return listed.Rights, err
}

func acl(user string, r kafka.Right, operations ...kadm.ACLOperation) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + user).AllowHosts().Operations(operations...).ResourcePatternType(kadm.ACLPatternLiteral)
	if r.Prefixed {
		b.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	switch r.On {
	case kafka.OnTopic:
		b.Topics(r.Name)
	case kafka.OnGroup:
		b.Groups(r.Name)
	case kafka.OnTransactionalID:
		b.TransactionalIDs(r.Name)
	}
	return b
}

func (s *scenario) give(ctx context.Context, user string, rights ...kafka.Right) error {
	for _, r := range rights {
		done, err := s.admin.CreateACLs(ctx, acl(user, r, r.Operations...))
		if err != nil {
			return err
		}
		for _, d := range done {
			if d.Err != nil {
				return fmt.Errorf("give %s %s on %s: %w %s", user, d.Operation, r.Name, d.Err, d.ErrMessage)
			}
		}
	}
	return nil
}

// take takes one operation away.
func (s *scenario) take(ctx context.Context, user string, r kafka.Right, op kadm.ACLOperation) error {
	done, err := s.admin.DeleteACLs(ctx, acl(user, r, op))
	if err != nil {
		return err
	}
	for _, d := range done {
		if d.Err != nil || len(d.Deleted) != 1 {
			return fmt.Errorf("take %s on %s from %s: %d were taken: %w", op, r.Name, user, len(d.Deleted), d.Err)
		}
	}
	return nil
}

// answer is what a command said.
type answer struct {
	out, errs string
	code      int
	took      time.Duration
}

// command runs waybill to its end, at most as long as anything may take here.
func (s *scenario) command(ctx context.Context, env []string, args ...string) answer {
	return s.program(ctx, s.bin, env, args...)
}

func (s *scenario) program(ctx context.Context, path string, env []string, args ...string) answer {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 3*promptly)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // what the scenario has built
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = s.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	a := answer{out.String(), strings.TrimSpace(errs.String()), 0, time.Since(began)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		a.code = exit.ExitCode()
	} else if err != nil {
		a.code, a.errs = -1, err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.said, "$ %s\n%s%s\n", strings.Join(args, " "), a.out, a.errs)
	return a
}

// want checks how a command ended.
func (a answer) want(what string, code int, words ...string) error {
	if a.code != code {
		return fmt.Errorf("%s: code %d, not %d: %s%s", what, a.code, code, a.out, a.errs)
	}
	for _, w := range words {
		if !strings.Contains(a.errs+a.out, w) {
			return fmt.Errorf("%s: it does not say %q: %s%s", what, w, a.out, a.errs)
		}
	}
	if code != 0 && a.took > promptly {
		return fmt.Errorf("%s: it took %s to say so", what, a.took)
	}
	n := 0
	for line := range strings.Lines(a.errs) {
		if !strings.HasPrefix(line, "time=") { // that is the log
			n++
		}
	}
	if code != 0 && n > 1 {
		return fmt.Errorf("%s: %d lines, not one: %s", what, n, a.errs)
	}
	return nil
}

func (s *scenario) topics(ctx context.Context) error {
	operator, machines := s.environment("operator"), s.environment("machines")
	serve := []string{"serve", "--roles", "machines", "--data", filepath.Join(s.dir, "early"), "--listen", "127.0.0.1:0", "--log-level", "error"}
	err := errors.Join(
		s.command(ctx, operator, "topics", "describe").want("describe without topics", 4, "missing", "waybill.orchestration.events"),
		s.command(ctx, operator, "topics", "create", "--dry-run").want("a dry run", 0, "to be created"),
		s.command(ctx, operator, "topics", "describe").want("describe after a dry run", 4, "missing"),
		s.command(ctx, machines, serve...).want("serve without topics", 4, "waybill topics create"),
		s.command(ctx, operator, "topics", "create").want("create", 0, "created"),
		s.command(ctx, operator, "topics", "create").want("create again", 0, "every topic was there"),
		s.command(ctx, operator, "topics", "describe").want("describe", 0, "waybill.blobs"),
		s.command(ctx, machines, append(serve, "--shards", "4")...).want("serve with other shards", 4, "--shards 8"),
	)
	if err != nil {
		return err
	}
	for topic, wrong := range map[string]kadm.AlterConfig{
		"waybill.orchestration.events": {Name: "retention.ms", Value: kadm.StringPtr("1000000")},
		"waybill.transfer.commands":    {Name: "unclean.leader.election.enable", Value: kadm.StringPtr("true")},
		"waybill.blobs":                {Name: "cleanup.policy", Value: kadm.StringPtr("delete")},
		"waybill.shards":               {Name: "max.message.bytes", Value: kadm.StringPtr("1000")},
	} {
		if _, err := s.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{wrong}, topic); err != nil {
			return err
		}
		err = errors.Join(err, s.command(ctx, operator, "topics", "describe").want("describe a wrong topic", 4, topic, wrong.Name, "--alter"))
	}
	return errors.Join(err,
		s.command(ctx, machines, serve...).want("serve with wrong topics", 4, "retention.ms is 1000000, want -1", "unclean.leader.election.enable", "cleanup.policy", "max.message.bytes"),
		s.command(ctx, operator, "topics", "create", "--alter").want("put right", 0, "altered"),
		s.command(ctx, operator, "topics", "describe").want("describe what was put right", 0),
	)
}

// up starts a process for each role.
func (s *scenario) up(ctx context.Context) error {
	for _, p := range []struct{ user, roles string }{{"machines", "machines"}, {"agents", "agents"}, {"front", "projections,api"}} {
		listen, err := process.FreeAddress()
		if err != nil {
			return err
		}
		switch p.user {
		case "machines":
			s.machines = "http://" + listen
		case "front":
			s.front = "http://" + listen
		}
		s.processes[p.user], err = process.Start(ctx, process.Command{
			Path: s.bin, Env: s.environment(p.user), Log: s.log,
			Args: []string{"serve", "--roles", p.roles, "--data", filepath.Join(s.dir, p.user), "--listen", listen, "--log-level", "debug"},
		})
		if err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, s.processes[p.user].Until(ctx, api.New("http://"+listen).Ready))
		}()
	}
	return nil
}

// greet starts the agent of somebody else.
func (s *scenario) greet(ctx context.Context) (err error) {
	s.processes["greeter"], err = process.Start(ctx, process.Command{
		Path: s.greeter, Env: s.environment("greeter"), Log: s.log, Args: []string{"--name", "greeter-1", "--log-level", "debug"},
	})
	return err
}

// readiness is what a server says of itself.
func readiness(ctx context.Context, server string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.String(), err
}

// until asks again and again, as long as anything may take here.
func until(ctx context.Context, what string, limit time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w: %w", what, context.Cause(ctx), err)
		}
		_ = api.Pause(ctx, 50*time.Millisecond) // its end is found out above
	}
}
