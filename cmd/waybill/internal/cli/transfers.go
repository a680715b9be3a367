package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// transferring is what is shown of a transfer.
type transferring struct {
	ID                string           `json:"id"`
	JobID             string           `json:"jobId"`
	NodeID            string           `json:"nodeId"`
	Provider          string           `json:"provider"`
	Connector         string           `json:"connector"`
	CounterPartyID    string           `json:"counterPartyId"`
	AssetID           string           `json:"assetId"`
	Way               string           `json:"way"`
	TransferType      string           `json:"transferType"`
	State             string           `json:"state"`
	Code              int              `json:"code"`
	Outcome           transfer.Outcome `json:"outcome"`
	Reason            string           `json:"reason"`
	By                string           `json:"by"`
	Error             *fault           `json:"error"`
	ProviderProcessID string           `json:"providerProcessId"`
	Resources         []struct {
		ID    string `json:"resourceDefinitionId"`
		State string `json:"state"`
		Error *fault `json:"error"`
	} `json:"resources"`
	CreatedAt     *time.Time      `json:"createdAt"`
	Since         *time.Time      `json:"since"`
	Until         *time.Time      `json:"until"`
	Deadline      *time.Time      `json:"deadline"`
	EndedAt       *time.Time      `json:"endedAt"`
	WaitingOn     *waitingOn      `json:"waitingOn"`
	Tasks         []task          `json:"tasks"`
	NegotiationID string          `json:"negotiationId"`
	AgreementID   string          `json:"agreementId"`
	Constraints   string          `json:"constraints"`
	Output        json.RawMessage `json:"output"`
	History       []moment        `json:"history"`
}

// waitingOn is on whom something waits.
type waitingOn struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

func (w *waitingOn) text() string {
	if w == nil {
		return ""
	}
	return strings.TrimSpace(w.Kind + " " + w.ID)
}

// task is a piece of work that a transfer, or a negotiation, has asked for.
type task struct {
	Type    string     `json:"type"`
	State   string     `json:"state"`
	Attempt int        `json:"attempt"`
	Agent   string     `json:"agent"`
	Since   *time.Time `json:"since"`
	NextAt  *time.Time `json:"nextAt"`
	Error   *fault     `json:"error"`
}

// lastError is what went wrong last: with the whole, else with what is under way for it.
func lastError(whole *fault, l []task) *fault {
	for i := 0; whole == nil && i < len(l); i++ {
		whole = l[i].Error
	}
	return whole
}

// besides is an error that the reason does not say already.
func besides(reason string, f *fault) string {
	if text := f.text(); text != reason {
		return text
	}
	return ""
}

// moment is when something came into a state.
type moment struct {
	State    string     `json:"state"`
	Code     int        `json:"code"`
	At       *time.Time `json:"at"`
	Inferred bool       `json:"inferred"`
	Reason   string     `json:"reason"`
	By       string     `json:"by"`
}

// over says that the transfer has come to its outcome.
func (t *transferring) over() bool { return t.Outcome != "" }

// trouble is why it ended badly, or what went wrong last.
func (t *transferring) trouble() string {
	if t.State == transfer.PhaseCompleted.String() {
		return "" // it was got over
	}
	return cmp.Or(t.Reason, lastError(t.Error, t.Tasks).text())
}

// verdict is the exit code of who waited for an outcome.
func (t *transferring) verdict(want transfer.Outcome) error {
	switch t.Outcome {
	case want:
		return nil
	case transfer.OutcomeCompleted:
		return &exitError{exitFailed, fmt.Errorf("transfer %s completed", t.ID)}
	case transfer.OutcomeTerminated:
	}
	return &exitError{exitFailed, fmt.Errorf("transfer %s was terminated: %s", t.ID, t.Reason)}
}

// accessFilter holds the flags that choose transfers, or negotiations.
type accessFilter struct {
	state, provider, connector, asset, job string
	limit                                  int
}

func (x *accessFilter) flags(cmd *cobra.Command, states string) {
	f := cmd.Flags()
	f.StringVar(&x.state, "state", "", "only in this state: "+states+" …")
	f.StringVar(&x.provider, "provider", "", "only with the provider at this address")
	f.StringVar(&x.connector, "connector", "", "only through this connector of ours")
	f.StringVar(&x.asset, "asset", "", "only of this asset")
	f.StringVar(&x.job, "job", "", "only of this job")
	f.IntVar(&x.limit, "limit", 50, "at most so many, 0 for all")
}

func (x *accessFilter) query() url.Values {
	query := url.Values{}
	for k, v := range map[string]string{"state": x.state, "provider": x.provider, "connector": x.connector, "asset": x.asset, "job": x.job} {
		if v != "" {
			query.Set(k, v)
		}
	}
	return query
}

