package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// negotiated is what is shown of a round of a negotiation.
type negotiated struct {
	ID             string     `json:"id"`
	Round          int        `json:"round"`
	Provider       string     `json:"provider"`
	Connector      string     `json:"connector"`
	CounterPartyID string     `json:"counterPartyId"`
	AssetID        string     `json:"assetId"`
	Constraints    string     `json:"constraints"`
	State          string     `json:"state"`
	Code           int        `json:"code"`
	TheirID        string     `json:"connectorNegotiationId"`
	AgreementID    string     `json:"agreementId"`
	Agreement      *agreement `json:"agreement"`
	EDR            edr        `json:"edr"`
	Reason         string     `json:"reason"`
	By             string     `json:"by"`
	Error          *fault     `json:"error"`
	CreatedAt      *time.Time `json:"createdAt"`
	Since          *time.Time `json:"since"`
	Until          *time.Time `json:"until"`
	EndedAt        *time.Time `json:"endedAt"`
	Tasks          []task     `json:"tasks"`
	Waiters        []struct {
		ID    string     `json:"id"`
		JobID string     `json:"jobId"`
		Need  string     `json:"need"`
		Since *time.Time `json:"since"`
	} `json:"waiters"`
	History []moment `json:"history"`
}

type agreement struct {
	State string     `json:"state"`
	Until *time.Time `json:"until"`
}

type edr struct {
	State     string     `json:"state"`
	Since     *time.Time `json:"since"`
	ExpiresAt *time.Time `json:"expiresAt"`
	Until     *time.Time `json:"until"` // we use it
	ProcessID string     `json:"processId"`
}

// text says of what use it is.
func (e edr) text() string {
	if e.State == "" || e.State == "NONE" {
		return ""
	}
	s := e.State + " since " + when(e.Since)
	if e.ExpiresAt != nil {
		s += ", expires " + when(e.ExpiresAt)
	}
	if e.Until != nil {
		s += ", used until " + when(e.Until)
	}
	if e.ProcessID != "" {
		s += ", process " + e.ProcessID
	}
	return s
}

// trouble is why it ended badly, or what went wrong last; also for the EDR of one that ended well.
func (n *negotiated) trouble() string {
	if n.State == negotiation.PhaseFinalized.String() {
		return lastError(nil, n.Tasks).text()
	}
	return cmp.Or(n.Reason, lastError(n.Error, n.Tasks).text())
}

func newNegotiations(env *Env) *cobra.Command {
	var chosen accessFilter
	cmd := asking(env, cobra.Command{
		Use: "negotiations [ID]", Short: "List the rounds of negotiations, newest first, or show one",
		Example: "  waybill negotiations --state TERMINATED\n  waybill negotiations --asset asset-1",
	}, cobra.MaximumNArgs(1), func(ctx context.Context, r *remote, c *client.Client, args []string) error {
		if len(args) == 1 {
			return r.showNegotiation(ctx, c, args[0])
		}
		return chosen.list(ctx, r, c, "/v1/negotiations", []string{"ID", "ASSET", "PROVIDER", "ROUND", "STATE", "AGREEMENT", "EDR", "WAITERS", "SINCE", "REASON"}, func(t *table, raw json.RawMessage) error {
			var n negotiated
			if err := decode(c, "/v1/negotiations", raw, &n); err != nil {
				return err
			}
			held := ""
			if n.Agreement != nil {
				held = n.Agreement.State
			}
			waiters := ""
			if len(n.Waiters) > 0 {
				waiters = fmt.Sprint(len(n.Waiters))
			}
			t.row(n.ID, n.AssetID, n.Provider, fmt.Sprint(n.Round), n.State, held, n.EDR.State, waiters, when(n.Since), n.trouble())
			return nil
		})
	})
	chosen.flags(cmd, "REQUESTED, FINALIZED, TERMINATED")
	return cmd
}

