package schemas

import (
	"bytes"
	"container/list"
	"encoding/json"
	"hash/maphash"
	"sync"

	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
)

// plansKept is how many definitions a Decoder remembers. An orchestration that runs keeps
// its plan alive in any case: what falls out is only parsed again for the next one.
const plansKept = 512

// Decoder reads events. It remembers the definitions it has read, so that the
// orchestrations of one definition share one plan, parsed once. It is not safe for
// concurrent use: each reader has its own. Nothing it returns refers to the data it was
// given, which often is a part of a much larger fetch.
type Decoder struct {
	seed  maphash.Seed
	plans map[uint64]*list.Element // of *planEntry, by hash of the text
	used  *list.List               // the last used one in front
	scan  scanner                  // of the value at hand; here, it is no memory of its own
}

type planEntry struct {
	hash uint64
	text []byte
	plan *orchestration.Plan
}

// NewDecoder makes a Decoder.
func NewDecoder() *Decoder {
	return &Decoder{seed: maphash.MakeSeed(), plans: map[uint64]*list.Element{}, used: list.New()}
}

// DecodeOrchestrationEvent reads an event's value. It returns an *UnknownVersionError for a
// type this build does not know, and an *UndecodableError for a value that does not fit.
// Members this build does not know are left out: the same version may gain some.
func (d *Decoder) DecodeOrchestrationEvent(wireType string, data []byte) (orchestration.Event, error) {
	s := &d.scan
	*s = scanner{data: data}
	defer func() { s.data = nil }() // a fetch is not kept alive
	e := d.event(s, wireType)
	if e == nil && s.err == nil {
		return nil, &UnknownVersionError{Type: wireType, Known: OrchestrationEvents()}
	}
	s.end()
	if s.err != nil {
		return nil, undecodable(wireType, s.err)
	}
	return e, nil
}

func (d *Decoder) event(s *scanner, wireType string) orchestration.Event {
	switch wireType {
	case OrchestrationStarted:
		return d.started(s)
	case ActivityRequested:
		return s.requested()
	case ActivityOffered:
		return s.offered()
	case ActivityClaimed:
		return s.claimed()
	case ActivityExtended:
		return s.extended()
	case ActivityWaited:
		return s.waited()
	case ActivityScheduled:
		return s.scheduled()
	case ActivityRetrying:
		return s.retrying()
	case ActivityCompleted:
		return s.completed()
	case ActivityFailed:
		return s.failed()
	case TransfersFinished:
		for o := s.object(); o.next(); {
			s.raw()
		}
		return orchestration.TransfersFinished{}
	case OrchestrationCompensating:
		return s.compensating()
	case OrchestrationEnded:
		return s.ended()
	case BlobsRemoved:
		return s.blobsRemoved()
	case OrchestrationRerunStarted:
		return s.rerunStarted()
	case OrchestrationDisposed:
		return s.disposed()
	}
	return s.operated(wireType)
}

func (d *Decoder) started(s *scanner) orchestration.Started {
	var e orchestration.Started
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "type":
			e.Type = s.str()
		case "run":
			e.Run = s.integer()
		case "definition":
			e.Plan = d.plan(s)
		case "input":
			e.Input = s.copied()
		case "partial":
			e.Partial = s.boolean()
		case "deadline":
			e.Deadline = s.instant()
		case "labels":
			e.Labels = s.labels()
		case "callback":
			e.Callback = s.str()
		case "name":
			e.Name = s.str()
		case "set":
			e.Set = s.str()
		case "resource":
			e.Resource = s.str()
		case "fingerprint":
			e.Fingerprint = s.str()
		case "traceparent":
			e.TraceParent = s.str()
		case "disposes":
			s.other(&e.Disposes)
		default:
			s.raw()
		}
	}
	if e.Plan == nil {
		s.mismatch("the definition is missing")
	}
	return e
}

