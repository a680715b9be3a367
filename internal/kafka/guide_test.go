package kafka_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/waybill/waybill/internal/kafka"
)

// rightsTable is the table of rights as the guide has it.
func rightsTable() string {
	log := kafka.Log{
		Aggregates: []string{"<aggregate>"}, ActivityTypes: []string{"<type>"}, Askers: []string{"<aggregate>"}, Subscribers: "<group>",
	}
	var b strings.Builder
	b.WriteString("| role | operations | on | for |\n| --- | --- | --- | --- |\n")
	for _, role := range kafka.AccessRoles() {
		for _, r := range log.Rights(role) {
			name, purpose := r.Name, r.For
			if r.Prefixed {
				name += "*"
			}
			if r.Optional {
				purpose += " (optional)"
			}
			fmt.Fprintf(&b, "| %s | %s | %s `%s` | %s |\n", role, strings.ReplaceAll(r.Names(), ",", ", "), r.On, name, purpose)
		}
	}
	return b.String()
}

func TestTheGuideHasTheRightsOfEachRole(t *testing.T) {
	guide, err := os.ReadFile("../../docs/kafka.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := rightsTable(); !strings.Contains(string(guide), table) {
		t.Errorf("docs/kafka.md has another table than\n\n%s", table)
	}
}
