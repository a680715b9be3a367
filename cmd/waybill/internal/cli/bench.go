package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/waybill/waybill/cmd/waybill/internal/bench"
	"github.com/waybill/waybill/internal/kafka"
)

func newBench(env *Env) *cobra.Command {
	var (
		o       bench.Options
		compare string
		asJSON  bool
	)
	cmd := command(env, cobra.Command{
		Use: "bench", Short: "Measure this build on this machine",
		Long: `Measure this build on this machine: each work has the whole program to itself, in this process, on an embedded broker in
a temporary directory or, with --brokers, on another Kafka, in topics that are deleted afterwards. The bare log of the same run
stands beside the figures; the ratio of a figure to it outlives the machine.

W1 throughput, W2 latency, W3 a thousand activities side by side, W4 status queries, W5 cold start on a million events,
W6 memory with 100,000 waiting orchestrations, W7 a tree of 37,449 nodes. W5 and W6 take a minute and run only if named. T1 transfers with a
negotiation each, T2 transfers of what is negotiated, T3 two thousand wishes for one asset; they run only if named, too.`,
	}, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		var old *bench.Report
		var err error
		if err := secure(env, o.Brokers, &o.Security); err != nil {
			return err
		}
		if compare != "" { // before minutes have gone by
			if old, err = bench.ReadReport(compare); err != nil {
				return err
			}
		}
		// With --json the report alone is on the standard output.
		told := env.Out
		if asJSON {
			told = io.Writer(env.Err)
		}
		o.Out, o.Version = told, version()
		r, err := bench.Run(cmd.Context(), o)
		if err != nil {
			return err
		}
		if old != nil {
			r.Compare(told, old)
		}
		if asJSON {
			return r.JSON(env.Out)
		}
		return nil
	})
	f := cmd.Flags()
	f.StringSliceVar(&o.Works, "work", bench.DefaultWorks(), "which, of W1 to W7 and T1 to T3")
	f.IntVar(&o.Shards, "shards", kafka.DefaultShards, "partitions of the topics")
	f.IntVar(&o.Runs, "runs", 1, "measure each so many times and take the median")
	f.BoolVar(&o.Fsync, "fsync", false, "the embedded broker writes to the disk before it acknowledges")
	f.StringSliceVar(&o.Brokers, "brokers", nil, "measure on Kafka at host:port,… instead of the embedded broker")
	securityFlags(f, &o.Security)
	f.BoolVar(&asJSON, "json", false, "print the report as JSON, and what is told on the way on the standard error")
	f.StringVar(&compare, "compare", "", "file with the --json output of an earlier run: print the ratio of each figure")
	f.StringVar(&o.CPUProfile, "cpuprofile", "", "write a CPU profile of the works to this file")
	return cmd
}
