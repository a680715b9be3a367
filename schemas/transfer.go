package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/transfer"
)

// EncodeTransferCommand writes a command's value and names its type. It refuses the commands that
// are not on the wire.
func EncodeTransferCommand(c transfer.Command) (wireType string, data []byte, err error) {
	if r, ok := c.(transfer.Report); ok {
		return encodeReport(r.Command)
	}
	if wireType = transferCommandType(c); wireType == "" {
		return "", nil, fmt.Errorf("command %T is not on the wire", c)
	}
	data, err = Encode(c)
	return wireType, data, err
}

// encodeReport writes what an agent says of a piece of work.
func encodeReport(c orchestration.Command) (wireType string, data []byte, err error) {
	if !isReport(orchestrationCommandType(c)) {
		return "", nil, fmt.Errorf("command %T is no report about work", c)
	}
	return EncodeOrchestrationCommand(c)
}

func isReport(wireType string) bool { return slices.Contains(WorkReports(), wireType) }

func transferCommandType(c transfer.Command) string {
	switch c.(type) {
	case transfer.Initiate:
		return TransferInitiate
	case transfer.Suspend:
		return TransferSuspend
	case transfer.Resume:
		return TransferResume
	case transfer.Terminate:
		return TransferTerminate
	case transfer.Deprovision:
		return TransferDeprovision
	case transfer.Granted:
		return TransferGranted
	case transfer.Refused:
		return TransferRefused
	case transfer.Observed:
		return TransferObserved
	case transfer.Provisioned:
		return TransferProvisioned
	case transfer.Uploaded:
		return TransferUploaded
	case transfer.Deprovisioned:
		return TransferResourceDeprovisioned
	case transfer.Report, transfer.Wake, transfer.TakeOver:
	}
	return ""
}

// DecodeTransferCommand reads and checks a command's value as DecodeOrchestrationCommand does. It is
// safe for concurrent use.
func DecodeTransferCommand(wireType string, data []byte) (transfer.Command, error) {
	c, err := takeCommand(wireType, data, TransferCommands(), (*reader).transfer,
		func(c orchestration.Command) transfer.Command { return transfer.Report{Command: c} })
	if i, ok := c.(transfer.Initiate); ok && err == nil {
		i.Fingerprint = Fingerprint(data)
		return i, nil
	}
	return c, err
}

// takeCommand reads and checks a command of a machine that takes the reports about its work too.
func takeCommand[C any](wireType string, data []byte, known []string, read func(*reader, string) C, report func(orchestration.Command) C) (none C, err error) {
	if isReport(wireType) {
		c, err := DecodeOrchestrationCommand(wireType, data)
		if err != nil {
			return none, err
		}
		return report(c), nil
	}
	if !slices.Contains(known, wireType) {
		return none, unknownCommand(wireType, append(known, WorkReports()...))
	}
	if data, err = measure(data); err != nil {
		return none, err
	}
	r := reader{scanner: scanner{data: data, strict: true, most: depthOf(wireType)}}
	c := read(&r, wireType)
	r.end()
	if r.err != nil || r.unsure {
		if err := explain(wireType, data, r.err); err != nil {
			return none, err
		}
	}
	return c, nil
}

func (r *reader) transfer(wireType string) transfer.Command {
	switch wireType {
	case TransferInitiate:
		return r.initiate()
	case TransferSuspend:
		return transfer.Suspend(r.cancel())
	case TransferResume:
		return transfer.Resume(r.cancel())
	case TransferTerminate:
		return transfer.Terminate(r.cancel())
	case TransferDeprovision:
		return transfer.Deprovision(r.cancel())
	case TransferGranted:
		return r.granted()
	case TransferRefused:
		return r.refused()
	case TransferObserved:
		return r.observed()
	case TransferProvisioned:
		return r.provisioned()
	case TransferUploaded:
		return r.uploaded()
	case TransferResourceDeprovisioned:
		return r.deprovisioned()
	}
	return nil
}

