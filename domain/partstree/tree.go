package partstree

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/waybill/waybill/domain/definition"
)

// RetrieveType is the activity type that retrieves one document.
const RetrieveType = "retrieve"

// Request is the input of a retrieve activity.
type Request struct {
	File         string `json:"file"`
	ConnectorURL string `json:"connectorUrl"`
}

// Spawn lists one retrieve activity for each further document that a document asks for,
// in its order, each once. An entry whose address is wrong is listed too, and fails by
// itself. A failure leaves a tombstone where the job asked for partial results.
func Spawn(d Document) []definition.Activity {
	if len(d.TransferProcesses) == 0 {
		return nil
	}
	list := make([]definition.Activity, 0, len(d.TransferProcesses))
	seen := make(map[string]struct{}, len(d.TransferProcesses))
	for _, t := range d.TransferProcesses {
		u, f := spelling(t.ConnectorURL, t.File)
		id := NodeID(u, f)
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		with, err := json.Marshal(Request{File: f, ConnectorURL: u})
		if err != nil {
			continue // two strings always encode
		}
		list = append(list, definition.Activity{
			ID: id, Name: Name(u, f), Type: RetrieveType, With: with, OnError: definition.OnErrorPartial,
		})
	}
	return list
}

// Output is the output of a retrieve activity, and what is joined in the end.
type Output struct {
	Value string   `json:"value"`
	Order *float64 `json:"order,omitempty"`
}

// Join joins the values of documents, given depth first as the tree has them, by single
// spaces. Those that have an order share their places among themselves by it; a document
// without one stays where the tree has it. Empty values leave no gap.
func Join(documents []Output) string {
	var ordered []Output
	for _, d := range documents {
		if d.Order != nil {
			ordered = append(ordered, d)
		}
	}
	slices.SortStableFunc(ordered, func(a, b Output) int { return cmp.Compare(*a.Order, *b.Order) })
	var joined strings.Builder
	next := 0
	for _, d := range documents {
		if d.Order != nil {
			d = ordered[next]
			next++
		}
		if d.Value == "" {
			continue
		}
		if joined.Len() > 0 {
			joined.WriteByte(' ')
		}
		joined.WriteString(d.Value)
	}
	return joined.String()
}
