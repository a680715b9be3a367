package transfer

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/domain/partstree"
)

// The steps at which a transfer fails.
const (
	stepAddress     = "address"
	stepNegotiation = "negotiation"
	stepRequest     = "request"
	stepFetch       = "fetch"
	stepProvision   = "provision"
	stepCollect     = "collect"
	stepSuspend     = "suspend"
	stepResume      = "resume"
	stepTerminate   = "terminate"
	stepDeprovision = "deprovision"
	stepDeadline    = "deadline"
)

// maxNameBytes bounds an asset's name, a transfer type and the id of a resource definition.
const maxNameBytes = 2048

// check writes the provider's address in its one spelling, and says what is wrong with a transfer
// before anything is done for it. sent says that there is a place the provider could send to.
func (e *Initiated) check(sent bool) *orchestration.Fault {
	provider, err := partstree.NormalizeURL(e.Provider)
	if err != nil {
		e.Provider = withoutUser(e.Provider)
		return &orchestration.Fault{Step: stepAddress, Message: "provider: " + err.Error()}
	}
	e.Provider = provider
	wrong := func(format string, args ...any) *orchestration.Fault {
		return &orchestration.Fault{Step: stepRequest, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case e.AssetID == "":
		return wrong("assetId is empty")
	case !fit(e.AssetID) || !fit(e.TransferType) || !fit(e.CounterPartyID):
		return wrong("assetId, transferType and counterPartyId have at most %d bytes and no control characters", maxNameBytes)
	case e.Adapter != AdapterEDC && e.Way == Push:
		return wrong("transferType %s: provider %s is no connector, it sends nothing", e.TransferType, e.Provider)
	case e.Way == Push && !sent:
		return wrong("transferType %s: there is neither a destination nor a manifest, so the provider cannot send anywhere", e.TransferType)
	case !object(e.Destination):
		return wrong("destination is not an object")
	case !object(e.Properties):
		return wrong("properties is not an object")
	case e.Retry != nil && e.Retry.Limit != nil && (*e.Retry.Limit < 0 || *e.Retry.Limit > definition.MaxRetries):
		return wrong("retry.limit %d is not between 0 and %d", *e.Retry.Limit, definition.MaxRetries)
	case e.Manifest != nil:
		return e.Manifest.check()
	}
	return nil
}

func (m *Manifest) check() *orchestration.Fault {
	wrong := func(format string, args ...any) *orchestration.Fault {
		return &orchestration.Fault{Step: stepProvision, Message: "manifest: " + fmt.Sprintf(format, args...)}
	}
	if n := len(m.Definitions); n > MaxDefinitions {
		return wrong("%d definitions, over the limit of %d", n, MaxDefinitions)
	}
	seen := make(map[string]bool, len(m.Definitions))
	for i, d := range m.Definitions {
		switch {
		case d.ID == "" || d.Type == "":
			return wrong("definitions[%d] has no id or no type", i)
		case !fit(d.ID) || !fit(d.Type):
			return wrong("definitions[%d]: id and type have at most %d bytes and no control characters", i, maxNameBytes)
		case seen[d.ID]:
			return wrong("definitions[%d]: the id %q is there already", i, d.ID)
		}
		seen[d.ID] = true
	}
	return nil
}

// fit says that a name can stand in ids, keys and texts.
func fit(name string) bool {
	return len(name) <= maxNameBytes && strings.IndexFunc(name, unicode.IsControl) < 0
}

// object says that a value is an object, or not there.
func object(raw []byte) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || raw[0] == '{' || string(raw) == "null"
}

// withoutUser takes out what may be a password in an address that cannot be used, and more of it
// than any address has.
func withoutUser(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		address = "…" + address[i:]
	}
	return machine.Clip(address, maxNameBytes)
}
