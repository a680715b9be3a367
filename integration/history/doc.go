// Command history shows what a long history costs: memory while it is made, and the time
// and memory of a start on it.
//
// It has `waybill serve` decide orchestrations of three activities, asked for over Kafka,
// until a million events are on the log, and leaves a thousand more that wait. Then it
// stops the process, starts it again, kills it, and starts it once more. Both starts have
// to be ready, and to have completed a job asked for after them, within ten seconds; the
// process may never hold more than 300 MB, not while the history is made either. What was
// there before has to be there after: the waiting ones go on, an ended one asked for again
// changes nothing, and the log has every event once.
//
// Both starts have to go on from checkpoints, and may fold in only so many events again as there can
// be since, however long the history is. Then the checkpoints are taken away, and the process is started once more:
// the events alone have to tell the same, however long that takes.
//
// With -keep-history what has ended is let go after that time. Then it is what is left that counts: while the
// load lasts, log and view may not be much larger in its second half than in the first, if it lasts for long
// enough; and when it is over and old, nothing of it may be left but the last files of each partition, however much there was.
// Starts, a kill and the limit of memory are as above.
//
// It prints the figures, and exits with 0 only if all of this was so.
package main
