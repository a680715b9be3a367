package orchestration

import (
	"encoding/json"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/machine"
)

// left is what an orchestration's runs have left among the blobs: what was written under its
// own id, not what it was only told of.
type left struct {
	blobs []machine.Blob
	bytes int64
}

// own lists the references in a value to blobs that were written under the orchestration's id.
func (s State) own(value json.RawMessage) []blob.Ref {
	if !blob.Marked(value) {
		return nil
	}
	var l []blob.Ref
	// What is not well formed was refused when it came in.
	_ = blob.Each(value, func(r blob.Ref) {
		if r.Own(s.id) {
			l = append(l, r)
		}
	})
	return l
}

// leave notes what a value refers to.
func (s *State) leave(value json.RawMessage) {
	for _, r := range s.own(value) {
		if s.left == nil {
			s.left = &left{}
		}
		s.left.blobs = append(s.left.blobs, machine.Blob{ID: r.ID, Chunks: r.Chunks})
		s.left.bytes += r.Bytes
	}
}

// claim says of the blobs that a value refers to that somebody remembers them.
func (s State) claim(value json.RawMessage) []machine.Effect {
	l := s.own(value)
	if len(l) == 0 {
		return nil
	}
	c := machine.Claim{Blobs: make([]machine.Blob, len(l))}
	for i, r := range l {
		c.Blobs[i] = machine.Blob{ID: r.ID, Chunks: r.Chunks}
	}
	return []machine.Effect{c}
}

func (s State) discard() []machine.Effect {
	if s.left == nil {
		return nil
	}
	return []machine.Effect{machine.Discard{Blobs: s.left.blobs}}
}

// removal is when what an ended orchestration has left is removed; zero: never. What disposes of it
// may work on that, and has the same time.
func (s State) removal() time.Time {
	switch {
	case s.left == nil || !s.Ended():
		return time.Time{}
	case s.disposedAt.After(s.endedAt):
		return s.disposedAt.Add(s.keep)
	}
	return s.endedAt.Add(s.keep)
}

// removeBlobs removes what an ended orchestration has left, once it is time.
func (s State) removeBlobs(at time.Time) []Event {
	if when := s.removal(); when.IsZero() || at.UnixMilli() < when.UnixMilli() {
		return nil
	}
	return []Event{BlobsRemoved{Blobs: len(s.left.blobs), Bytes: s.left.bytes}}
}

// outputOf is what an event says an activity has made, or was skipped with; nil for others.
func outputOf(e Event) json.RawMessage {
	if e, ok := e.(Skipped); ok {
		return e.Output
	}
	if e, ok := e.(Completed); ok {
		return e.Output
	}
	return nil
}
