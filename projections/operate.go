package projections

import (
	"github.com/waybill/waybill/domain/orchestration"
)

// operate folds in what an operator made happen.
func (j *job) operate(at int64, e orchestration.Event) {
	switch e := e.(type) {
	case orchestration.Paused:
		j.phase, j.paused = orchestration.PhasePaused, pauseOf(at, e.By, e.Reason)
	case orchestration.Resumed:
		j.phase, j.paused = e.State, nil
	case orchestration.ActivityPaused:
		j.hold(e.ActivityID, pauseOf(at, e.By, e.Reason))
	case orchestration.ActivityResumed:
		j.hold(e.ActivityID, nil)
	case orchestration.Skipped:
		if n := j.nodes.get(e.ActivityID); n != nil {
			j.move(n, at, orchestration.ActivitySkipped)
			n.output, n.failure = e.Output, nil
		}
	default:
	}
}

// hold notes on a node that it is paused, or no longer. It stays in its state.
func (j *job) hold(id string, paused []byte) {
	if n := j.nodes.get(id); n != nil {
		n.paused = paused
		j.touch(n)
	}
}

// pauseOf writes since when something is paused, by whom and why.
func pauseOf(at int64, by, reason string) []byte {
	b := appendTime([]byte(`{"since":`), at)
	b = appendText(append(b, `,"by":`...), by)
	b = appendText(append(b, `,"reason":`...), reason)
	return append(b, '}')
}

// appendPaused writes that, where it is so.
func appendPaused(b, paused []byte) []byte {
	if len(paused) == 0 {
		return b
	}
	return append(append(b, `,"paused":`...), paused...)
}

// byOperator says whose word an event is: an operator's, where it has one.
func byOperator(e orchestration.Event) bool {
	switch e := e.(type) {
	case orchestration.Paused, orchestration.Resumed, orchestration.ActivityPaused, orchestration.ActivityResumed, orchestration.Skipped:
		return true
	case orchestration.Requested:
		return e.By != ""
	case orchestration.Completed:
		return e.By != ""
	case orchestration.Failed:
		return e.By != ""
	default:
		return false
	}
}