// plan returns the plan of the definition that stands here: the one of an equal text, if
// one was seen lately.
func (d *Decoder) plan(s *scanner) *orchestration.Plan {
	if s.err != nil {
		return nil
	}
	if p := d.again(s); p != nil {
		return p
	}
	text := s.raw()
	if s.err != nil {
		return nil
	}
	plan, err := d.compile(text)
	if err != nil {
		s.mismatch(err.Error())
		return nil
	}
	return plan
}

func (d *Decoder) compile(text []byte) (*orchestration.Plan, error) {
	h := maphash.Bytes(d.seed, text)
	if el, ok := d.plans[h]; ok {
		if e, ok := el.Value.(*planEntry); ok && bytes.Equal(e.text, text) {
			d.used.MoveToFront(el)
			return e.plan, nil
		}
	}
	plan := new(orchestration.Plan)
	if err := json.Unmarshal(text, plan); err != nil {
		return nil, err
	}
	d.remember(&planEntry{hash: h, text: bytes.Clone(text), plan: plan})
	return plan, nil
}

// Plans compiles definitions that stand elsewhere than in an event, in a snapshot say: equal ones share
// a plan, too. It is safe for concurrent use.
type Plans struct {
	mu sync.Mutex
	d  *Decoder
}

// NewPlans makes Plans.
func NewPlans() *Plans { return &Plans{d: NewDecoder()} }

// Compile returns the plan of a definition.
func (p *Plans) Compile(definition []byte) (*orchestration.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.d.compile(definition)
}

// again steps over a definition that is the same as the last one. That is an object, so a
// text that begins with it has it as its next value: there is no need to scan it again.
func (d *Decoder) again(s *scanner) *orchestration.Plan {
	front := d.used.Front()
	if front == nil || s.space() != '{' {
		return nil
	}
	e, ok := front.Value.(*planEntry)
	if !ok || !bytes.HasPrefix(s.data[s.pos:], e.text) {
		return nil
	}
	s.pos += len(e.text)
	return e.plan
}

func (d *Decoder) remember(e *planEntry) {
	if old, ok := d.plans[e.hash]; ok { // another text of the same hash
		d.used.Remove(old)
	}
	d.plans[e.hash] = d.used.PushFront(e)
	if d.used.Len() <= plansKept {
		return
	}
	if last, ok := d.used.Remove(d.used.Back()).(*planEntry); ok {
		delete(d.plans, last.hash)
	}
}

