// Command faults runs one document through each state that something can go wrong in, times
// each way it can go wrong, on stand-in connectors that are told to: a table of states by
// faults.
//
//	bash integration/faults/run
//	bash integration/faults/run -list              what there is
//	bash integration/faults/run -only 'dies'       the cells whose name has that
//
// Every cell has a connector and a provider of its own; sixty at a time run on one `waybill serve`.
// After them come crowds: many jobs at one provider that does badly. Promised is that every job
// ends: COMPLETED where what went wrong passes or can be gone around, else with a reason that names
// the step, the provider, the asset, the offer's constraints and how many rounds of negotiation were
// tried. Afterwards all is mended, and the same asset must be had again: no failure is kept. What
// was asked of a provider once must not be asked twice for a lost reply.
//
// One column kills serve itself while something is in each state. The last rows are of pushes that
// somebody suspends, or terminates: of that the provider hears exactly once.
package main
