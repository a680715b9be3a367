// Package projections is the read model: it folds the events of the log into one SQLite
// file and answers every status query from it.
//
//	db, err := projections.Open(ctx, projections.Config{Path: path, Kafka: cluster})
//	if err != nil {
//		return err
//	}
//	defer db.Close()
//	go db.Run(ctx) // follows the log until ctx ends
//	if err := db.WaitFor(ctx, position); err != nil { // of a command just published
//		return err
//	}
//	job, err := db.Job(ctx, id, 100)
//
// # How the rows follow the log
//
// Run reads the partitions of the events topics, and the dead letters, by direct
// assignment and read_committed, beginning where the file says. What a poll brings is
// folded in memory, so that each row is written once, and committed together with the
// positions: a process that dies in between has neither. An event whose sequence a job
// has already is dropped. The rows of jobs and nodes are a function of their events
// alone: how these came in batches, and when, leaves no trace. So the file may be
// deleted at any time, and the next Run makes the same rows again.
//
// A record that this build cannot fold, of a future version say, stops its partition and
// nothing else: Health names topic, partition, offset and type.
//
// # The file
//
// It is in WAL mode; anybody may open it read-only while it is being written. The views
// jobs, nodes, transfers, negotiations, rejections, deadletters and positions are documented
// and stable, the tables underneath are not:
//
//	sqlite3 -readonly waybill.db "SELECT id, state, completed, total FROM jobs WHERE state <> 'COMPLETED'"
//
// A transfer has one row; so has each round of a negotiation, with the agreement and the EDR that came of
// it, sealed as it stands on the log. Whom somebody waits for stands in partitions of their own and is
// looked up when it is asked for, so that no row depends on the order in which these are read.
//
// Documents of jobs and nodes are kept as the JSON that the HTTP interface answers
// (package query), so that reading is copying.
package projections
