package transfer_test

import (
	"flag"
	"os"
	"testing"

	. "github.com/waybill/waybill/domain/transfer" //nolint:revive // the tests read as sentences of this package
)

var update = flag.Bool("update", false, "write states.md anew from the table of moves")

const statesHead = "# States of a transfer\n\nDrawn from the table in `moves.go`: `go test ./domain/transfer -run TestDiagram -update`.\n\n"

func TestDiagram(t *testing.T) {
	want := statesHead + Diagram()
	if *update {
		if err := os.WriteFile("states.md", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("states.md does not show the table as it is: run this test with -update")
	}
}
