// Package adapter is what connectors have in common: an Adapter gets documents from
// providers in its own way; one whose providers want a contract first is a Contracts as well.
//
// Both are asked by the agents of the package connectors and implemented by the packages
// plain and edc. What goes wrong is a *Fault: it says at which step, whether it passes, and
// in its code what follows from it.
package adapter
