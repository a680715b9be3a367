package orchestration

import "time"

// lastReports is how long an orchestration that has failed waits for the reports of what is
// under way. Whatever fails in the same moment, or completes, is then part of the end, and
// is not refused as late.
const lastReports = time.Second

// working says that an agent may be at it, or about to be, and will report by itself.
func (p ActivityPhase) working() bool { return p == ActivityReady || p == ActivityRunning }

// conclude appends the end of the orchestration, if the end of the activity v.last, which
// brings so many others into being, is the last that had to come.
func (s State) conclude(events []Event, at time.Time, v view, spawned int) []Event {
	if s.g.doomed != nil {
		return s.doom(events, at, v)
	}
	if s.g.open-1+spawned == 0 {
		events = append(events, s.completed(at, v)...)
	}
	return events
}

// doom appends the bad end, once no activity but v.last, which is no longer, is under way.
func (s State) doom(events []Event, at time.Time, v view) []Event {
	left := s.g.working
	if s.g.nodes[v.last].phase.working() {
		left--
	}
	if left > 0 {
		return events
	}
	last := int32(-1)
	if v.phase == ActivityCompleted {
		last = v.last
	}
	return append(events, s.unwind(at, s.failed(at, orElse(s.g.doomed, v.failure), v.failure), last)...)
}

// stood appends the bad end to what leaves activity i standing, where that is all it waited for.
func (s State) stood(events []Event, at time.Time, i int32) []Event {
	if s.g.doomed == nil {
		return events
	}
	return s.doom(events, at, view{last: i})
}

// failed is the bad end because of why; more is a failure that is not yet folded in.
func (s State) failed(at time.Time, why, more *Failure) Ended {
	return Ended{State: PhaseError, Error: why, Failures: s.g.allFailures(at, more)}
}

// lost folds in that the orchestration cannot end well any more.
func (g *graph) lost(at time.Time, why Failure) {
	if g.doomed != nil {
		return
	}
	g.doomed, g.verdict = &why, millis(at.Add(lastReports))
	g.timers.push(timer{at: g.verdict, node: -1})
	g.rearm()
}