// list asks for what the flags choose; row puts one of it into a table.
func (x *accessFilter) list(ctx context.Context, r *remote, c *client.Client, path string, header []string, row func(t *table, raw json.RawMessage) error) error {
	if x.limit < 0 {
		return usagef("--limit %d: want how many, 0 for all", x.limit)
	}
	items, more, err := pages(ctx, c, path, x.query(), x.limit)
	if err != nil {
		return err
	}
	if r.asJSON() {
		return r.printItems(items)
	}
	t := newTable(r.env.Out, header...)
	for _, raw := range items {
		if err := row(t, raw); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(r.env.Err, "there are more: --limit %d shows more of them\n", 10*x.limit)
	}
	return nil
}

func newTransfers(env *Env) *cobra.Command {
	var chosen accessFilter
	cmd := asking(env, cobra.Command{
		Use: "transfers [ID]", Short: "List transfers, newest first, or show one",
		Example: "  waybill transfers --state PROVISIONING_REQUESTED\n  waybill transfers --job order-17",
	}, cobra.MaximumNArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		if len(args) == 1 {
			return r.showTransfer(ctx, c, args[0])
		}
		return chosen.list(ctx, r, c, "/v1/transfers", []string{"ID", "ASSET", "PROVIDER", "WAY", "STATE", "WAITS FOR", "SINCE", "JOB", "REASON"}, func(t *table, raw json.RawMessage) error {
			var x transferring
			if err := decode(c, "/v1/transfers", raw, &x); err != nil {
				return err
			}
			t.row(x.ID, x.AssetID, x.Provider, x.Way, x.State, x.WaitingOn.text(), when(x.Since), x.JobID, x.trouble())
			return nil
		})
	})
	chosen.flags(cmd, "STARTED, SUSPENDED, TERMINATED")
	return cmd
}

func (r *remote) showTransfer(ctx context.Context, c *client.Client, id string) error {
	var t transferring
	raw, err := get(ctx, c, "/v1/transfers/"+segment(id), nil, &t)
	if err != nil {
		return err
	}
	if r.asJSON() {
		return r.printJSON(raw)
	}
	return r.printTransfer(&t)
}

func (r *remote) printTransfer(t *transferring) error {
	output := string(t.Output)
	if output == "null" {
		output = ""
	}
	var resources []string
	for _, x := range t.Resources {
		s := x.ID + " " + x.State
		if x.Error != nil {
			s += " (" + x.Error.text() + ")"
		}
		resources = append(resources, s)
	}
	job := t.JobID
	if t.NodeID != "" {
		job += ", node " + t.NodeID
	}
	err := facts(r.env.Out,
		"transfer", t.ID, "job", job, "asset", t.AssetID, "provider", t.Provider, "counter-party", t.CounterPartyID,
		"connector", t.Connector, "way", strings.TrimSpace(t.Way+" "+t.TransferType),
		"state", fmt.Sprintf("%s (%d)", t.State, t.Code), "since", when(t.Since), "until", when(t.Until),
		"waits for", t.WaitingOn.text(), "created", when(t.CreatedAt), "ended", when(t.EndedAt), "deadline", when(t.Deadline),
		"negotiation", t.NegotiationID, "agreement", t.AgreementID, "constraints", t.Constraints, "process", t.ProviderProcessID,
		"resources", strings.Join(resources, ", "),
		"outcome", string(t.Outcome), "reason", t.Reason, "error", besides(t.Reason, t.Error), "output", shorten(output),
	)
	if err == nil {
		err = r.printTasks(t.Tasks)
	}
	if err != nil {
		return err
	}
	return r.printHistory(t.History)
}

func (r *remote) printTasks(l []task) error {
	if len(l) == 0 {
		return nil
	}
	fmt.Fprintln(r.env.Out)
	t := newTable(r.env.Out, "WORK", "STATE", "ATTEMPT", "AGENT", "SINCE", "NEXT", "LAST ERROR")
	for _, x := range l {
		t.row(x.Type, x.State, attempt(x.Attempt), x.Agent, when(x.Since), when(x.NextAt), x.Error.text())
	}
	return t.end()
}

func (r *remote) printHistory(l []moment) error {
	fmt.Fprintln(r.env.Out)
	t := newTable(r.env.Out, "STATE", "CODE", "AT", "BY", "REASON")
	for _, m := range l {
		reason := m.Reason
		if m.Inferred {
			reason = strings.TrimSpace("(passed over) " + reason)
		}
		t.row(m.State, fmt.Sprint(m.Code), m.At.UTC().Format("2006-01-02T15:04:05.000Z"), m.By, reason)
	}
	return t.end()
}