func (r *remote) showNegotiation(ctx context.Context, c *client.Client, id string) error {
	var n negotiated
	raw, err := get(ctx, c, "/v1/negotiations/"+segment(id), nil, &n)
	if err != nil {
		return err
	}
	if r.asJSON() {
		return r.printJSON(raw)
	}
	return r.printNegotiation(&n)
}

func (r *remote) printNegotiation(n *negotiated) error {
	held := n.AgreementID
	if n.Agreement != nil {
		held = strings.TrimSpace(held + " " + n.Agreement.State)
		if n.Agreement.Until != nil {
			held += ", used until " + when(n.Agreement.Until)
		}
	}
	waiters := ""
	if len(n.Waiters) > 0 {
		waiters = fmt.Sprintf("%d, the first since %s: %s", len(n.Waiters), when(n.Waiters[0].Since), n.Waiters[0].ID)
	}
	err := facts(r.env.Out,
		"negotiation", n.ID, "asset", n.AssetID, "provider", n.Provider, "counter-party", n.CounterPartyID, "connector", n.Connector,
		"round", fmt.Sprint(n.Round), "state", fmt.Sprintf("%s (%d)", n.State, n.Code), "since", when(n.Since), "until", when(n.Until),
		"created", when(n.CreatedAt), "ended", when(n.EndedAt), "constraints", n.Constraints, "at the connector", n.TheirID,
		"agreement", held, "EDR", n.EDR.text(), "waiters", waiters, "ended by", n.By, "reason", n.Reason, "error", besides(n.Reason, n.Error),
	)
	if err == nil {
		err = r.printTasks(n.Tasks)
	}
	if err != nil {
		return err
	}
	return r.printHistory(n.History)
}

// acquisition holds the flags of acquire.
type acquisition struct {
	remote
	straight

	provider, connector, asset, assetType string
	need, waiter, party                   string
	timeout                               duration
	wait                                  bool
}

func newAcquire(env *Env) *cobra.Command {
	a := &acquisition{remote: remote{env: env}}
	cmd := command(env, cobra.Command{
		Use: "acquire --provider ADDRESS --asset ID", Short: "Acquire access to an asset: an agreement and an EDR",
		Long: `Acquire access to an asset, or to all of a type: the agreement, and the endpoint data reference unless --need agreement.

Access that is there is used again; what is under way is joined. The token itself is only told by GET /v1/negotiations/{id}/edr.`,
		Example: `  waybill acquire --provider http://localhost:19194/protocol/2025-1 --asset asset-1 --wait
  waybill acquire --provider http://localhost:19194/protocol/2025-1 --asset-type registry`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		switch {
		case a.provider == "":
			return usagef("--provider is needed: the address of the provider's connector")
		case (a.asset == "") == (a.assetType == ""):
			return usagef("want either --asset or --asset-type")
		case a.wait && a.used(cmd):
			return usagef("--wait asks a server; give --server instead of --brokers")
		}
		if a.used(cmd) {
			return a.publish(cmd.Context(), &a.straight, "access asked for by %s at %s\n", func(ctx context.Context, p *producers.Publisher) (producers.Accepted, error) {
				return p.AcquireAccess(ctx, producers.Acquire{Acquire: a.wish()})
			})
		}
		return a.toServer(cmd.Context())
	})
	a.remote.flags(cmd)
	a.straight.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&a.provider, "provider", "", "address of the provider's connector")
	f.StringVar(&a.connector, "connector", "", "connector of ours to speak through (default the server's configuration says it; needed with --brokers)")
	f.StringVar(&a.asset, "asset", "", "asset to have access to")
	f.StringVar(&a.assetType, "asset-type", "", "type of the assets to have access to")
	f.StringVar(&a.need, "need", string(negotiation.NeedEDR), "agreement or edr")
	f.StringVar(&a.waiter, "waiter", "", "id of who waits (default a new one)")
	f.StringVar(&a.party, "counter-party", "", "the provider's own id (default what its catalog says)")
	f.BoolVar(&a.wait, "wait", false, "wait until it is granted or refused; exit 1 where it is refused")
	f.Var(&a.timeout, "timeout", "wait no longer than this; exit 3")
	return cmd
}

