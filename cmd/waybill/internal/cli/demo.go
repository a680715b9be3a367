package cli

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/demo"
)

func newDemo(env *Env) *cobra.Command {
	o := demo.Options{}
	var delay duration
	cmd := command(env, cobra.Command{
		Use: "demo", Short: "Run the reference job over three providers, everything in this process",
		Long: `Starts an embedded broker in a temporary directory, machines, agents, projections, the API and three providers of
documents on free ports; runs a job that retrieves a tree of documents from them, shows its progress, and prints the result.
The providers are spoken with through a connector, and give a document only under a contract: each is negotiated once. The
job is run a second time to show that. With --plain they want no contracts.`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		o.Delay = time.Duration(delay)
		o.Out, o.Terminal, o.Program = env.Out, env.Terminal, program()
		return demo.Run(cmd.Context(), o)
	})
	f := cmd.Flags()
	f.BoolVar(&o.Keep, "keep", false, "stay up until Ctrl-C, and leave the data")
	f.Var(&delay, "delay", "each provider takes so long to answer")
	f.StringVar(&o.Fail, "fail", "", "make a provider answer 503 for every document: provider1, provider2 or provider3")
	f.BoolVar(&o.Plain, "plain", false, "providers without contracts: documents by GET")
	f.BoolVar(&o.Partial, "partial", false, "let the job complete with what could be had")
	return cmd
}

// program is how this program was called, so that commands it names can be pasted.
func program() string {
	self, err := os.Executable()
	if err != nil {
		return "waybill"
	}
	if strings.Contains(self, string(filepath.Separator)+"go-build") { // go run; the file is gone afterwards
		return "go run ./cmd/waybill"
	}
	return os.Args[0]
}
