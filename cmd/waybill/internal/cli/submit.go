package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/producers"
)

// decisionWait is how long submit and cancel wait to hear of a refusal, in seconds.
const decisionWait = "10"

// straight holds the flags of commands that can also go straight to Kafka.
type straight struct {
	brokers  []string
	prefix   string
	security kafka.Security
}

func (s *straight) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&s.brokers, "brokers", nil, "publish straight to Kafka at host:port,… instead of asking a server")
	cmd.Flags().StringVar(&s.prefix, "prefix", kafka.DefaultPrefix, "first part of topic names, with --brokers")
	securityFlags(cmd.Flags(), &s.security)
}

// used says that the command goes to Kafka. The setting may come from a file that is
// meant for serve, so only the flag itself counts.
func (s *straight) used(cmd *cobra.Command) bool { return cmd.Flags().Changed("brokers") }

// check says what is wrong with the addresses before anything is dialled.
func (s *straight) check(env *Env) error {
	if len(s.brokers) == 0 {
		return usagef("--brokers is empty: want host:port,…")
	}
	return secure(env, s.brokers, &s.security)
}

func (s *straight) kafka() kafka.Config {
	return kafka.Config{Brokers: s.brokers, Prefix: s.prefix, ClientID: "waybill-cli", Security: s.security}
}

// submission holds the flags of submit.
type submission struct {
	remote
	straight

	id, typ, input, callback string
	name, set                string
	labels                   map[string]string
	partial, wait            bool
	deadline, timeout        duration
}

func newSubmit(env *Env) *cobra.Command {
	s := &submission{remote: remote{env: env}}
	cmd := command(env, cobra.Command{
		Use: "submit --type TYPE [--input JSON|@FILE]", Short: "Start a job",
		Example: `  waybill submit --type parts-tree --input @order.json --wait
  waybill submit --type greet --input '{"name": "Ada"}' --id greet-ada --brokers 127.0.0.1:9092`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		input, err := s.readInput()
		if err != nil {
			return err
		}
		if s.typ == "" {
			return usagef("--type is needed: `waybill definitions` lists what there is")
		}
		if s.used(cmd) {
			return s.toKafka(cmd.Context(), input)
		}
		return s.toServer(cmd.Context(), input)
	})
	s.remote.flags(cmd)
	s.straight.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&s.typ, "type", "", "type of the orchestration")
	f.StringVar(&s.input, "input", "{}", "its input: JSON, @FILE, or @- for the standard input")
	f.StringVar(&s.id, "id", "", "id of the job (default a new one); the same id and body again change nothing")
	f.BoolVar(&s.wait, "wait", false, "wait until the job has ended; exit 1 unless it has completed")
	f.Var(&s.timeout, "timeout", "wait no longer than this; exit 3")
	f.BoolVar(&s.partial, "partial", false, "end well with what could be had")
	f.Var(&s.deadline, "deadline", "of the job in total, 2s or PT2S")
	f.StringToStringVar(&s.labels, "label", nil, "NAME=VALUE, repeatable")
	f.StringVar(&s.callback, "callback", "", "URL told of the end")
	f.StringVar(&s.name, "name", "", "name of what it deploys (default the id): apply finds it by this")
	f.StringVar(&s.set, "set", "", "whose it is: what is applied together")
	return cmd
}

func (s *submission) readInput() (json.RawMessage, error) { return readJSON(s.env, "--input", s.input) }

// readJSON reads a flag that is JSON, or names a file of it.
func readJSON(env *Env, flag, value string) (json.RawMessage, error) {
	text, where := []byte(value), flag
	if name, ok := strings.CutPrefix(value, "@"); ok {
		var err error
		if where = name; name == "-" {
			where = "standard input"
			text, err = io.ReadAll(env.In)
		} else {
			text, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, usagef("%s: %w", flag, err)
		}
	}
	var raw json.RawMessage
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &raw); err != nil {
		return nil, usagef("%s is not JSON: %w", where, err)
	}
	return raw, nil
}

func (s *submission) start(input json.RawMessage) producers.Start {
	return producers.Start{
		ID: s.id, Type: s.typ, Input: input, Partial: s.partial, Deadline: time.Duration(s.deadline),
		Labels: s.labels, Callback: s.callback, Name: s.name, Set: s.set,
	}
}