func (a *acquisition) wish() negotiation.Acquire {
	return negotiation.Acquire{
		Provider: a.provider, Connector: a.connector, AssetID: a.asset, AssetType: a.assetType,
		Need: negotiation.Need(a.need), Waiter: a.waiter, CounterPartyID: a.party,
	}
}

func (a *acquisition) toServer(ctx context.Context) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if a.waiter == "" {
		a.waiter = producers.NewID()
	}
	_, body, err := schemas.EncodeNegotiationCommand(a.wish())
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, a.timeout)
	defer cancel()
	answer, err := write(ctx, c, http.MethodPost, "/v1/negotiations", body)
	if err != nil {
		return err
	}
	var said struct {
		accepted
		NegotiationID string `json:"negotiationId"`
	}
	if err := decode(c, "/v1/negotiations", answer.Body, &said); err != nil {
		return err
	}
	switch {
	case a.wait:
		return a.await(ctx, c, said.accepted)
	case a.asJSON():
		return a.printJSON(answer.Body)
	case said.NegotiationID != "":
		fmt.Fprintf(a.env.Out, "access asked for by %s: negotiation %s\n", said.ID, said.NegotiationID)
	default:
		fmt.Fprintf(a.env.Out, "access asked for by %s\n", said.ID)
	}
	return nil
}

// wished is what has become of a wish.
type wished struct {
	Waiter        string `json:"waiter"`
	State         string `json:"state"`
	AssetID       string `json:"assetId"`
	AssetType     string `json:"assetType"`
	NegotiationID string `json:"negotiationId"`
	AgreementID   string `json:"agreementId"`
	ProcessID     string `json:"processId"`
	Constraints   string `json:"constraints"`
	Rounds        int    `json:"rounds"`
	Error         *fault `json:"error"`
	Offers        []struct {
		ID          string `json:"id"`
		AssetID     string `json:"assetId"`
		AgreementID string `json:"agreementId"`
		Error       *fault `json:"error"`
	} `json:"offers"`
}

// await waits for the answer to the wish, and makes it the exit code.
func (a *acquisition) await(ctx context.Context, c *client.Client, said accepted) error {
	if !a.asJSON() {
		fmt.Fprintf(a.env.Err, "waiting for access to %s\n", a.asset+a.assetType)
	}
	path := "/v1/wishes/" + segment(said.ID)
	var w wished
	raw, err := untilOver(ctx, c, path, said, func(raw json.RawMessage) (bool, error) {
		w = wished{}
		err := decode(c, path, raw, &w)
		return w.State != "WAITING", err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return timedOutf("%s waits still: `waybill negotiations --asset ID` shows for what", said.ID)
	case err != nil:
		return err
	case a.asJSON():
		err = a.printJSON(raw)
	default:
		err = a.printWish(&w)
	}
	if w.State == "GRANTED" {
		return err
	}
	return errors.Join(err, &exitError{exitFailed, fmt.Errorf("access to %s was refused: %s", a.asset+a.assetType, w.Error.text())})
}

func (a *acquisition) printWish(w *wished) error {
	rounds := ""
	if w.Rounds > 0 {
		rounds = fmt.Sprint(w.Rounds)
	}
	err := facts(a.env.Out, "access for", w.Waiter, "asset", w.AssetID, "type", w.AssetType, "state", w.State,
		"negotiation", w.NegotiationID, "agreement", w.AgreementID, "process", w.ProcessID, "constraints", w.Constraints, "rounds", rounds, "error", w.Error.text())
	if err != nil || len(w.Offers) == 0 {
		return err
	}
	fmt.Fprintln(a.env.Out)
	t := newTable(a.env.Out, "ASSET", "NEGOTIATION", "AGREEMENT", "ERROR")
	for _, o := range w.Offers {
		t.row(o.AssetID, o.ID, o.AgreementID, o.Error.text())
	}
	return t.end()
}
