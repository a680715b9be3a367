package standin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/google/uuid"
)

const (
	catalogContext25 = `["https://w3id.org/dspace/2025/1/context.jsonld","https://w3id.org/edc/dspace/v0.0.1"]`
	catalogContext08 = `{"dcat":"http://www.w3.org/ns/dcat#","dct":"` + nsDCT + `","odrl":"` + nsODRL + `","dspace":"https://w3id.org/dspace/v0.8/","@vocab":"` + nsEDC + `","edc":"` + nsEDC + `"}`
)

// rendering is a dataset of a catalog, all but the ids of its offers, which are new in every
// answer.
type rendering struct {
	head   []byte // up to the offers
	offers []renderedOffer
	tail   []byte // from the offers on
}

type renderedOffer struct {
	id   string // its first two parts
	rest string // what follows the third
}

// render writes the datasets once the provider's address is known.
func (p *Provider) render() {
	for _, a := range p.assets {
		a.shown = map[string]rendering{Protocol2025: p.render25(a), Protocol08: p.render08(a)}
	}
}

func (p *Provider) render25(a *asset) rendering {
	id := quoted(a.ID)
	service := p.service25()
	r := rendering{head: []byte(`{"@id":` + id + `,"@type":"Dataset","hasPolicy":[`)}
	for _, o := range a.policies {
		r.offers = append(r.offers, renderedOffer{offerID(o.Definition, a.ID, ""), `","@type":"Offer"` + o.in25 + `}`})
	}
	var b strings.Builder
	fmt.Fprintf(&b, `],"distribution":[{"@type":"Distribution","format":%q,"accessService":%s},{"@type":"Distribution","format":%q,"accessService":%s}]`, Pull, service, Push, service)
	for _, name := range sortedNames(a.Properties) {
		shown := shortName(name)
		if !strings.Contains(shown, ":") {
			shown = "edc:" + shown
		}
		fmt.Fprintf(&b, `,%s:%s`, quoted(shown), quoted(a.Properties[name]))
	}
	r.tail = []byte(b.String() + `,"id":` + id + `}`)
	return r
}

func (p *Provider) service25() string {
	return fmt.Sprintf(`{"@id":%q,"@type":"DataService","endpointDescription":"dspace:connector","endpointURL":%q}`, p.service, p.Address(Protocol2025))
}

func (p *Provider) render08(a *asset) rendering {
	id := quoted(a.ID)
	service := p.service08()
	var r rendering
	opening, closing := "[", "]"
	if len(a.policies) == 1 {
		opening, closing = "", ""
	}
	r.head = []byte(`{"@id":` + id + `,"@type":"dcat:Dataset","odrl:hasPolicy":` + opening)
	for _, o := range a.policies {
		r.offers = append(r.offers, renderedOffer{offerID(o.Definition, a.ID, ""), `","@type":"odrl:Offer"` + o.in08 + `}`})
	}
	var b strings.Builder
	fmt.Fprintf(&b, `%s,"dcat:distribution":[{"@type":"dcat:Distribution","dct:format":{"@id":%q},"dcat:accessService":%s},{"@type":"dcat:Distribution","dct:format":{"@id":%q},"dcat:accessService":%s}]`,
		closing, Pull, service, Push, service)
	for _, name := range sortedNames(a.Properties) {
		fmt.Fprintf(&b, `,%s:%s`, quoted(shortName(name)), quoted(a.Properties[name]))
	}
	r.tail = []byte(b.String() + `,"id":` + id + `}`)
	return r
}

func (p *Provider) service08() string {
	return fmt.Sprintf(`{"@id":%q,"@type":"dcat:DataService","dcat:endpointDescription":"dspace:connector","dcat:endpointURL":%q}`, p.service, p.Address(Protocol08))
}

// appendTo writes the dataset with new offers.
func (r *rendering) appendTo(b []byte) []byte {
	b = append(b, r.head...)
	for i, o := range r.offers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"@id":"`...)
		b = append(b, o.id...)
		third := uuid.New()
		b = base64.StdEncoding.AppendEncode(b, []byte(third.String()))
		b = append(b, o.rest...)
	}
	return append(b, r.tail...)
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // cannot fail
	return string(text)
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// shortName is a property's name without what a catalog's context stands for.
func shortName(name string) string {
	if rest, ok := strings.CutPrefix(name, nsEDC); ok {
		return rest
	}
	if rest, ok := strings.CutPrefix(name, nsDCT); ok {
		return "dct:" + rest
	}
	return name
}

