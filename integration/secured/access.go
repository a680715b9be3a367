package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// denials takes rights away from users that nothing depends on, each in turn, and sees what is said.
func (s *scenario) denials(ctx context.Context) error {
	var mu sync.Mutex
	var all error
	var roles sync.WaitGroup
	tried := 0
	for user, play := range map[string]func(ctx context.Context, user string, r kafka.Right, op kadm.ACLOperation) error{
		"less-machines": s.servesLess("machines"), "less-agents": s.servesLess("agents"), "less-front": s.servesLess("projections,api"),
		"less-greeter": s.greetsLess, "less-publisher": s.publishesLess, "less-subscriber": s.subscribesLess, "less-operator": s.operatesLess,
	} {
		roles.Go(func() {
			n, err := s.eachFewer(ctx, user, play)
			mu.Lock()
			defer mu.Unlock()
			tried, all = tried+n, errors.Join(all, err)
		})
	}
	roles.Go(func() {
		err := s.lost(ctx)
		mu.Lock()
		defer mu.Unlock()
		all = errors.Join(all, err)
	})
	roles.Wait()
	fmt.Printf("  %d rights were taken away, one at a time\n", tried)
	return all
}

// lost takes the rights away from a running server that it follows the log and the definitions by: readiness names them, and
// it goes on when they are back, without being started again.
func (s *scenario) lost(ctx context.Context) error {
	const user = "front"
	names := []string{"waybill.definition.events", "waybill.definitions"}
	var rights []kafka.Right
	for _, role := range users()[user] {
		all, err := s.rights(ctx, user, role)
		if err != nil {
			return err
		}
		for _, r := range all {
			if i := slices.Index(names, r.Name); i >= 0 {
				names = slices.Delete(names, i, i+1)
				rights = append(rights, r)
			}
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("%s has no right to %v that could be taken away", user, names)
	}
	for _, r := range rights {
		for _, op := range r.Operations {
			if err := s.take(ctx, user, r, op); err != nil {
				return err
			}
		}
	}
	front := api.New(s.front)
	err := until(ctx, "readiness names the rights that were taken away", 3*promptly, func() error {
		said, err := readiness(ctx, s.front)
		// One role after the other: what projections lack is named first.
		if err == nil && (!strings.Contains(said, rights[0].Name) || !strings.Contains(said, `"ready":false`)) {
			err = errors.New(said)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.give(ctx, user, rights...); err != nil {
		return err
	}
	if err := s.processes[user].Until(ctx, front.Ready); err != nil {
		return fmt.Errorf("with its rights back: %w", err)
	}
	const again = `{"type": "again", "activities": [{"id": "do", "type": "noop"}]}`
	if err := front.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/again", []byte(again), nil); err != nil {
		return fmt.Errorf("with its rights back: %w", err)
	}
	return front.Insist(ctx, http.MethodGet, "/v1/definitions/orchestrations/again", nil, nil)
}

// few is how many rights of a user are tried unless all are: from the beginning, the middle and the end.
const few = 3

// eachFewer takes one operation after the other away from a user, and gives it back.
func (s *scenario) eachFewer(ctx context.Context, user string, play func(context.Context, string, kafka.Right, kadm.ACLOperation) error) (tried int, err error) {
	type one struct {
		right kafka.Right
		op    kadm.ACLOperation
	}
	var ones []one
	for _, role := range users()[user] {
		rights, err := s.rights(ctx, user, role)
		if err != nil {
			return 0, err
		}
		for _, r := range rights {
			for _, op := range r.Operations {
				ones = append(ones, one{r, op})
			}
		}
	}
	if !s.full {
		ones = []one{ones[0], ones[len(ones)/2], ones[len(ones)-1]}[:min(few, len(ones))]
	}
	for _, o := range ones {
		if err := s.take(ctx, user, o.right, o.op); err != nil {
			return tried, err
		}
		tried++
		if err := play(ctx, user, o.right, o.op); err != nil {
			return tried, fmt.Errorf("%s without %s on %s %s: %w", user, o.op, o.right.On, o.right.Name, err)
		}
		r := o.right
		r.Operations = []kadm.ACLOperation{o.op}
		if err := s.give(ctx, user, r); err != nil {
			return tried, err
		}
	}
	return tried, nil
}

// named is how a right that is missing is named.
func named(r kafka.Right, op kadm.ACLOperation) []string {
	r.Operations = []kadm.ACLOperation{op}
	if r.Prefixed { // of those that begin with it, one that is there is named
		return []string{r.Names() + " on " + r.On + " " + r.Name}
	}
	return []string{r.Names() + " on " + r.On + " " + r.Name + " "}
}

// servesLess starts a server that lacks a right.
func (s *scenario) servesLess(roles string) func(context.Context, string, kafka.Right, kadm.ACLOperation) error {
	return func(ctx context.Context, user string, r kafka.Right, op kadm.ACLOperation) error {
		if r.On == kafka.OnTransactionalID {
			return s.writesLess(ctx, user, roles)
		}
		return until(ctx, "it starts no more", 3*promptly, func() error { // the brokers hear of rights a moment later
			return s.command(ctx, s.environment(user), "serve", "--roles", roles, "--data", filepath.Join(s.dir, user), "--listen", "127.0.0.1:0", "--log-level", "error").
				want("serve", 4, named(r, op)...)
		})
	}
}

// writesLess starts machines that may not use their transactional ids: only taking a shard shows that.
func (s *scenario) writesLess(ctx context.Context, user, roles string) error {
	listen, err := process.FreeAddress()
	if err != nil {
		return err
	}
	return until(ctx, "readiness names the transactional id", 3*promptly, func() error {
		p, err := process.Start(ctx, process.Command{
			Path: s.bin, Env: s.environment(user), Log: s.log,
			Args: []string{"serve", "--roles", roles, "--data", filepath.Join(s.dir, user), "--listen", listen},
		})
		if err != nil {
			return err
		}
		err = p.Until(ctx, func(ctx context.Context) error { // it ends where it has not got back its other rights yet
			return until(ctx, "readiness", 2*promptly, func() error {
				err := api.New("http://"+listen).Once(ctx, "GET", "/readyz", nil, nil)
				if err == nil {
					return errors.New("it is ready")
				}
				if said := err.Error(); !strings.Contains(said, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED") || !strings.Contains(said, "waybill topics acls") {
					return err
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		_, err = p.Stop(promptly)
		return err
	})
}

// greetsLess starts the agent of somebody else.
func (s *scenario) greetsLess(ctx context.Context, user string, r kafka.Right, op kadm.ACLOperation) error {
	return until(ctx, "it starts no more", 3*promptly, func() error {
		limited, cancel := context.WithTimeout(ctx, promptly)
		defer cancel()
		return s.program(limited, s.greeter, s.environment(user)).want("greeter", 4, named(r, op)...)
	})
}

// publishesLess publishes to every aggregate type, from a program and from the command line.
func (s *scenario) publishesLess(ctx context.Context, user string, r kafka.Right, _ kadm.ACLOperation) error {
	if strings.HasSuffix(r.Name, "orchestration.commands") || strings.HasSuffix(r.Name, "blobs") {
		return until(ctx, "it is not published", 3*promptly, func() error {
			return s.command(ctx, s.environment(user), "submit", "--brokers", s.brokers(), "--type", "none", "--input", "@"+filepath.Join(s.dir, "input.json")).
				want("submit", 4, r.Name, "TOPIC_AUTHORIZATION_FAILED", "waybill topics acls")
		})
	}
	p, err := producers.New(s.as(user, s.passwords[user]))
	if err != nil {
		return err
	}
	defer p.Close()
	aggregate := strings.TrimSuffix(strings.TrimPrefix(r.Name, "waybill."), ".commands")
	return until(ctx, "it is not published", 3*promptly, func() error {
		_, err := p.Publish(ctx, producers.Command{Aggregate: aggregate, ID: producers.NewID(), Type: "none.v1", Key: "none"})
		return denied(err, r.Name)
	})
}

// denied wants an error of access that names something.
func denied(err error, name string) error {
	access, ok := errors.AsType[*kafka.AccessError](err)
	if !ok {
		return fmt.Errorf("want an error of access, not %w", errors.Join(err, errors.New("(nothing)")))
	}
	if !strings.Contains(err.Error(), name) || !strings.Contains(access.Do, "waybill topics acls") {
		return fmt.Errorf("it does not say %s and what to do: %w", name, err)
	}
	return nil
}

// subscribesLess subscribes to the completions of every aggregate type.
func (s *scenario) subscribesLess(ctx context.Context, user string, r kafka.Right, _ kadm.ACLOperation) error {
	if strings.HasSuffix(r.Name, "blobs") {
		return nil // only a large output needs it
	}
	return until(ctx, "nothing is told", 3*promptly, func() error {
		limited, cancel := context.WithTimeout(ctx, promptly/3)
		defer cancel()
		cfg := completions.Config{Kafka: s.as(user, s.passwords[user]), Group: watchers, IDs: []string{"nobody"}}
		var err error
		switch r.Name {
		case "waybill.transfer.completions":
			err = completions.SubscribeTransfers(limited, cfg, func(completions.Transfer) error { return nil })
		case "waybill.negotiation.completions":
			err = completions.SubscribeNegotiations(limited, cfg, func(completions.Negotiation) error { return nil })
		case "waybill.definition.completions":
			return nil // there is no such subscription
		default:
			err = completions.Subscribe(limited, cfg, func(completions.Completion) error { return nil })
		}
		return denied(err, r.Name)
	})
}

// operatesLess creates, looks at and alters topics.
func (s *scenario) operatesLess(ctx context.Context, user string, _ kafka.Right, op kadm.ACLOperation) error {
	args := []string{"topics", "describe"}
	switch op { //nolint:exhaustive // an operator has no others
	case kmsg.ACLOperationCreate:
		args = []string{"topics", "create", "--type", "another.example.com"}
	case kmsg.ACLOperationAlterConfigs:
		wrong := kadm.AlterConfig{Name: "retention.ms", Value: kadm.StringPtr("1000")}
		if _, err := s.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{wrong}, "waybill.work."+greeting); err != nil { // machines do not look at it
			return err
		}
		args = []string{"topics", "create", "--alter", "--type", greeting}
	case kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs: // the other operations imply them
		return nil
	}
	return until(ctx, "the operator may not", 3*promptly, func() error {
		return s.command(ctx, s.environment(user), args...).want(strings.Join(args, " "), 4, "TOPIC_AUTHORIZATION_FAILED", "waybill topics acls")
	})
}

// strangers are not let in.
func (s *scenario) strangers(ctx context.Context) error {
	wrong := filepath.Join(s.dir, "wrong.password")
	if err := os.WriteFile(wrong, []byte("pw-wrong-1a2b\n"), 0o600); err != nil {
		return err
	}
	s.mu.Lock()
	s.passwords["wrong"] = "pw-wrong-1a2b"
	s.mu.Unlock()
	other := filepath.Join(s.dir, "other-ca.pem")
	if err := otherAuthority(ctx, s.dir, other); err != nil {
		return err
	}
	submit := []string{"submit", "--brokers", s.brokers(), "--type", "none"}
	serve := []string{"serve", "--brokers", s.brokers(), "--roles", "machines", "--listen", "127.0.0.1:0", "--log-level", "error"}
	greet := []string{"--brokers", s.brokers()}
	cases := []struct {
		what, says string
		args       []string
	}{
		{"a wrong password", "SASL_AUTHENTICATION_FAILED", []string{"--kafka-password-file", wrong}},
		{"an unknown user", "SASL_AUTHENTICATION_FAILED", []string{"--kafka-user", "nobody"}},
		{"another authority", "unknown authority", []string{"--kafka-ca", other}},
		{"another name", "--kafka-server-name", []string{"--kafka-server-name", "kafka.example.com"}},
		{"a mechanism for which the user has no password", "SASL_AUTHENTICATION_FAILED", []string{"--kafka-sasl", kafka.SASLPlain}},
	}
	var mu sync.Mutex
	var all error
	var running sync.WaitGroup
	try := func(what string, do func() error) {
		running.Go(func() {
			if err := do(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = errors.Join(all, fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	for i, c := range cases {
		try(c.what, func() error {
			err := s.command(ctx, s.environment("publisher"), slices.Concat(submit, c.args)...).want("submit", 4, c.says)
			if i > 0 && !s.full {
				return err
			}
			return errors.Join(err,
				s.command(ctx, s.environment("machines"), slices.Concat(serve, []string{"--data", filepath.Join(s.dir, fmt.Sprint("stranger-", i))}, c.args)...).want("serve", 4, c.says),
				s.program(ctx, s.greeter, s.environment("greeter"), slices.Concat(greet, c.args)...).want("greeter", 4, c.says))
		})
	}
	nobody := []string{"WAYBILL_BROKERS=" + s.brokers()}
	try("without TLS", func() error { return s.command(ctx, nobody, submit...).want("submit", 4, "--kafka-tls") })
	try("without a user", func() error {
		return s.command(ctx, nobody, append(submit, "--kafka-ca", s.kafka.CA)...).want("submit", 4, "--kafka-sasl")
	})
	try("a subscriber with a wrong password", func() error {
		err := completions.Subscribe(ctx, completions.Config{Kafka: s.as("subscriber", "pw-wrong-1a2b")}, func(completions.Completion) error { return nil })
		if _, ok := errors.AsType[*kafka.AccessError](err); !ok {
			return fmt.Errorf("it is not told: %w", err)
		}
		return nil
	})
	running.Wait()
	return all
}

// otherWays are the other mechanisms, and a password that changes.
func (s *scenario) otherWays(ctx context.Context) error {
	if err := s.give(ctx, "plain", kafka.Right{On: kafka.OnTopic, Name: "waybill.", Prefixed: true, Operations: []kadm.ACLOperation{kmsg.ACLOperationWrite}}); err != nil {
		return err
	}
	if err := s.password(ctx, "publisher", s.passwords["publisher"], kadm.ScramSha256); err != nil {
		return err
	}
	submit := []string{"submit", "--brokers", s.brokers(), "--type", "none"}
	err := errors.Join(
		s.command(ctx, s.environment("plain"), append(submit, "--kafka-sasl", kafka.SASLPlain)...).want("PLAIN", 0),
		until(ctx, "SCRAM-SHA-256", promptly, func() error {
			return s.command(ctx, s.environment("publisher"), append(submit, "--kafka-sasl", kafka.SASLScram256)...).want("submit", 0)
		}),
	)
	if err != nil {
		return err
	}
	// Somebody changes the password. Who runs goes on, and its new connections take the new one.
	p, err := producers.New(s.fromFile("publisher"))
	if err != nil {
		return err
	}
	defer p.Close()
	publish := func() error {
		_, err := p.Publish(ctx, producers.Command{Aggregate: schemas.AggregateOrchestration, ID: producers.NewID(), Type: "none.v1", Key: "none"})
		return err
	}
	if err := publish(); err != nil {
		return err
	}

	changed := "pw-changed-9d41"
	s.passwords["changed"] = changed
	if err := s.password(ctx, "publisher", changed, kadm.ScramSha512); err != nil {
		return err
	}
	err = until(ctx, "the old password lets nobody in", promptly, func() error {
		return s.command(ctx, s.environment("publisher"), submit...).want("submit", 4, "SASL_AUTHENTICATION_FAILED")
	})
	if err = errors.Join(err, os.WriteFile(s.passwordFile("publisher"), []byte(changed), 0o600)); err != nil {
		return err
	}

	if s.full { // the broker ends every connection
		if err := s.kafka.Restart(ctx, 1); err != nil {
			return err
		}
	}
	return errors.Join(s.command(ctx, s.environment("publisher"), submit...).want("submit with the new password", 0), until(ctx, "publish goes on", promptly, publish))
}

// fromFile is how a user reaches the log whose password may change.
func (s *scenario) fromFile(user string) kafka.Config {
	c := s.as(user, "")
	c.Security.PasswordFile = s.passwordFile(user)
	return c
}

func (s *scenario) password(ctx context.Context, user, password string, mechanism kadm.ScramMechanism) error {
	done, err := s.admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: password}})
	if err == nil {
		err = done.Error()
	}
	return err
}

// certificates starts a cluster where a certificate is all that tells who somebody is.
func (s *scenario) certificates(ctx context.Context) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{MTLS: true, ACL: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }() //nolint:contextcheck // it is stopped when ctx has ended, too
	someone, err := c.Certify(ctx, "someone")
	if err != nil {
		return err
	}
	as := func(cert cluster.Certificate, args ...string) answer {
		return s.command(ctx, []string{
			"WAYBILL_BROKERS=" + strings.Join(c.Brokers(), ","), "WAYBILL_KAFKA_CA=" + c.CA, "WAYBILL_KAFKA_CERT=" + cert.Cert, "WAYBILL_KAFKA_KEY=" + cert.Key,
		}, args...)
	}
	return errors.Join(
		as(c.Admin, "topics", "create", "--shards", "1").want("an operator with a certificate", 0, "created"),
		as(someone, "topics", "describe", "--shards", "1").want("somebody with a certificate and no rights", 4, "missing"),
		as(someone, "submit", "--brokers", strings.Join(c.Brokers(), ","), "--type", "none").want("publish without a right", 4, "TOPIC_AUTHORIZATION_FAILED"),
		as(cluster.Certificate{}, "topics", "describe").want("nobody", 4, "--kafka-cert"),
		as(cluster.Certificate{Cert: someone.Cert, Key: c.Admin.Key}, "topics", "describe").want("a certificate with another's key", 2, "private key"),
	)
}

// secrets looks for every password in all that was said, and on the command lines.
func (s *scenario) secrets(context.Context) error {
	output, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	s.mu.Lock()
	places := map[string]string{"the programs' output": string(output), "what commands said": s.said.String()}
	s.mu.Unlock()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(line), s.dir) {
			places[path] = string(line)
		}
	}
	if len(output) == 0 || len(places) < 3 {
		return errors.New("there is nothing to look at")
	}
	for where, text := range places {
		for user, password := range s.passwords {
			if strings.Contains(text, password) {
				err = errors.Join(err, fmt.Errorf("the password of %s stands in %s", user, where))
			}
		}
	}
	fmt.Printf("  %d passwords were sought in %d places, %d bytes of output\n", len(s.passwords), len(places), len(output))
	return err
}

// otherAuthority makes a certificate authority that nobody here believes.
func otherAuthority(ctx context.Context, dir, path string) error {
	out, err := exec.CommandContext(ctx, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", //nolint:gosec // ours
		"-keyout", filepath.Join(dir, "other.key"), "-subj", "/CN=another", "-days", "1", "-out", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("openssl: %w: %s", err, out)
	}
	return nil
}