// must reads a string that has to be there and say something, and notes that by a bit of the
// reader's own object.
func (r *reader) must(given *int, bit int) string {
	*given |= bit
	return r.required(0)
}

func (r *reader) all(given, bits int) {
	if given != bits {
		r.mismatch("a member is missing")
	}
}

func (r *reader) initiate() transfer.Initiate {
	var c transfer.Initiate
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "provider":
			c.Provider = r.must(&given, 1)
		case "assetId":
			c.AssetID = r.must(&given, 2)
		case "counterPartyId":
			c.CounterPartyID = r.str()
		case "transferType":
			c.TransferType = r.str()
		case "destination":
			c.Destination = r.anObject()
		case "manifest":
			r.unsure = true
			r.other(&c.Manifest)
		case "properties":
			c.Properties = r.anObject()
		case "deadline":
			c.Deadline = r.duration()
		case "asker":
			c.Asker = r.asker()
		case "as":
			c.As = r.str()
		case "retry":
			r.unsure = true
			r.other(&c.Retry)
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	return c
}

// anObject reads an object, in which what is kept elsewhere is well referred to; nil for null.
func (r *reader) anObject() []byte {
	v := r.references()
	if len(v) > 0 && v[0] != '{' {
		r.mismatch("want an object")
	}
	return v
}

func (r *reader) asker() *transfer.Asker {
	if r.err != nil || r.null() {
		return nil
	}
	var a transfer.Asker
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "aggregate":
			if a.Aggregate = r.must(&given, 1); a.Aggregate != AggregateOrchestration {
				r.mismatch("only activities of orchestrations are answered")
			}
		case "id":
			a.ID = r.must(&given, 2)
		case "activityId":
			a.ActivityID = r.must(&given, 4)
		case "workId":
			a.WorkID = r.must(&given, 8)
		case "attempt":
			a.Attempt = r.count(1)
			given |= 16
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 31)
	return &a
}

// count reads a whole number from least on, which must not be null.
func (r *reader) count(least int) int {
	if r.null() {
		r.mismatch("got null, want integer")
	}
	n := r.integer()
	if n < least || n > math.MaxInt32 {
		r.mismatch(fmt.Sprintf("want a number from %d on", least))
	}
	return n
}

func (r *reader) granted() transfer.Granted {
	var c transfer.Granted
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "negotiation":
			c.Negotiation = r.must(&given, 1)
		case "round":
			c.Round = r.count(0)
			given |= 2
		case "negotiationId":
			c.NegotiationID = r.must(&given, 4)
		case "assetId":
			c.AssetID = r.must(&given, 8)
		case "agreementId":
			c.AgreementID = r.must(&given, 16)
		case "counterPartyId":
			c.CounterPartyID = r.str()
		case "constraints":
			c.Constraints = r.str()
		case "formats":
			c.Formats = r.list()
		case "edr":
			c.EDR = r.edr()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 31)
	return c
}

// list reads an array of strings, none of which is null; null is nil.
func (r *reader) list() []string {
	if r.err != nil || r.null() {
		return nil
	}
	var l []string
	for a := r.array(); a.next(); {
		l = append(l, r.words())
	}
	return l
}

// instant reads a time as it is mostly written; whether another form is one is the schema's to say,
// for package time takes more.
func (r *reader) instant() time.Time {
	start := r.pos
	t := r.scanner.instant()
	if r.err == nil && !isInstant.Match(r.data[start:r.pos]) {
		r.unsure = true
		if y := t.UTC().Year(); y < 0 || y > lastYear {
			r.mismatch(fmt.Sprintf("the year %d, in UTC, is beyond RFC 3339", y))
		}
	}
	return t
}

