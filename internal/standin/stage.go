package standin

import "strings"

// Stage is where a negotiation or a transfer stands at the consumer.
type Stage string

// The stages of a negotiation, in order. From TERMINATING it is a matter of time.
const (
	NegotiationInitial     Stage = "negotiation INITIAL"
	NegotiationRequesting  Stage = "negotiation REQUESTING"
	NegotiationRequested   Stage = "negotiation REQUESTED"
	NegotiationAgreed      Stage = "negotiation AGREED"
	NegotiationVerifying   Stage = "negotiation VERIFYING"
	NegotiationVerified    Stage = "negotiation VERIFIED"
	NegotiationFinalized   Stage = "negotiation FINALIZED"
	NegotiationTerminating Stage = "negotiation TERMINATING"
	NegotiationTerminated  Stage = "negotiation TERMINATED"
)

// The stages of a transfer. One that is pulled rests in STARTED.
const (
	TransferInitial        Stage = "transfer INITIAL"
	TransferProvisioned    Stage = "transfer PROVISIONED"
	TransferRequesting     Stage = "transfer REQUESTING"
	TransferRequested      Stage = "transfer REQUESTED"
	TransferStarted        Stage = "transfer STARTED"
	TransferSuspending     Stage = "transfer SUSPENDING"
	TransferSuspended      Stage = "transfer SUSPENDED"
	TransferResuming       Stage = "transfer RESUMING"
	TransferCompleted      Stage = "transfer COMPLETED"
	TransferTerminating    Stage = "transfer TERMINATING"
	TransferTerminated     Stage = "transfer TERMINATED"
	TransferDeprovisioning Stage = "transfer DEPROVISIONING"
	TransferDeprovisioned  Stage = "transfer DEPROVISIONED"

	// TransferEDR is no state: it is the moment between STARTED and the EDR being in the
	// cache, where one is asked for it.
	TransferEDR Stage = "transfer EDR"
)

// State is the stage as the management API names it.
func (s Stage) State() string {
	_, state, _ := strings.Cut(string(s), " ")
	return state
}

// code is the number of a state, by which it can be asked for as well.
func (s Stage) code() int { return codes[s] }

var codes = map[Stage]int{
	NegotiationInitial: 50, NegotiationRequesting: 100, NegotiationRequested: 200, NegotiationAgreed: 850,
	NegotiationVerifying: 1050, NegotiationVerified: 1100, NegotiationFinalized: 1200,
	NegotiationTerminating: 1300, NegotiationTerminated: 1400,

	TransferInitial: 100, TransferProvisioned: 300, TransferRequesting: 400, TransferRequested: 500,
	TransferStarted: 600, TransferSuspending: 650, TransferSuspended: 700, TransferResuming: 720,
	TransferCompleted: 800, TransferTerminating: 825, TransferTerminated: 850,
	TransferDeprovisioning: 900, TransferDeprovisioned: 1000,
}

// events are what callbacks are told about a stage: the class, and the name that the events
// of a callback address are prefixes of.
var events = map[Stage]struct{ class, name string }{
	NegotiationInitial:    {"ContractNegotiationInitiated", "contract.negotiation.initiated"},
	NegotiationRequested:  {"ContractNegotiationRequested", "contract.negotiation.requested"},
	NegotiationAgreed:     {"ContractNegotiationAgreed", "contract.negotiation.agreed"},
	NegotiationVerified:   {"ContractNegotiationVerified", "contract.negotiation.verified"},
	NegotiationFinalized:  {"ContractNegotiationFinalized", "contract.negotiation.finalized"},
	NegotiationTerminated: {"ContractNegotiationTerminated", "contract.negotiation.terminated"},

	TransferInitial:       {"TransferProcessInitiated", "transfer.process.initiated"},
	TransferProvisioned:   {"TransferProcessProvisioned", "transfer.process.provisioned"},
	TransferRequested:     {"TransferProcessRequested", "transfer.process.requested"},
	TransferStarted:       {"TransferProcessStarted", "transfer.process.started"},
	TransferSuspended:     {"TransferProcessSuspended", "transfer.process.suspended"},
	TransferCompleted:     {"TransferProcessCompleted", "transfer.process.completed"},
	TransferTerminated:    {"TransferProcessTerminated", "transfer.process.terminated"},
	TransferDeprovisioned: {"TransferProcessDeprovisioned", "transfer.process.deprovisioned"},
}
