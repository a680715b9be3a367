package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// query is a QuerySpec.
type query struct {
	ld
	Offset int             `json:"offset"`
	Limit  *int            `json:"limit"`
	Order  string          `json:"sortOrder"`
	Sort   string          `json:"sortField"`
	Filter list[criterion] `json:"filterExpression"`
}

type criterion struct {
	Left     string          `json:"operandLeft"`
	Operator string          `json:"operator"`
	Right    json.RawMessage `json:"operandRight"`
}

const defaultLimit = 50

func readQuery(body []byte) (*query, *reply) {
	var q query
	if len(body) == 0 {
		return &q, nil // all of it
	}
	if refused := decode(body, &q); refused != nil {
		return nil, refused
	}
	return &q, q.check()
}

func (q *query) check() *reply {
	var found []problem
	if q.Limit != nil && *q.Limit < 1 {
		found = append(found, problem{Message: "optional value '" + nsEDC + "limit' must be greater than zero", Path: nsEDC + "limit", InvalidValue: *q.Limit})
	}
	if q.Offset < 0 {
		found = append(found, problem{Message: "optional value '" + nsEDC + "offset' must be greater than or equal to zero", Path: nsEDC + "offset", InvalidValue: q.Offset})
	}
	return invalid(found)
}

// page is what of n entries was asked for.
func (q *query) page(n int) (from, to int) {
	limit := defaultLimit
	if q.Limit != nil {
		limit = *q.Limit
	}
	from = min(q.Offset, n)
	return from, min(from+limit, n)
}

// text is the right operand, whatever it is.
func (f *criterion) text() string {
	var s string
	if json.Unmarshal(f.Right, &s) == nil {
		return s
	}
	return strings.Trim(string(f.Right), `"`)
}

// holds compares a value.
func (f *criterion) holds(value string) bool {
	switch f.Operator {
	case "=":
		return value == f.text()
	case "!=":
		return value != f.text()
	case "like", "ilike":
		return like(value, f.text())
	case "in":
		var options []any
		if json.Unmarshal(f.Right, &options) != nil {
			return false
		}
		return slices.ContainsFunc(options, func(o any) bool { return fmt.Sprint(o) == value })
	}
	have, err1 := strconv.ParseFloat(value, 64)
	want, err2 := strconv.ParseFloat(f.text(), 64)
	if err1 != nil || err2 != nil {
		return false
	}
	switch f.Operator {
	case "<":
		return have < want
	case "<=":
		return have <= want
	case ">":
		return have > want
	case ">=":
		return have >= want
	}
	return false
}

// like is SQL's, as far as it is asked for: % at the ends.
func like(value, pattern string) bool {
	inner := strings.Trim(pattern, "%")
	switch front, back := strings.HasPrefix(pattern, "%"), strings.HasSuffix(pattern, "%"); {
	case front && back:
		return strings.Contains(value, inner)
	case front:
		return strings.HasSuffix(value, inner)
	case back:
		return strings.HasPrefix(value, inner)
	}
	return value == pattern
}

// queried is something that can be asked for by its fields. What EDC has no such field for is
// not known.
type queried interface {
	field(name string) (values []string, known bool)
}

// find filters, sorts and pages; the class is named where a field is not known.
func find[E queried](all []E, q *query, class string) ([]E, *reply) {
	var found []E
	var none E
	if _, known := none.field(q.Sort); q.Sort != "" && !known {
		return nil, unknownField(q.Sort, class)
	}
	for _, f := range q.Filter {
		if _, known := none.field(f.Left); !known {
			return nil, unknownField(f.Left, class)
		}
		if f.Left == "state" && f.Operator == "in" {
			r := nothing(http.StatusInternalServerError)
			return nil, &r
		}
	}
	for _, e := range all {
		if fits(e, q) {
			found = append(found, e)
		}
	}
	if strings.EqualFold(q.Order, "DESC") {
		slices.Reverse(found) // they lie in the order in which they were made
	}
	from, to := q.page(len(found))
	return found[from:to], nil
}

func unknownField(name, class string) *reply {
	r := failed(http.StatusBadRequest, "Error validating schema: Field "+name+" not found on type class "+class)
	return &r
}

func fits[E queried](e E, q *query) bool {
	for i := range q.Filter {
		values, _ := e.field(q.Filter[i].Left)
		if !slices.ContainsFunc(values, q.Filter[i].holds) {
			return false
		}
	}
	return true
}

// field finds what negotiations and transfers have in common.
func (p *process) field(name string) ([]string, bool) {
	if p == nil { // only whether there is such a field
		p = &process{}
	}
	switch name {
	case "id":
		return []string{p.id}, true
	case "state":
		return []string{p.stage.State(), strconv.Itoa(p.stage.code())}, true
	case "type":
		return []string{"CONSUMER"}, true
	case "correlationId":
		return []string{p.correlation}, true
	case "createdAt":
		return []string{strconv.FormatInt(p.created.UnixMilli(), 10)}, true
	case "counterPartyAddress":
		return []string{p.address}, true
	case "protocol":
		return []string{p.protocol}, true
	case "callbackAddresses.uri":
		uris := make([]string, len(p.callbacks))
		for i, a := range p.callbacks {
			uris[i] = a.URI
		}
		return uris, true
	}
	return nil, false
}

func (n *negotiation) field(name string) ([]string, bool) {
	if n == nil {
		n = &negotiation{}
	}
	switch name {
	case "counterPartyId":
		return []string{n.assigner}, true
	case "contractOffers.id":
		return []string{n.offerID}, true
	case "contractOffers.assetId":
		return []string{n.assetID}, true
	case "contractAgreement.id":
		if n.agreement == nil {
			return nil, true
		}
		return []string{n.agreement.id}, true
	}
	return n.process.field(name)
}

func (t *transfer) field(name string) ([]string, bool) {
	if t == nil {
		t = &transfer{}
	}
	switch name {
	case "assetId":
		return []string{t.assetID}, true
	case "contractId":
		return []string{t.contractID}, true
	case "transferType":
		return []string{t.kind}, true
	}
	if key, ok := strings.CutPrefix(name, "privateProperties."); ok {
		return []string{t.private[strings.TrimPrefix(strings.Trim(key, "'"), nsEDC)]}, true
	}
	return t.process.field(name)
}

// field of an EDR's entry: a filter on what there is not finds nothing.
func (e *edr) field(name string) ([]string, bool) { //nolint:unparam // the interface's; here every name is taken
	if e == nil || e.transfer == nil {
		return nil, true
	}
	switch t := e.transfer; name {
	case "id", "transferProcessId":
		return []string{t.id}, true
	case "assetId":
		return []string{t.assetID}, true
	case "agreementId":
		return []string{t.contractID}, true
	case "contractNegotiationId":
		return []string{t.agreement.negotiation}, true
	case "providerId":
		return []string{t.provider.participant}, true
	case "createdAt":
		return []string{strconv.FormatInt(e.created.UnixMilli(), 10)}, true
	}
	return nil, true
}
