// Package definition describes types of orchestrations and activities: what a
// platform engineer applies and what an orchestration is started from.
//
// A definition is JSON. ValidateOrchestration and ValidateActivity read it and name every
// mistake at once, each with where it is:
//
//	def, problems := definition.ValidateOrchestration(raw, catalog.Activity)
//	// activities[2].dependsOn[0]: there is no activity "fetch"; did you mean "fetched"?
//
// A definition is also an aggregate of its own, put, versioned and deleted by commands:
// State, with the key orchestration/<type> or activity/<type>. What is in force is
// announced on a compacted topic, and a Catalog holds it, on top of what is built in.
//
// For a start, Resolve fills in the policies of the activity types, MergeInput puts the
// input over the definition's defaults, and a Checker holds the result against the
// definition's schema:
//
//	def, _ := catalog.Orchestration("parts-tree")
//	input, err := definition.MergeInput(def.Input, start.Input)
//	checker, problems := definition.NewChecker(def.Schema) // once per definition
//	problems = checker.Check(input)
//
// Nothing here reads files, the network or the clock. A schema that refers to something
// outside of itself is a mistake.
package definition
