// Package outbound is how the outside is called: which hosts may be (Hosts), within which
// time and size (Limits), and what an answer that is none means for whoever asked (Fault):
// that trying again makes sense, and when, or that it does not.
//
//	hosts, err := outbound.New([]string{"provider1:8181"})
//	client := hosts.Client(16)
//	answer, fault := outbound.Limits{Timeout: 30 * time.Second}.Do(client, req)
//	if fault == nil {
//		fault = answer.Refusal()
//	}
//
// Link-local and metadata addresses are never called, whatever a name resolves to and
// wherever a redirect leads.
package outbound
