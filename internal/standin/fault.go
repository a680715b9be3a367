package standin

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// Op is a request that a client makes.
type Op string

// The requests of the management API, and the one for a document.
const (
	Catalog              Op = "catalog"
	Negotiate            Op = "negotiate"
	FindNegotiations     Op = "find negotiations"
	GetNegotiation       Op = "get negotiation"
	NegotiationState     Op = "negotiation state"
	GetAgreement         Op = "get agreement"
	TerminateNegotiation Op = "terminate negotiation"
	DeleteNegotiation    Op = "delete negotiation"
	RequestTransfer      Op = "request transfer"
	FindTransfers        Op = "find transfers"
	GetTransfer          Op = "get transfer"
	TransferState        Op = "transfer state"
	TerminateTransfer    Op = "terminate transfer"
	SuspendTransfer      Op = "suspend transfer"
	ResumeTransfer       Op = "resume transfer"
	DeprovisionTransfer  Op = "deprovision transfer"
	GetEDR               Op = "get edr"
	FindEDRs             Op = "find edrs"
	DeleteEDR            Op = "delete edr"
	RefreshEDR           Op = "refresh edr"
	Document             Op = "document" // at a provider

	AnyRequest Op = "" // of the management API: all but Document
)

// When says which requests, stages or callbacks a fault is for: all, unless it says more.
type When struct {
	Provider string  // only this provider's
	Asset    string  // only of this asset
	Skip     int     // not the first so many
	Every    int     // of the rest only each so-manyeth: 2 is the second, the fourth, ...
	Share    float64 // of those only such a part, drawn from the seed
	Times    int     // no more than so often
}

// RequestEffect is what goes wrong with a request.
type RequestEffect struct {
	kind   requestKind
	status int
	take   time.Duration
}

type requestKind int

const (
	slow requestKind = iota
	refuse
	refusePage
	boot
	hang
	cutOff
	loseReply
)

// Slow makes a request take so long, and goes on with other faults.
func Slow(d time.Duration) RequestEffect { return RequestEffect{kind: slow, take: d} }

// Refuse answers with a status and the JSON of an error; nothing is done.
func Refuse(status int) RequestEffect { return RequestEffect{kind: refuse, status: status} }

// RefusePage answers with a status and an error page of the web server's, as where EDC stumbles;
// nothing is done.
func RefusePage(status int) RequestEffect { return RequestEffect{kind: refusePage, status: status} }

// Boot answers like a connector that is just starting: every GET 404, every other 405, and
// each with an error page.
func Boot() RequestEffect { return RequestEffect{kind: boot} }

// Hang answers nothing until the fault is mended, then goes on.
func Hang() RequestEffect { return RequestEffect{kind: hang} }

// Cut closes the connection; nothing is done.
func Cut() RequestEffect { return RequestEffect{kind: cutOff} }

// LoseReply does what was asked for and closes the connection instead of answering.
func LoseReply() RequestEffect { return RequestEffect{kind: loseReply} }

// StageEffect is what happens to a negotiation or transfer in a stage.
type StageEffect struct {
	take      time.Duration
	stay, end bool
}

// Take makes it stay in the stage for so long.
func Take(d time.Duration) StageEffect { return StageEffect{take: d} }

// Stay makes it stay in the stage until the fault is mended.
func Stay() StageEffect { return StageEffect{stay: true} }

// End makes the provider end it in this stage, without a word.
func End() StageEffect { return StageEffect{end: true} }

// CallbackEffect is what happens to a callback.
type CallbackEffect struct {
	lose, repeat bool
	take         time.Duration
	behind       int
}

// Lose never sends it.
func Lose() CallbackEffect { return CallbackEffect{lose: true} }

// Repeat sends it twice.
func Repeat() CallbackEffect { return CallbackEffect{repeat: true} }

// Late sends it after such a time. There is one thread for all callbacks of a connector, so
// it delays the others as well.
func Late(d time.Duration) CallbackEffect { return CallbackEffect{take: d} }

// Behind sends it after the next so many, or when the fault is mended.
func Behind(n int) CallbackEffect { return CallbackEffect{behind: n} }

// Fault is something that goes wrong until it is mended.
type Fault struct {
	c    *Connector
	when When
	op   Op
	on   Stage
	of   string // class of an event

	request  RequestEffect
	stage    StageEffect
	callback CallbackEffect

	seen, hits int
	mended     chan struct{}
	held       []resumption // what Stay holds
	late       []message    // what Behind holds
}

// Hits is how often it has struck.
func (f *Fault) Hits() int {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return f.hits
}