func newTransfer(env *Env) *cobra.Command {
	below := []*cobra.Command{newTransferStart(env)}
	for _, v := range producers.TransferVerbs() {
		below = append(below, (&transferVerb{remote: remote{env: env}, verb: v}).command())
	}
	return group(cobra.Command{Use: "transfer", Short: "Start, suspend, resume, terminate and deprovision transfers"}, below...)
}

// transferStart holds the flags of transfer start.
type transferStart struct {
	remote
	straight

	id, provider, asset, party, typ   string
	destination, manifest, properties string
	deadline, timeout                 duration
	wait                              bool
}

func newTransferStart(env *Env) *cobra.Command {
	s := &transferStart{remote: remote{env: env}}
	cmd := command(env, cobra.Command{
		Use: "start --provider ADDRESS --asset ID", Short: "Start a transfer",
		Example: `  waybill transfer start --provider http://localhost:19194/protocol/2025-1 --asset asset-1 --wait
  waybill transfer start --provider http://localhost:19194/protocol/2025-1 --asset asset-1 --destination @address.json`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		if s.provider == "" || s.asset == "" {
			return usagef("--provider and --asset are needed: the address of the provider's connector, and what is wanted of it")
		}
		if s.used(cmd) {
			return s.toKafka(cmd.Context())
		}
		return s.toServer(cmd.Context())
	})
	s.remote.flags(cmd)
	s.straight.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&s.id, "id", "", "id of the transfer (default a new one); the same id and body again change nothing")
	f.StringVar(&s.provider, "provider", "", "address of the provider's connector")
	f.StringVar(&s.asset, "asset", "", "asset that is wanted")
	f.StringVar(&s.party, "counter-party", "", "the provider's own id (default what its catalog says)")
	f.StringVar(&s.typ, "transfer-type", "", "one of the provider's formats, HttpData-PULL …")
	f.StringVar(&s.destination, "destination", "", "data address that the provider sends to: JSON, @FILE, or @- for the standard input; a server seals the secrets in it")
	f.StringVar(&s.manifest, "manifest", "", "resources to be provisioned: JSON, @FILE, or @-")
	f.StringVar(&s.properties, "properties", "", "handed to whoever fetches: JSON, @FILE, or @-")
	f.Var(&s.deadline, "deadline", "of the transfer in total, 2s or PT2S")
	f.BoolVar(&s.wait, "wait", false, "wait until the transfer is over; exit 1 unless it has completed")
	f.Var(&s.timeout, "timeout", "wait no longer than this; exit 3")
	return cmd
}

// initiate is what the flags ask for.
func (s *transferStart) initiate() (transfer.Initiate, error) {
	c := transfer.Initiate{
		Provider: s.provider, AssetID: s.asset, CounterPartyID: s.party, TransferType: s.typ, Deadline: definition.Duration(s.deadline),
	}
	var err error
	if s.destination != "" {
		c.Destination, err = readJSON(s.env, "--destination", s.destination)
	}
	if err == nil && s.properties != "" {
		c.Properties, err = readJSON(s.env, "--properties", s.properties)
	}
	if err == nil && s.manifest != "" {
		var raw json.RawMessage
		if raw, err = readJSON(s.env, "--manifest", s.manifest); err == nil {
			c.Manifest = new(transfer.Manifest)
			if err = json.Unmarshal(raw, c.Manifest); err != nil {
				err = usagef("--manifest: %w", err)
			}
		}
	}
	return c, err
}

func (s *transferStart) toServer(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	asked, err := s.initiate()
	if err != nil {
		return err
	}
	_, body, err := schemas.EncodeTransferCommand(asked)
	if err == nil && s.id != "" {
		body, err = withID(body, s.id)
	}
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, s.timeout)
	defer cancel()
	a, err := write(ctx, c, http.MethodPost, "/v1/transfers", body)
	if err != nil {
		return err
	}
	var started accepted
	if err := decode(c, "/v1/transfers", a.Body, &started); err != nil {
		return err
	}
	switch {
	case s.wait:
		return s.awaitOver(ctx, c, started, transfer.OutcomeCompleted)
	case s.asJSON():
		return s.printJSON(a.Body)
	}
	done := "started"
	if a.Status == http.StatusAccepted {
		done = "accepted, but not decided within " + decisionWait + " s"
	}
	fmt.Fprintf(s.env.Out, "transfer %s %s\n", started.ID, done)
	return nil
}

// withID puts an id into the body of a request.
func withID(body []byte, id string) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	var err error
	if members["id"], err = json.Marshal(id); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