func (s *scanner) requested() orchestration.Requested {
	var e orchestration.Requested
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "workId":
			e.WorkID = s.str()
		case "placement":
			e.Placement = s.str()
		case "deadline":
			e.Deadline = s.instant()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		case "fault":
			s.other(&e.Fault)
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) offered() orchestration.Offered {
	var e orchestration.Offered
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "workId":
			e.WorkID = s.str()
		case "placement":
			e.Placement = s.str()
		case "offer":
			e.Offer = s.integer()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) claimed() orchestration.Claimed {
	var e orchestration.Claimed
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "agent":
			e.Agent = s.str()
		case "lease":
			e.Lease = s.instant()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) extended() orchestration.Extended {
	var e orchestration.Extended
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "lease":
			e.Lease = s.instant()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) waited() orchestration.Waited {
	var e orchestration.Waited
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "until":
			e.Until = s.instant()
		case "state":
			e.State = s.copied()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) scheduled() orchestration.Scheduled {
	var e orchestration.Scheduled
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "at":
			e.At = s.instant()
		case "state":
			e.State = s.copied()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) retrying() orchestration.Retrying {
	var e orchestration.Retrying
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "error":
			e.Error = s.failure()
		case "at":
			e.At = s.instant()
		case "state":
			e.State = s.copied()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) completed() orchestration.Completed {
	var e orchestration.Completed
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "output":
			e.Output = s.copied()
		case "key":
			e.Key = s.str()
		case "spawned":
			e.Spawned = s.activities()
		case "shared":
			e.Shared = s.strings()
		case "cycles":
			e.Cycles = s.strings()
		case "contracts":
			s.other(&e.Contracts)
		case "children":
			e.Children = s.strings()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) failed() orchestration.Failed {
	var e orchestration.Failed
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "attempt":
			e.Attempt = s.integer()
		case "error":
			e.Error = s.failure()
		case "continued":
			e.Continued = s.boolean()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) ended() orchestration.Ended {
	var e orchestration.Ended
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "state":
			if err := e.State.UnmarshalText([]byte(s.str())); err != nil {
				s.mismatch(err.Error())
			}
		case "output":
			e.Output = s.copied()
		case "error":
			if !s.null() {
				f := s.failure()
				e.Error = &f
			}
		case "failures":
			e.Failures = s.failures()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		case "compensation":
			s.other(&e.Compensation)
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) compensating() orchestration.Compensating {
	var e orchestration.Compensating
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "state":
			if err := e.State.UnmarshalText([]byte(s.str())); err != nil {
				s.mismatch(err.Error())
			}
		case "undo":
			e.Undo = s.activities()
		case "deadline":
			e.Deadline = s.instant()
		case "error":
			if !s.null() {
				f := s.failure()
				e.Error = &f
			}
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) rerunStarted() orchestration.RerunStarted {
	var e orchestration.RerunStarted
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "run":
			e.Run = s.integer()
		case "reset":
			e.Reset = s.strings()
		case "deadline":
			e.Deadline = s.instant()
		case "from":
			e.From = s.strings()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) disposed() orchestration.Disposed {
	var e orchestration.Disposed
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "id":
			e.ID = s.str()
		case "run":
			e.Run = s.integer()
		case "start":
			e.Start = s.copied()
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) blobsRemoved() orchestration.BlobsRemoved {
	var e orchestration.BlobsRemoved
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "blobs":
			e.Blobs = s.integer()
		case "bytes":
			e.Bytes = int64(s.integer())
		default:
			s.raw()
		}
	}
	return e
}

func (s *scanner) failures() []orchestration.Failure {
	if s.null() {
		return nil
	}
	var l []orchestration.Failure
	for a := s.array(); a.next(); {
		l = append(l, s.failure())
	}
	return l
}

func (s *scanner) failure() orchestration.Failure {
	var f orchestration.Failure
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			f.ActivityID = s.str()
		case "name":
			f.Name = s.str()
		case "step":
			f.Step = s.str()
		case "message":
			f.Message = s.str()
		case "attempts":
			f.Attempts = s.integer()
		case "at":
			f.At = s.instant()
		default:
			s.raw()
		}
	}
	return f
}

func (s *scanner) activities() []definition.Activity {
	if s.null() {
		return nil
	}
	var l []definition.Activity
	for a := s.array(); a.next(); {
		l = append(l, s.activity())
	}
	return l
}

// activity reads what spawned activities have in most cases, and leaves the rest to
// encoding/json.
func (s *scanner) activity() definition.Activity {
	var a definition.Activity
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "id":
			a.ID = s.str()
		case "name":
			a.Name = s.str()
		case "type":
			a.Type = s.str()
		case "discriminator":
			a.Discriminator = s.str()
		case "dependsOn":
			s.other(&a.DependsOn)
		case "inputs":
			s.other(&a.Inputs)
		case "with":
			a.With = s.copied()
		case "context":
			s.other(&a.Context)
		case "onError":
			a.OnError = s.str()
		case "retry":
			s.other(&a.Retry)
		case "attemptTimeout":
			s.other(&a.AttemptTimeout)
		case "deadline":
			s.other(&a.Deadline)
		case "heartbeatTimeout":
			s.other(&a.HeartbeatTimeout)
		default:
			s.raw()
		}
	}
	return a
}

// other leaves the value to encoding/json; null leaves v as it is.
func (s *scanner) other(v any) {
	if s.null() {
		return
	}
	text := s.raw()
	if s.err != nil {
		return
	}
	if err := json.Unmarshal(text, v); err != nil {
		s.mismatch(err.Error())
	}
}
