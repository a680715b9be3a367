package intake

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/negotiation"
	"github.com/waybill/waybill/domain/transfer"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/jwt"
	"github.com/waybill/waybill/internal/redact"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// connectorRoutes take the events of connectors. A connector sends its callbacks one after
// the other, and none twice: they are answered as soon as they are on the log.
func (in *Intake) connectorRoutes(handle func(string, func(http.ResponseWriter, *http.Request) error)) {
	handle("POST "+callbacks.ConnectorPrefix+"{subject}/{proof}", func(w http.ResponseWriter, r *http.Request) error {
		about, ok := in.cfg.Proofs.Connector(r.PathValue("subject"), r.PathValue("proof"))
		if !ok {
			return errNoAddress
		}
		_, body, err := in.readObject(w, r, false)
		if err != nil {
			return err
		}
		var e connectorEvent
		if err := json.Unmarshal(body, &e); err != nil {
			return mistake(err)
		}
		c, err := in.observed(about, e)
		if err != nil {
			return err
		}
		if c != nil {
			c.TraceParent = r.Header.Get("traceparent")
			if _, err := in.publish(r.Context(), *c); err != nil {
				return err
			}
		}
		w.WriteHeader(http.StatusOK)
		return nil
	})
}

// connectorEvent is the envelope that EDC sends.
type connectorEvent struct {
	ID      string `json:"id"`
	Type    string `json:"type"` // TransferProcessStarted
	Payload struct {
		TransferProcessID     string          `json:"transferProcessId"`
		ContractNegotiationID string          `json:"contractNegotiationId"`
		DataAddress           json.RawMessage `json:"dataAddress"` // with TransferProcessStarted: the EDR
		Reason                string          `json:"reason"`      // with what was terminated
		ContractAgreement     struct {
			ID      string `json:"id"`
			AssetID string `json:"assetId"`
		} `json:"contractAgreement"` // with what was agreed and finalized
	} `json:"payload"`
}

// The events of connectors by the state that they tell of. What is not here says nothing to
// us: a connector's own preparations.
const (
	ofTransfer    = "TransferProcess"
	ofNegotiation = "ContractNegotiation"
)

var connectorStates = map[string]map[string]string{
	ofTransfer: {
		"Requested": "REQUESTED", "Started": "STARTED", "Suspended": "SUSPENDED", "Completed": "COMPLETED", "Terminated": "TERMINATED",
	},
	ofNegotiation: {
		"Requested": "REQUESTED", "Offered": "OFFERED", "Accepted": "ACCEPTED", "Agreed": "AGREED", "Verified": "VERIFIED",
		"Finalized": "FINALIZED", "Terminated": "TERMINATED",
	},
}

// state takes the name of an event apart.
func (e connectorEvent) state() (of, state string) {
	for of, states := range connectorStates {
		if name, ok := strings.CutPrefix(e.Type, of); ok {
			return of, states[name]
		}
	}
	return "", ""
}

// observed is the command that tells of an event; nil where it says nothing to whoever the
// address was made for. Its ID is derived from the event's: connectors with a database send
// some again.
func (in *Intake) observed(about callbacks.Subject, e connectorEvent) (*producers.Command, error) {
	of, state := e.state()
	id := ""
	if e.ID != "" {
		id = machine.ID("callback", about.Aggregate, about.ID, about.Task, strings.ReplaceAll(e.ID, "\x1f", ""))
	}
	var (
		c   producers.Command
		err error
	)
	switch {
	case state == "":
		return nil, nil
	case about.Aggregate == schemas.AggregateTransfer && of == ofTransfer:
		c, err = producers.TransferCommand(about.ID, id, transfer.Observed{
			ProcessID: about.Task, Token: about.Task, State: state, Detail: clip(e.Payload.Reason), AgreementDead: agreementDead(state, e.Payload.Reason),
		})
	case about.Aggregate == schemas.AggregateNegotiation:
		var o negotiation.Observed
		if o, err = in.ofAccess(about, e, of, state); err == nil {
			c, err = producers.NegotiationCommand(about.ID, id, o)
		}
	default:
		return nil, nil
	}
	return &c, err
}

// ofAccess is what an event tells of a negotiation, or of the transfer process behind an EDR.
func (in *Intake) ofAccess(about callbacks.Subject, e connectorEvent, of, state string) (negotiation.Observed, error) {
	o := negotiation.Observed{State: state, Detail: clip(e.Payload.Reason)}
	if of == ofNegotiation {
		o.Round, o.NegotiationID = about.Task, e.Payload.ContractNegotiationID
		o.AgreementID, o.AssetID = e.Payload.ContractAgreement.ID, e.Payload.ContractAgreement.AssetID
		return o, nil
	}
	o.ProcessID = about.Task
	if state != "STARTED" || len(e.Payload.DataAddress) == 0 || string(e.Payload.DataAddress) == "null" {
		return o, nil
	}
	connector, _, _ := strings.Cut(about.ID, " ")
	sealed, err := in.cfg.Keys.Seal(seal.EDR(connector), e.Payload.DataAddress)
	if err != nil {
		return o, unsealed("payload.dataAddress", err)
	}
	o.EDR, err = json.Marshal(sealed)
	o.ExpiresAt = expiry(e.Payload.DataAddress, time.Now())
	return o, err
}

// expiry is when the token of a data address ends: its own word counts, then Tractus-X's, in seconds
// from now. Zero: neither says.
func expiry(address json.RawMessage, now time.Time) (at time.Time) {
	var d struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(address, &d) != nil {
		return time.Time{}
	}
	for name, value := range d.Properties {
		text := strings.Trim(string(value), `"`)
		switch name[strings.LastIndexByte(name, '/')+1:] {
		case "authorization":
			if end, ok := jwt.Expiry(text); ok {
				return end
			}
		case "expiresIn":
			if n, err := strconv.ParseInt(text, 10, 32); err == nil && n > 0 {
				at = now.Add(time.Duration(n) * time.Second).UTC()
			}
		}
	}
	return at
}

// agreementDead knows a provider's words for an agreement that it has lost, or that has run out:
// the connector hands them on, and no code with them.
func agreementDead(state, reason string) bool {
	return state == "TERMINATED" && noAgreement.MatchString(reason)
}

var noAgreement = regexp.MustCompile(`(?i)agreement.{0,200}(not found|not valid|expired|does not exist)`)

// maxDetail bounds what a connector says of an end: whole pages turn up there.
const maxDetail = 4 << 10

// clip is what others say, as it may be kept: they quote what they were sent.
func clip(s string) string {
	s = redact.Text(s)
	if len(s) > maxDetail {
		s = s[:maxDetail] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
