// Command kill shows that killing the program loses nothing, repeats nothing, and leaves
// nothing undone.
//
// It starts `waybill serve --data DIR`, has jobs of every kind asked for by several
// clients over HTTP, and kills the process with SIGKILL again and again while they run,
// starting it anew each time. The clients repeat what was not acknowledged. Beside them
// small jobs come in all the time, a hundred a second, so that each kill meets commits
// under way. Then it holds what the program says, and what stands on the log, against what
// must be:
//
//   - every acknowledged job has ended, with the right result;
//   - in its history no sequence number is missing or there twice, each attempt was
//     requested once, and each activity has ended once;
//   - on the log no two events share a sequence number, and each job has exactly one
//     completion, as an independent client (kcat, where it is installed) reads them;
//   - after each start there was progress within two seconds.
//
// It does so without and with synced writes, prints the figures and the seed, and exits
// with 0 only if all of this was so.
package main
