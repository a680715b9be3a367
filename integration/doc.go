// Package integration holds what cannot be tested inside one process or with the Go
// toolchain alone: processes that are killed, several of them on one broker, a Kafka that
// is not ours, clients in other languages. It has no code of its own; the product never
// imports anything from here.
//
// Each directory is one scenario with a script called run:
//
//	bash integration/NAME/run
//
// A script can be started from any directory and needs no arguments; it builds what it
// needs, keeps its data below a temporary directory that it removes, listens on free ports
// of 127.0.0.1 only, ends whatever it started, prints the figures it has measured, and
// exits with 0 only if everything it promises was so. What it needs besides Go and a C
// compiler stands at its top. `make integration` runs them all, and so does .ci/run, several side by
// side: .ci/lanes says what each takes of the cores, so one that is new is named there. Programs of this
// tree come from build.sh (or package process), ports from ports.sh, packages from install.sh, which
// all know of the others.
//
// Whatever can be shown in fake time with the in-memory broker is not here but next to the
// code it concerns, so that `go test ./...` shows it within seconds; but for seeds, which lets
// whole processes live in fake time. And check is no scenario but a command: it holds the log of any
// Kafka against the laws.
package integration
