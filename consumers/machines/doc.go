// Package machines binds the domain's aggregates to the runner: how each of them reads
// and writes the wire, what it needs from outside before it decides, and how the agents
// of this process carry out its work.
package machines
