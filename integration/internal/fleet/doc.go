// Package fleet runs several `waybill serve` on one Kafka, as several machines would, and
// measures from the log how long each shard stood still:
//
//	f, err := fleet.New(ctx, stage, brokers)
//	a, err := f.Start(ctx, "a")
//	pulse := f.Pulse(ctx, 250*time.Millisecond)
//	err = a.Kill()
//	jobs, err := pulse.Stop(ctx)
//	book, err := f.Read(ctx)
//	still := book.Longest(from, until)
//
// The pulse asks for a small job of every shard again and again, so that a shard that makes no
// event is a shard that stands still.
package fleet
