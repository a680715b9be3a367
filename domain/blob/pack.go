package blob

import (
	"bytes"
	"encoding/json"
	"slices"
)

// worthwhile is from which size on a member is moved out: a reference takes some hundred
// bytes itself.
const worthwhile = 8 << 10

// Pack makes a value fit into limit bytes: of an object it moves the largest members out, as
// many as it takes, so that whoever reads the rest can still follow paths and check it;
// anything else, and an object of a great many small members, it moves out whole. put writes
// a value, and fills in the reference but for its type and size.
func Pack(raw json.RawMessage, limit int, put func(json.RawMessage) (Ref, error)) (json.RawMessage, error) {
	if len(raw) <= limit {
		return raw, nil
	}
	raw = bytes.TrimSpace(raw)
	l, ok := members(raw)
	if !ok {
		return out(raw, put)
	}
	order := make([]int, 0, len(l))
	left, most := len(raw), len(raw)
	for i, m := range l {
		if len(m.value) >= worthwhile {
			order = append(order, i)
			most -= len(m.value) - maxMovedBytes
		}
	}
	if most > limit {
		return out(raw, put)
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(l[b].value) - len(l[a].value) })
	for _, i := range order {
		if left <= limit {
			break
		}
		ref, err := out(l[i].value, put)
		if err != nil {
			return nil, err
		}
		left -= len(l[i].value) - len(ref)
		l[i].value = ref
	}
	return object(l), nil
}

// maxMovedBytes is about what a reference takes.
const maxMovedBytes = 512

func out(value json.RawMessage, put func(json.RawMessage) (Ref, error)) (json.RawMessage, error) {
	value = bytes.TrimSpace(value)
	r, err := put(value)
	if err != nil {
		return nil, err
	}
	r.Type, r.Bytes = kindOf(value), int64(len(value))
	return r.JSON(), nil
}
