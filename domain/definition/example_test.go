package definition_test

import (
	"fmt"

	"github.com/waybill/waybill/domain/definition"
)

// Every mistake is named at once, with its place.
func ExampleValidateOrchestration() {
	catalog := definition.NewCatalog()
	_, problems := definition.ValidateOrchestration([]byte(`{
		"type": "report",
		"activities": [
			{"id": "fetch", "type": "retrieve", "dependOn": ["join"], "inputs": ["file", "connectorUrl"]},
			{"id": "join", "type": "aggregate", "dependsOn": "fetched", "deadline": "1 hour"}
		]
	}`), catalog.Activity)
	for _, p := range problems {
		fmt.Printf("%s: %.60s\n", p.Path, p.Message)
	}
	// Output:
	// activities[0].dependOn: is not known; did you mean "dependsOn"?; known are id, name,
	// activities[1].deadline: duration "1 hour": want ISO 8601 (PT2S) or 2s
	// activities[1].dependsOn: there is no activity "fetched"; did you mean "fetch"?
}
