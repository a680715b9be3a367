// Command waybill orchestrates long-running work across many providers, with Kafka as
// its only source of truth. `waybill help` says what it can do.
package main

import (
	"os"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
