package standin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// policy is a Policy with all the forms it is written in.
type policy struct {
	Policy
	in25, in08 string // members of an offer or an agreement, a comma in front of the first
	inEvents   string // the permissions as callbacks have them
	canonical  string // what a request is compared with
}

func newPolicy(cfg Policy) *policy {
	p := &policy{Policy: cfg}
	var in25, in08, inEvents []string
	for _, c := range cfg.Constraints {
		left25 := "edc:" + c.Left
		if c.Left == "inForceDate" { // EDC's context for 2025-1 has a name for it
			left25 = c.Left
		}
		in25 = append(in25, fmt.Sprintf(`{"leftOperand":%q,"operator":%q,"rightOperand":%q}`, left25, c.Operator, c.Right))
		in08 = append(in08, fmt.Sprintf(`{"odrl:leftOperand":{"@id":%q},"odrl:operator":{"@id":%q},"odrl:rightOperand":%q}`,
			"edc:"+c.Left, "odrl:"+c.Operator, c.Right))
		inEvents = append(inEvents, fmt.Sprintf(`{"edctype":"AtomicConstraint","leftExpression":{"edctype":"dataspaceconnector:literalexpression","value":%q},`+
			`"rightExpression":{"edctype":"dataspaceconnector:literalexpression","value":%q},"operator":%q}`, nsEDC+c.Left, c.Right, strings.ToUpper(c.Operator)))
	}
	permission := "[]"
	if len(in25) > 0 {
		p.in25 = `,"permission":[{"action":"use","constraint":[` + strings.Join(in25, ",") + `]}]`
		permission = `{"odrl:action":{"@id":"odrl:use"},"odrl:constraint":` + oneOrMany(in08) + `}`
		p.inEvents = `{"edctype":"dataspaceconnector:permission","action":{"type":"` + nsODRL + `use","includedIn":null,"constraint":null},"constraints":[` +
			strings.Join(inEvents, ",") + `],"duties":[]}`
	}
	p.in08 = `,"odrl:permission":` + permission + `,"odrl:prohibition":[],"odrl:obligation":[]`
	own, err := readOffer([]byte("{" + p.in08[1:] + "}"))
	if err == nil { // as it is: written here
		p.canonical, _ = own.canonical()
	}
	return p
}

// oneOrMany is how 0.8 writes a list: the element itself where it is one.
func oneOrMany(items []string) string {
	if len(items) == 1 {
		return items[0]
	}
	return "[" + strings.Join(items, ",") + "]"
}

// offerID is an offer's id: what is offered, under what, and a part that nobody checks.
func offerID(definition, assetID, third string) string {
	b := base64.StdEncoding.EncodeToString
	return b([]byte(definition)) + ":" + b([]byte(assetID)) + ":" + third
}

// named finds what an offer's id names.
func (p *Provider) named(offerID string) (*asset, *policy) {
	parts := strings.Split(offerID, ":")
	if p == nil || len(parts) != 3 {
		return nil, nil
	}
	definition, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil {
		return nil, nil
	}
	id, err := base64.StdEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, nil
	}
	a := p.byID[string(id)]
	if a == nil {
		return nil, nil
	}
	for _, o := range a.policies {
		if o.Definition == string(definition) {
			return a, o
		}
	}
	return nil, nil
}

// offer is the policy of a request, with the names of either protocol.
type offer struct {
	context                             json.RawMessage
	typ, id, assigner, target           string
	permission, prohibition, obligation json.RawMessage
	bare                                bool // some terms stand without a prefix
}

// errPage is a request that is answered with a page of HTML: its JSON-LD makes no sense.
var errPage = errors.New("the JSON-LD cannot be expanded")

func readOffer(raw json.RawMessage) (*offer, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	o := &offer{context: members["@context"]}
	take := func(name string) json.RawMessage {
		if v, ok := members["odrl:"+name]; ok {
			return v
		}
		v, ok := members[name]
		o.bare = o.bare || ok
		return v
	}
	_ = json.Unmarshal(members["@type"], &o.typ) // one that is none is missing
	_ = json.Unmarshal(members["@id"], &o.id)
	o.assigner, o.target = reference(take("assigner")), reference(take("target"))
	o.permission, o.prohibition, o.obligation = take("permission"), take("prohibition"), take("obligation")
	return o, nil
}

// reference reads an id that is written bare or as an object.
func reference(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id
	}
	var object struct {
		ID string `json:"@id"`
	}
	_ = json.Unmarshal(raw, &object) // neither: missing
	return object.ID
}

// canonical is what the offer says, however it is written.
func (o *offer) canonical() (string, error) {
	if o.permission == nil && o.prohibition == nil && o.obligation == nil {
		return "{}", nil
	}
	said := map[string]any{}
	for name, raw := range map[string]json.RawMessage{"permission": o.permission, "prohibition": o.prohibition, "obligation": o.obligation} {
		if len(raw) == 0 || string(raw) == "[]" {
			continue
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return "", err
		}
		if v = simplify(v); v != nil {
			said[name] = v
		}
	}
	text, err := json.Marshal(said)
	return string(text), err
}

// simplify takes off what JSON-LD can write or leave out: prefixes, arrays of one, empty
// arrays, ids and values as objects.
func simplify(v any) any {
	switch v := v.(type) {
	case string:
		for _, prefix := range []string{"odrl:", "edc:", nsODRL, nsEDC} {
			if rest, ok := strings.CutPrefix(v, prefix); ok {
				return rest
			}
		}
	case []any:
		var out []any
		for _, e := range v {
			if e = simplify(e); e != nil {
				out = append(out, e)
			}
		}
		if len(out) <= 1 {
			if len(out) == 0 {
				return nil
			}
			return out[0]
		}
		return out
	case map[string]any:
		for _, wrapped := range []string{"@id", "@value"} {
			if inner, ok := v[wrapped]; ok && len(v) == 1 {
				return simplify(inner)
			}
		}
		out := map[string]any{}
		for name, e := range v {
			if e = simplify(e); e != nil && name != "@type" {
				key, _ := simplify(name).(string)
				out[key] = e
			}
		}
		return out
	}
	return v
}

// check finds what EDC finds in a policy before anybody is asked.
func (o *offer) check() ([]problem, error) {
	const path = nsEDC + "policy/"
	context := string(o.context)
	if strings.Contains(string(o.permission)+string(o.prohibition)+string(o.obligation), `"edc:`) && !strings.Contains(context, `"edc"`) {
		return nil, errPage
	}
	known := !o.bare || strings.Contains(context, "odrl.jsonld")
	var found []problem
	if typ := strings.TrimPrefix(o.typ, "odrl:"); typ != "Offer" && typ != nsODRL+"Offer" || !known {
		found = append(found, problem{Message: path + "@type was expected to be " + nsODRL + "Offer but it was not", Path: path + "@type"})
	}
	if o.id == "" {
		found = append(found, problem{Message: "@id cannot be null or blank", Path: path + "@id"})
	}
	for name, value := range map[string]string{"assigner": o.assigner, "target": o.target} {
		if value == "" || !known {
			found = append(found, problem{Message: "mandatory object '" + path + nsODRL + name + "' is missing", Path: path + nsODRL + name})
		}
	}
	return found, nil
}
