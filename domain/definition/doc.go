// Package definition describes types of orchestrations and activities: what a
// platform engineer applies and what an orchestration is started from. A
// definition is an aggregate of its own: put, versioned and deleted by commands,
// refused with every mistake at once, each with its JSON path.
package definition
