package projections

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
