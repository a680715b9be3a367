// Package load makes jobs of every kind, with what must become of each:
//
//	jobs, providers, err := load.New(ctx, seed, "a", 500)
//	defer providers.Close()
//	err = load.Define(ctx, client)
//	err = jobs[0].Run(ctx, client) // asks for it, and does what its kind wants from outside
//	wrong := jobs[0].Check(found)
//
// The same seed makes the same jobs.
package load