func (r *reader) edr() *transfer.EDR {
	if r.err != nil || r.null() {
		return nil
	}
	var e transfer.EDR
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "processId":
			e.ProcessID = r.must(&given, 1)
		case "data":
			e.Data = r.sealed()
			given |= 2
		case "expiresAt":
			e.ExpiresAt = r.instant()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	return &e
}

func (r *reader) refused() transfer.Refused {
	var c transfer.Refused
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "negotiation":
			c.Negotiation = r.must(&given, 1)
		case "negotiationId":
			c.NegotiationID = r.str()
		case "error":
			c.Error = r.fault()
			given |= 2
		case "again":
			c.Again = r.boolean()
		case "rounds":
			if !r.null() {
				c.Rounds = r.count(0)
			}
		case "constraints":
			c.Constraints = r.str()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	return c
}

func (r *reader) observed() transfer.Observed {
	var c transfer.Observed
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "processId":
			c.ProcessID = r.must(&given, 1)
		case "state":
			c.State = r.must(&given, 2)
		case "detail":
			c.Detail = r.str()
		case "token":
			c.Token = r.str()
		case "agreementDead":
			c.AgreementDead = r.boolean()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 3)
	return c
}

func (r *reader) provisioned() transfer.Provisioned {
	var c transfer.Provisioned
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "resourceDefinitionId":
			c.ResourceDefinitionID = r.must(&given, 1)
		case "assetId":
			c.AssetID = r.str()
		case "resourceName":
			c.ResourceName = r.str()
		case "contentDataAddress":
			c.ContentDataAddress = r.anObject()
		case "secret":
			if !r.null() {
				c.Secret = r.sealed()
			}
		case "hasToken":
			c.HasToken = r.boolean()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 1)
	return c
}

func (r *reader) uploaded() transfer.Uploaded {
	var c transfer.Uploaded
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "resourceDefinitionId":
			c.ResourceDefinitionID = r.must(&given, 1)
		case "digest":
			c.Digest = r.must(&given, 2)
		case "bytes":
			r.unsure = true // of its range
			c.Bytes = int64(r.integer())
			given |= 4
		case "content":
			c.Content = r.references()
			given |= 8
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 15)
	return c
}

func (r *reader) deprovisioned() transfer.Deprovisioned {
	var c transfer.Deprovisioned
	given := 0
	for o := r.object(); o.next(); {
		switch string(o.name) {
		case "provisionedResourceId":
			c.ProvisionedResourceID = r.must(&given, 1)
		case "inProcess":
			c.InProcess = r.boolean()
		case "error":
			c.Error = r.boolean()
		case "errorMessage":
			c.ErrorMessage = r.str()
		default:
			r.unknown(o.name)
		}
	}
	r.all(given, 1)
	return c
}

// looksSealed is sealedPattern by hand: an EDR crosses the log for every transfer.
func looksSealed(text []byte) bool {
	key, box, ok := bytes.Cut(text, []byte{'.'})
	return ok && len(key) >= 1 && len(key) <= 64 && len(box) >= 1 && urlSafe(key) && urlSafe(box)
}

// urlSafe says that there is nothing but the letters of base64url.
func urlSafe(text []byte) bool {
	for _, c := range text {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// sealed reads a secret that is sealed; in the clear it is refused, and not shown.
func (r *reader) sealed() json.RawMessage {
	if r.err != nil {
		return nil
	}
	if r.space() != '{' {
		r.mismatchOrSyntax("want a sealed secret")
		return nil
	}
	start := r.pos
	there := false
	for o := r.object(); o.next(); {
		if string(o.name) != "$sealed" {
			r.unknown(o.name)
			continue
		}
		there = true
		if raw, escaped := r.quoted("want a string"); r.err == nil && (escaped || !looksSealed(raw)) {
			r.mismatch("does not match " + sealedPattern)
		}
	}
	if !there {
		r.mismatch("$sealed is missing")
	}
	if r.err != nil {
		return nil
	}
	return append(json.RawMessage(nil), r.data[start:r.pos]...)
}
