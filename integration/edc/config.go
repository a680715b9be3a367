package main

import (
	"os"

	"sigs.k8s.io/yaml"
)

// apiKeyVariable is where serve finds the key of the management API.
const apiKeyVariable = "EDC_API_KEY" //nolint:gosec // the name of a variable

// config is a waybill.yaml, as docs/real-connectors.md shows it.
type config struct {
	PublicURL    string              `json:"publicUrl,omitempty"`
	Allow        []string            `json:"allow,omitempty"`
	Connectors   []connectorConfig   `json:"connectors"`
	Provisioners []map[string]string `json:"provisioners,omitempty"`
}

// connectorConfig is one connector of it.
type connectorConfig struct {
	Name          string            `json:"name"`
	Adapter       string            `json:"adapter"`
	ManagementURL string            `json:"managementUrl"`
	APIKey        map[string]string `json:"apiKey"`
	Protocol      string            `json:"protocol,omitempty"`
	Match         []string          `json:"match"`
	Poll          map[string]string `json:"poll,omitempty"`
	Timeout       string            `json:"timeout,omitempty"`
	Deadlines     map[string]string `json:"deadlines,omitempty"`
}

// newConfig is the configuration of a server at an address, with one connector for all providers.
func newConfig(on *connectors, listen string) *config {
	c := on.of[consumer]
	ours := connectorConfig{
		Name: "dataspace", Adapter: "edc", ManagementURL: c.ManagementURL, APIKey: map[string]string{"env": apiKeyVariable}, Protocol: c.Protocol,
	}
	for _, name := range []string{provider1, provider2, provider3} {
		ours.Match = append(ours.Match, on.of[name].ProtocolURL)
	}
	return &config{PublicURL: "http://" + listen, Connectors: []connectorConfig{ours}}
}

func (c *config) write(path string) error {
	b, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// pollEvery makes all connectors ask every so often, an ISO 8601 duration, for what no callback has told.
func (c *config) pollEvery(every string) {
	for i := range c.Connectors {
		c.Connectors[i].Poll = map[string]string{"first": every, "most": every}
	}
}

// hurry makes all connectors try anew soon where nothing moves: a consumer never hears that a provider has forgotten
// what it was asked for.
func (c *config) hurry() {
	for i := range c.Connectors {
		c.Connectors[i].Deadlines = map[string]string{"state": "PT15S", "edr": "PT15S"}
	}
}
