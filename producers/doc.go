// Package producers publishes commands: the way in.
//
// A command is a record on <prefix>.<aggregate>.commands. Publisher writes it,
// acknowledged by every in-sync replica, and answers with its position:
//
//	publisher, err := producers.New(kafka.Config{Brokers: []string{"127.0.0.1:9092"}})
//	if err != nil {
//		return err
//	}
//	defer publisher.Close()
//	job, err := publisher.Start(ctx, producers.Start{Type: "parts-tree", Input: input})
//
// That a command is on the log says nothing about its decision: the events say that,
// the completions topic, or a projection asked with the position.
//
// Publishing is safe to repeat. The ID of a command is derived from what it says
// wherever the caller names the thing it is about, so that the same call again is the
// same command, and a command under an ID that was seen changes nothing. After an
// *UnreachableError, which may leave open whether the command was written, call again.
//
// Package intake is the same over HTTP.
package producers
