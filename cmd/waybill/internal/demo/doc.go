// Package demo is `waybill demo`: the reference job over three providers, with everything
// it needs in one process.
//
//	err := demo.Run(ctx, demo.Options{Out: os.Stdout})
//
// It starts the very program that `waybill serve` runs, with an embedded broker in a
// temporary directory, and beside it three plain providers. Each is an HTTP server of its
// own that serves the documents of its own folder. Then it does what any user can do:
//
//	publish a start command over Kafka            -> the job
//	ask the projection over HTTP, again and again -> progress, node by node
//	subscribe to the completions topic            -> the sentence
//
// Whatever it prints, it has been told on one of these three ways. Where the job does not
// complete, Run says so with a *JobError.
package demo