// awaitOver waits for a transfer's outcome, says how it went, and makes that the exit code.
func (r *remote) awaitOver(ctx context.Context, c *client.Client, a accepted, want transfer.Outcome) error {
	if !r.asJSON() {
		fmt.Fprintf(r.env.Err, "waiting for the outcome of transfer %s\n", a.ID)
	}
	path := "/v1/transfers/" + segment(a.ID)
	var t transferring
	raw, err := untilOver(ctx, c, path, a, func(raw json.RawMessage) (bool, error) {
		t = transferring{}
		err := decode(c, path, raw, &t)
		return t.over(), err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return timedOutf("transfer %s is not over yet: `waybill transfers %s` shows it", a.ID, a.ID)
	case err != nil:
		return err
	case r.asJSON():
		err = r.printJSON(raw)
	default:
		err = r.printTransfer(&t)
	}
	return errors.Join(err, t.verdict(want))
}

func (s *transferStart) toKafka(ctx context.Context) error {
	if s.wait {
		return usagef("--wait asks a server; give --server instead of --brokers")
	}
	asked, err := s.initiate()
	if err != nil {
		return err
	}
	return s.publish(ctx, &s.straight, "transfer %s asked for at %s\n", func(ctx context.Context, p *producers.Publisher) (producers.Accepted, error) {
		return p.InitiateTransfer(ctx, producers.Transfer{ID: s.id, Initiate: asked})
	})
}

// publish writes a command straight to Kafka and says so.
func (r *remote) publish(ctx context.Context, s *straight, text string, do func(context.Context, *producers.Publisher) (producers.Accepted, error)) error {
	if r.output != "table" && r.output != "json" {
		return usagef("--output %s: want table or json", r.output)
	}
	if err := s.check(r.env); err != nil {
		return err
	}
	a, err := publishing(ctx, s.kafka(), do)
	if err != nil {
		return err
	}
	if r.asJSON() {
		return r.printValue(a)
	}
	fmt.Fprintf(r.env.Out, text, a.ID, a.Position)
	return nil
}

// transferVerb holds the flags of a command that says a verb of a transfer.
type transferVerb struct {
	remote
	straight

	verb       producers.Verb
	reason, by string
	wait       bool
	timeout    duration
}

func (v *transferVerb) command() *cobra.Command {
	cmd := command(v.env, cobra.Command{
		Use: v.verb.Name + " ID", Short: v.verb.Does,
		Example: "  waybill transfer " + v.verb.Name + " ID --reason 'asked for by the customer'",
	}, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		if !v.used(cmd) {
			return v.toServer(cmd.Context(), args[0])
		}
		if v.wait {
			return usagef("--wait asks a server; give --server instead of --brokers")
		}
		return v.publish(cmd.Context(), &v.straight, "transfer %s asked to "+v.verb.Name+" at %s\n", func(ctx context.Context, p *producers.Publisher) (producers.Accepted, error) {
			return p.OperateTransfer(ctx, producers.TransferOperation{Verb: v.verb, ID: args[0], Reason: v.reason, By: v.by})
		})
	})
	v.remote.flags(cmd)
	v.straight.flags(cmd)
	f := cmd.Flags()
	user, _ := v.env.Getenv("USER")
	f.StringVar(&v.reason, "reason", "", "why, for those who look at it later")
	f.StringVar(&v.by, "by", user, "who")
	switch v.verb.Type {
	case schemas.TransferTerminate:
		f.BoolVar(&v.wait, "wait", false, "wait until the transfer is over; exit 1 if it had completed before")
	case schemas.TransferResume:
		f.BoolVar(&v.wait, "wait", false, "wait until the transfer is over; exit 1 unless it has completed")
	default:
		return cmd
	}
	f.Var(&v.timeout, "timeout", "wait no longer than this; exit 3")
	return cmd
}

func (v *transferVerb) toServer(ctx context.Context, id string) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	body, err := request(producers.Operation{Reason: v.reason, By: v.by})
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, v.timeout)
	defer cancel()
	path := "/v1/transfers/" + segment(id)
	a, err := write(ctx, c, http.MethodPost, path+"/"+v.verb.Name, body)
	if err != nil {
		return err
	}
	if v.wait {
		var said accepted
		if err := decode(c, path, a.Body, &said); err != nil {
			return err
		}
		want := transfer.OutcomeCompleted
		if v.verb.Type == schemas.TransferTerminate {
			want = transfer.OutcomeTerminated
		}
		return v.awaitOver(ctx, c, said, want)
	}
	if v.asJSON() {
		return v.printJSON(a.Body)
	}
	done := v.verb.Done
	if a.Status != http.StatusOK {
		done = "asked to " + v.verb.Name + "; not decided yet"
	}
	fmt.Fprintf(v.env.Out, "transfer %s %s\n", id, done)
	return nil
}