func (s *submission) body(input json.RawMessage) ([]byte, error) {
	body := map[string]any{"type": s.typ, "input": input}
	if s.id != "" {
		body["id"] = s.id
	}
	if s.partial {
		body["partial"] = true
	}
	if s.deadline > 0 {
		body["deadline"] = time.Duration(s.deadline).String()
	}
	if len(s.labels) > 0 {
		body["labels"] = s.labels
	}
	for member, v := range map[string]string{"callback": s.callback, "name": s.name, "set": s.set} {
		if v != "" {
			body[member] = v
		}
	}
	return json.Marshal(body)
}

// accepted is what a write answers.
type accepted struct {
	ID        string `json:"id"`
	CommandID string `json:"commandId"`
	Position  string `json:"position"`
}

func (s *submission) toServer(ctx context.Context, input json.RawMessage) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	body, err := s.body(input)
	if err != nil {
		return usagef("--input: %w", err)
	}
	ctx, cancel := withTimeout(ctx, s.timeout)
	defer cancel()
	a, err := write(ctx, c, http.MethodPost, "/v1/jobs", body)
	if err != nil {
		return err
	}
	var job accepted
	if err := decode(c, "/v1/jobs", a.Body, &job); err != nil {
		return err
	}
	if s.wait {
		return s.awaitEnd(ctx, c, job)
	}
	if s.asJSON() {
		return s.printJSON(a.Body)
	}
	done := "started"
	if a.Status == http.StatusAccepted {
		done = "accepted, but not decided within " + decisionWait + " s"
	}
	fmt.Fprintf(s.env.Out, "job %s %s\n", job.ID, done)
	return nil
}

func withTimeout(ctx context.Context, d duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(d))
}

// write sends a command and waits a while for its decision, so that a refusal is told.
func write(ctx context.Context, c *client.Client, method, path string, body []byte) (client.Answer, error) {
	return writeWith(ctx, c, method, path, nil, body)
}

func writeWith(ctx context.Context, c *client.Client, method, path string, query url.Values, body []byte) (client.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return c.Do(ctx, method, path, query, body, http.Header{"Prefer": {"wait=" + decisionWait}})
}

// awaitEnd waits for the end of a job, says how it went, and makes that the exit code.
func (s *submission) awaitEnd(ctx context.Context, c *client.Client, a accepted) error {
	if !s.asJSON() {
		fmt.Fprintf(s.env.Err, "job %s started; waiting for its end\n", a.ID)
	}
	j, raw, err := untilEnded(ctx, c, a)
	if err != nil {
		return err
	}
	if s.asJSON() {
		err = s.printJSON(raw)
	} else {
		err = s.printJob(j)
	}
	return errors.Join(err, j.verdict())
}

// longPoll is how long one request waits for the end of a job.
const longPoll = 20 * time.Second

func untilEnded(ctx context.Context, c *client.Client, a accepted) (*job, json.RawMessage, error) {
	var j job
	raw, err := untilOver(ctx, c, "/v1/jobs/"+segment(a.ID), a, func(raw json.RawMessage) (bool, error) {
		j = job{}
		err := decode(c, "/v1/jobs/"+segment(a.ID), raw, &j)
		return j.ended(), err
	})
	if err != nil && ctx.Err() != nil {
		err = timedOutf("job %s has not ended yet: `waybill watch %s` follows it", a.ID, a.ID)
	}
	return &j, raw, err
}

// untilOver asks for something again and again until it is over.
func untilOver(ctx context.Context, c *client.Client, path string, a accepted, over func(json.RawMessage) (bool, error)) (json.RawMessage, error) {
	query := url.Values{"wait": {longPoll.String()}}
	if a.Position != "" {
		query.Set("position", a.Position)
	}
	alive := time.Now()
	for {
		raw, err := get(ctx, c, path, query, nil)
		done := false
		if err == nil {
			done, err = over(raw)
		}
		switch {
		case ctx.Err() != nil:
			return nil, timedOutf("%s is not over yet", a.ID)
		case isStatus(err, http.StatusGatewayTimeout): // the view is behind
		case exitCode(err) == exitUnreachable && time.Since(alive) < comeBack:
			select { // it goes on when the server comes back
			case <-time.After(retryInterval):
			case <-ctx.Done():
			}
			continue
		case err != nil:
			return nil, err
		case done:
			return raw, nil
		}
		alive = time.Now()
	}
}

func isStatus(err error, status int) bool {
	var s *client.StatusError
	return errors.As(err, &s) && s.Status == status
}
