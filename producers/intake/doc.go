// Package intake takes commands over HTTP and publishes them: the write routes of the
// HTTP interface.
//
//	in, err := intake.New(intake.Config{Publisher: publisher, Reads: reads})
//	if err != nil {
//		return err
//	}
//	in.Routes(mux)
//
// A write is answered 202 as soon as its command is on the log, with the position a
// read can wait for. What can be seen at the edge is refused at once: 400 what is not
// JSON, 413 what is too large, 415 what claims to be something else, 422 what does not
// fit the schema, with the path of every mistake. What only the machine can see is in
// its decision: with `Prefer: wait=N` the answer waits for that, up to N seconds.
//
// Others report without a token at addresses that prove what they are about (package
// callbacks): agents of work, connectors, provisioners, and who pushes data. What has a secret
// in it is sealed before it is published. A connector is answered as soon as its event is on
// the log, a provisioner and a push with the transfer's decision.
//
// What was decided is known to the read side; Reads is all that the intake asks of it,
// and whoever wires the program says who answers. When Kafka does not acknowledge in
// time the answer is 503 with Retry-After; whether the command was written is unknown
// then, and sending the same request again is harmless where it names what it is about,
// by an id or an Idempotency-Key.
package intake
