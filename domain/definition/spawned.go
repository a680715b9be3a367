package definition

import (
	"bytes"
	"fmt"
	"strings"
)

// maxIDBytes bounds an activity's id, which stands in URLs and keys.
const maxIDBytes = 200

// CheckSpawned says what is wrong with an activity that another one spawned: an id that
// is missing or does not fit into a URL, no type, a `with` that is no object, an unknown
// onError, too many retries. Dependencies are for the graph to check.
func CheckSpawned(a *Activity) error {
	if err := CheckID(a.ID); err != nil {
		return fmt.Errorf("a spawned activity: %w", err)
	}
	if err := CheckActivityType(a.Type); err != nil {
		return fmt.Errorf("spawned activity %s: type: %w", a.ID, err)
	}
	if w := bytes.TrimSpace(a.With); len(w) > 0 && w[0] != '{' {
		return fmt.Errorf("spawned activity %s: with is not an object", a.ID)
	}
	if a.Retry != nil && a.Retry.Limit != nil && (*a.Retry.Limit < 0 || *a.Retry.Limit > MaxRetries) {
		return fmt.Errorf("spawned activity %s: retry.limit %d is not between 0 and %d", a.ID, *a.Retry.Limit, MaxRetries)
	}
	switch a.OnError {
	case "", OnErrorFail, OnErrorContinue, OnErrorPartial:
		return nil
	}
	return fmt.Errorf("spawned activity %s: onError %q is none of fail, continue, partial", a.ID, a.OnError)
}

// CheckID refuses an activity id that is empty, too long, or has other characters than
// letters, digits, '-', '_' and '~': it stands in URLs, and a dot would read as a path.
func CheckID(id string) error {
	switch id {
	case "":
		return fmt.Errorf("the id is empty")
	case "input":
		return fmt.Errorf("the id %q is reserved for the orchestration's input", id)
	}
	if strings.HasSuffix(id, UndoSuffix) {
		return fmt.Errorf("the id %q ends with %s, which is reserved for what undoes an activity", id, UndoSuffix)
	}
	if len(id) > maxIDBytes {
		return fmt.Errorf("the id has %d bytes, over the limit of %d", len(id), maxIDBytes)
	}
	for _, c := range id {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '~':
		default:
			return fmt.Errorf("the id %q has the character %q; letters, digits, '-', '_' and '~' fit", id, c)
		}
	}
	return nil
}
