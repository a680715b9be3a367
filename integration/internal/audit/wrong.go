package audit

import "fmt"

// Law is what a history is held against, in a word.
type Law string

// The laws. Each is looked after by Check, but for the last, which Projection looks after.
const (
	LawReadable    Law = "readable"    // what stands on the log can be decoded, and has its envelope
	LawPlace       Law = "place"       // a record lies on its key's partition
	LawSequence    Law = "sequence"    // an aggregate's events are numbered from 1 without a gap
	LawRepeat      Law = "repeat"      // nothing is there twice
	LawMoves       Law = "moves"       // each state change stands in the table of its machine
	LawOver        Law = "over"        // nothing happens after an end but what may
	LawAsked       Law = "asked"       // each attempt is asked for once, in order, and each offer is counted
	LawWork        Law = "work"        // what is asked for, and nothing else, lies on the work topics
	LawSent        Law = "sent"        // commands to other aggregates are on their topics, once
	LawCompletions Law = "completions" // exactly one for each end and run
	LawCauses      Law = "causes"      // each event's cause exists
	LawAnswers     Law = "answers"     // each command is answered
	LawPositions   Law = "positions"   // the books of a shard are true
	LawTime        Law = "time"        // never runs backwards in a shard
	LawOwners      Law = "owners"      // one writer at a time
	LawDeadlines   Law = "deadlines"   // nothing waits for ever
	LawSecrets     Law = "secrets"     // none in the clear
	LawDeadLetters Law = "deadletters" // nothing was sent that nobody can read
	LawDefinitions Law = "definitions" // what is in force is what was decided last
	LawProjections Law = "projections" // the rows are those of a fresh replay
)

// Wrong is one thing that must not be, and where it stands.
type Wrong struct {
	Law       Law
	Topic     string
	Partition int32
	Offset    int64 // -1: of no one record
	What      string
}

// String is a sentence for people.
func (w Wrong) String() string {
	switch {
	case w.Topic == "":
		return fmt.Sprintf("%s: %s", w.Law, w.What)
	case w.Offset < 0:
		return fmt.Sprintf("%s: %s/%d: %s", w.Law, w.Topic, w.Partition, w.What)
	}
	return fmt.Sprintf("%s: %s/%d/%d: %s", w.Law, w.Topic, w.Partition, w.Offset, w.What)
}

// Sentences are the wrongs as Print takes them.
func Sentences(wrongs []Wrong) []string {
	l := make([]string, len(wrongs))
	for i, w := range wrongs {
		l[i] = w.String()
	}
	return l
}
