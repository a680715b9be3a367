// Package catalog keeps the definitions in force at hand in every process: what is built
// in, and what the compacted definitions topic says. Machines ask it before they decide
// a start or a change of a definition.
package catalog
