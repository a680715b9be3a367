// Package bench is `waybill bench`: the project's benchmark, the same works that others in
// the field were measured with.
//
//	report, err := bench.Run(ctx, bench.Options{Works: []string{"W1", "W2"}, Out: os.Stdout})
//
// Each work has the very program that `waybill serve` runs to itself (app.Main with all its
// roles, the projections included), on an embedded broker in a temporary directory unless
// another Kafka is named, and speaks with it the way a client would that wants the most:
//
//	W1  orchestrations per second: 2,000 of 3 activities each, from 64 submitters
//	W2  latency of the same, one at a time
//	W3  one orchestration of 1,000 activities side by side and a join
//	W4  status queries over HTTP, from 16 clients
//	W5  cold start on a long history
//	W6  memory with many orchestrations that wait
//	W7  one orchestration that grows to 37,449 nodes
//	T1  transfers per second with a negotiation each, by way of a stand-in connector
//	T2  transfers per second of assets that are negotiated
//	T3  one orchestration that wishes for the same asset 2,000 times
//
// What is submitted goes over Kafka (package producers), and what has ended is what a
// subscriber of the completions topic has been told (package consumers/completions).
//
// Beside the works stands the bare log, taken in the same run: how many commands a second
// the log takes when nothing is decided. Figures are for one machine; the ratio of a figure
// to the bare log outlives it, which is what Report.Compare is for.
package bench