// Mend ends the fault: what it holds goes on. Mending twice is fine.
func (f *Fault) Mend() {
	c := f.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.faults.remove(f) {
		return
	}
	close(f.mended)
	held, late := f.held, f.late
	f.held, f.late = nil, nil
	for _, h := range held {
		c.due(h)
	}
	for _, m := range late {
		c.outbox.put(m)
	}
}

// OnRequest makes something go wrong with requests.
func (c *Connector) OnRequest(op Op, e RequestEffect, w When) *Fault {
	return c.faults.add(c, &Fault{op: op, request: e, when: w}, &c.faults.requests)
}

// OnStage makes something happen in a stage of negotiations or transfers. What is in the
// stage already is not touched.
func (c *Connector) OnStage(s Stage, e StageEffect, w When) *Fault {
	return c.faults.add(c, &Fault{on: s, stage: e, when: w}, &c.faults.stages)
}

// OnCallback makes something happen to the callbacks of a class of events, such as
// TransferProcessStarted; of all classes where it is empty.
func (c *Connector) OnCallback(class string, e CallbackEffect, w When) *Fault {
	return c.faults.add(c, &Fault{of: class, callback: e, when: w}, &c.faults.callbacks)
}

// Stock makes such a share of negotiations end by themselves, as those of connectors do that
// send the next message before they have stored the answer to the last: one in four stays in
// VERIFIED, the others are TERMINATED in REQUESTED, AGREED or VERIFIED.
func (c *Connector) Stock(share float64) []*Fault {
	part := When{Share: share / 4}
	return []*Fault{
		c.OnStage(NegotiationRequested, End(), part),
		c.OnStage(NegotiationAgreed, End(), part),
		c.OnStage(NegotiationVerified, End(), part),
		c.OnStage(NegotiationVerified, Stay(), part),
	}
}

// faults are all of a connector's. Connector.mu guards them.
type faults struct {
	requests, stages, callbacks []*Fault
	armed                       atomic.Bool // of requests, so that none costs a lock without
	dice                        *rand.Rand
}

func (s *faults) add(c *Connector, f *Fault, list *[]*Fault) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.c, f.mended = c, make(chan struct{})
	*list = append(*list, f)
	s.armed.Store(len(s.requests) > 0)
	return f
}

func (s *faults) remove(f *Fault) bool {
	found := false
	for _, list := range []*[]*Fault{&s.requests, &s.stages, &s.callbacks} {
		for i, other := range *list {
			if other == f {
				// A copy: whoever walks over the old list goes on with that.
				*list = append(append([]*Fault(nil), (*list)[:i]...), (*list)[i+1:]...)
				found = true
				break
			}
		}
	}
	s.armed.Store(len(s.requests) > 0)
	return found
}

// strikes says whether the fault is for this one, and counts.
func (s *faults) strikes(f *Fault, provider, asset string) bool {
	w := f.when
	if w.Provider != "" && w.Provider != provider || w.Asset != "" && w.Asset != asset {
		return false
	}
	f.seen++
	n := f.seen - w.Skip
	switch {
	case n <= 0,
		w.Every > 1 && n%w.Every != 0,
		w.Times > 0 && f.hits >= w.Times,
		w.Share > 0 && s.dice.Float64() >= w.Share:
		return false
	}
	f.hits++
	return true
}

// onRequest lists what strikes a request, up to the first that is more than slowness.
func (s *faults) onRequest(op Op, provider, asset string) []*Fault {
	var struck []*Fault
	for _, f := range s.requests {
		if f.op != op && (f.op != AnyRequest || op == Document) || !s.strikes(f, provider, asset) {
			continue
		}
		struck = append(struck, f)
		if f.request.kind != slow {
			break
		}
	}
	return struck
}

// onStage says what is to happen in a stage, and by which fault it is held, if it is.
func (s *faults) onStage(stage Stage, provider, asset string) (take time.Duration, end bool, held *Fault) {
	for _, f := range s.stages {
		if f.on != stage || !s.strikes(f, provider, asset) {
			continue
		}
		take += f.stage.take
		switch {
		case f.stage.stay:
			return 0, false, f
		case f.stage.end:
			return take, true, nil
		}
	}
	return take, false, nil
}

// onCallback is the fault that strikes a callback, or nil.
func (s *faults) onCallback(class, provider, asset string) *Fault {
	for _, f := range s.callbacks {
		if strings.HasPrefix(class, f.of) && s.strikes(f, provider, asset) {
			return f
		}
	}
	return nil
}
