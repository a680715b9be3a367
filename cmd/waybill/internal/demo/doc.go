// Package demo is `waybill demo`: the reference job over three providers, with everything
// it needs in one process.
//
//	err := demo.Run(ctx, demo.Options{Out: os.Stdout})
//
// It starts the very program that `waybill serve` runs, with an embedded broker in a
// temporary directory, and beside it three providers behind a connector (internal/standin),
// each with a data plane of its own that serves the documents of its own folder to whoever
// has a contract. Then it does what any user can do:
//
//	publish a start command over Kafka            -> the job
//	ask the projection over HTTP, again and again -> progress, node by node; what is negotiated
//	subscribe to the completions topic            -> the sentence
//
// and all that once more, to show that the second job negotiates nothing. With Plain the
// providers are HTTP servers that want no contracts, and there is one job.
//
// Whatever it prints, it has been told on one of these three ways, but for the providers'
// counts, which are the providers'. Where a job does not complete, Run says so with a
// *JobError.
package demo
