// Package cli is the command line: commands, flags, tables and exit codes.
//
// Each command is a small function over a client of the HTTP interface, or over
// producers where it goes straight to Kafka; serve, broker and demo run the program
// itself. Run is the whole of it, with everything it touches handed in, so that a
// test calls it like a user:
//
//	code := cli.Run(ctx, cli.Env{Out: &out, Err: &err}, "get", "j-1")
//
// An error is one line on the error output that says what, where, and what to do;
// exit codes tell scripts apart what people read (exit.go).
package cli
