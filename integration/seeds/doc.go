// Package seeds lets whole processes live through misfortune in fake time, on the
// in-memory broker, and holds what they leave behind against the laws of the log.
//
// A world has a broker and a few processes, each with machines, agents and, some, a
// projection. Everything that Kafka's clients of ours do goes through wires that can be
// shut, cut and made to lose answers, and the broker can be made to fail any request. After
// a while of that there is peace, in which all has to end; then package audit looks at the
// log, and at the rows of the projections, for what must not be.
//
//	go test ./integration/seeds                               a few of everything
//	bash integration/seeds/run                                what CI runs: 100 seeds, and every fault
//	go test ./integration/seeds -run Seeds -first 17 -seeds 1 seed 17 again
//	SOAK=8h make soak                                         seeds for as long as that
//
// Two kinds of tests are here. TestSeeds draws what is asked for and what goes wrong from a
// seed, which its name says; the same seed brings the same things about at the same moments, as
// far as goroutines that run at the same moment do not decide otherwise. TestFaults goes
// through every kind of request that our processes make, and lets each go wrong in each way that it
// can, once at a time: so a fault that is not survived has a name.
package seeds
