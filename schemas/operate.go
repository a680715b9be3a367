package schemas

import (
	"encoding/json"

	"github.com/waybill/waybill/domain/orchestration"
)

// The words of operators, and what comes of them.

func isOperatorCommand(wireType string) bool {
	switch wireType {
	case OrchestrationPause, OrchestrationResume,
		ActivityRetry, ActivitySkip, ActivityComplete, ActivityFail, ActivityPause, ActivityResume:
		return true
	}
	return false
}

func (r *reader) operator(wireType string) orchestration.Command {
	var o orchestration.Order
	switch wireType {
	case OrchestrationPause:
		return orchestration.Pause(r.cancel())
	case OrchestrationResume:
		return orchestration.Resume(r.cancel())
	case ActivityRetry:
		r.order(&o, nil, nil)
		return orchestration.RetryActivity{Order: o}
	case ActivitySkip:
		var output json.RawMessage
		r.order(&o, &output, nil)
		return orchestration.SkipActivity{Order: o, Output: output}
	case ActivityComplete:
		var output json.RawMessage
		r.order(&o, &output, nil)
		return orchestration.CompleteActivity{Order: o, Output: output}
	case ActivityFail:
		var fault orchestration.Fault
		r.order(&o, nil, &fault)
		return orchestration.FailActivity{Order: o, Error: fault}
	case ActivityPause:
		r.order(&o, nil, nil)
		return orchestration.PauseActivity{Order: o}
	case ActivityResume:
		r.order(&o, nil, nil)
		return orchestration.ResumeActivity{Order: o}
	}
	return nil
}

// order reads what an operator says of an activity, with the members it may have: those that
// are not nil.
func (r *reader) order(c *orchestration.Order, output *json.RawMessage, fault *orchestration.Fault) {
	for o := r.object(); o.next(); {
		name := string(o.name)
		switch {
		case name == "activityId":
			c.ActivityID = r.required(hasActivity)
		case name == "reason":
			c.Reason = r.str()
		case name == "by":
			c.By = r.str()
		case name == "output" && output != nil:
			*output = r.references()
		case name == "error" && fault != nil:
			if !r.null() {
				*fault = r.fault()
			}
		default:
			r.unknown(o.name)
		}
	}
	r.need(hasActivity)
}

// operated reads what an operator made happen; nil where it is nothing of that.
func (s *scanner) operated(wireType string) orchestration.Event {
	switch wireType {
	case ActivitySkipped, ActivityPaused, ActivityResumed, OrchestrationPaused, OrchestrationResumed:
	default:
		return nil
	}
	var e orchestration.Skipped // the one with the most members but the state
	var state orchestration.Phase
	for o := s.object(); o.next(); {
		switch string(o.name) {
		case "activityId":
			e.ActivityID = s.str()
		case "output":
			e.Output = s.copied()
		case "state":
			if err := state.UnmarshalText([]byte(s.str())); err != nil {
				s.mismatch(err.Error())
			}
		case "reason":
			e.Reason = s.str()
		case "by":
			e.By = s.str()
		default:
			s.raw()
		}
	}
	switch wireType {
	case ActivityPaused:
		return orchestration.ActivityPaused{ActivityID: e.ActivityID, Reason: e.Reason, By: e.By}
	case ActivityResumed:
		return orchestration.ActivityResumed{ActivityID: e.ActivityID, Reason: e.Reason, By: e.By}
	case OrchestrationPaused:
		return orchestration.Paused{Reason: e.Reason, By: e.By}
	case OrchestrationResumed:
		return orchestration.Resumed{State: state, Reason: e.Reason, By: e.By}
	}
	return e
}