// catalogRequest is the body of a request for a catalog.
type catalogRequest struct {
	ld
	CounterPartyAddress string `json:"counterPartyAddress"`
	Protocol            string `json:"protocol"`
	QuerySpec           query  `json:"querySpec"`
}

// readCatalog finds out what a request for a catalog is about.
func (c *Connector) readCatalog(k *call, body []byte) (func(*http.Request) reply, *reply) {
	var in catalogRequest
	if refused := decode(body, &in); refused != nil {
		return nil, refused
	}
	if refused := mandatory(named{"counterPartyAddress", in.CounterPartyAddress}, named{"protocol", in.Protocol}); refused != nil {
		return nil, refused
	}
	if refused := in.QuerySpec.check(); refused != nil {
		return nil, refused
	}
	party, ok := c.byAddress[trimmed(in.CounterPartyAddress)]
	if ok {
		k.provider = party.provider
	}
	for _, f := range in.QuerySpec.Filter {
		if shortName(f.Left) == "id" {
			k.asset = f.text()
		}
	}
	return func(r *http.Request) reply { return c.catalog(r, &in, party) }, nil
}

func (c *Connector) catalog(r *http.Request, in *catalogRequest, party counterParty) reply {
	p := party.provider
	switch {
	case in.Protocol != Protocol2025 && in.Protocol != Protocol08:
		return badGateway("No provider dispatcher registered for protocol: " + in.Protocol)
	case p == nil:
		return badGateway(unreachable(in.CounterPartyAddress))
	case !p.srv.gate.pass(r.Context()):
		cut()
	case !c.alive(p):
		return badGateway(unreachable(in.CounterPartyAddress))
	case party.protocol != in.Protocol:
		return badGateway(string(htmlPage(in.CounterPartyAddress+"/catalog/request", http.StatusNotFound).body))
	}
	c.mu.Lock()
	p.counts.Catalogs++
	c.mu.Unlock()
	return reply{http.StatusOK, "application/json", p.catalog(&in.QuerySpec, in.Protocol)}
}

func (c *Connector) alive(p *Provider) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.up
}

// catalog writes what matches a query.
func (p *Provider) catalog(q *query, protocol string) []byte {
	var sets []byte
	n := 0
	for _, a := range p.matching(q) {
		if n++; n > 1 {
			sets = append(sets, ',')
		}
		r := a.shown[protocol]
		sets = r.appendTo(sets)
	}
	var b bytes.Buffer
	if protocol == Protocol2025 {
		fmt.Fprintf(&b, `{"@id":%q,"@type":"Catalog",`, uuid.NewString())
		if n > 0 {
			fmt.Fprintf(&b, `"dataset":[%s],`, sets)
		}
		fmt.Fprintf(&b, `"service":[%s],"participantId":%s,"@context":%s}`, p.service25(), quoted(p.participant), catalogContext25)
		return b.Bytes()
	}
	if n != 1 {
		sets = append(append([]byte("["), sets...), ']')
	}
	fmt.Fprintf(&b, `{"@id":%q,"@type":"dcat:Catalog","dcat:dataset":%s,"dcat:catalog":[],"dcat:distribution":[],"dcat:service":%s,"dspace:participantId":%s,"@context":%s}`,
		uuid.NewString(), sets, p.service08(), quoted(p.participant), catalogContext08)
	return b.Bytes()
}

// matching are the assets that a query finds, a page of them.
func (p *Provider) matching(q *query) []*asset {
	all := p.assets
	for _, f := range q.Filter {
		if shortName(f.Left) == "id" && f.Operator == "=" { // the usual one, and there may be many assets
			all = nil
			if a := p.byID[f.text()]; a != nil {
				all = []*asset{a}
			}
		}
	}
	var found []*asset
	for _, a := range all {
		if a.matches(q) {
			found = append(found, a)
		}
	}
	from, to := q.page(len(found))
	return found[from:to]
}

func (a *asset) matches(q *query) bool {
	for _, f := range q.Filter {
		name, value := shortName(f.Left), ""
		if name == "id" {
			value = a.ID
		}
		for own, v := range a.Properties {
			if shortName(own) == name {
				value = v
			}
		}
		if value == "" || !f.holds(value) {
			return false
		}
	}
	return true
}
