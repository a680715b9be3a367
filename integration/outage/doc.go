// Command outage takes away what the program lives on, under load, and shows that nobody has to
// do anything about it.
//
// Small jobs of every shard are asked for all the time, of two servers in turn and with an agent
// in a process of its own, and jobs of every kind beside them. The acts:
//
//   - three: of a Kafka of three nodes one is killed, and started again (in full, each in turn, by its
//     role, one is paused, and all are restarted one after the other): no shard stands still for
//     longer than 15 s.
//   - single: the only node of a Kafka is gone for a while. Nothing ends; readiness and the intake
//     say what is wrong; processes take next to no time of the cores and tell no endless story in
//     their logs; those who wait for a job (`watch`, `submit --wait`) go on waiting. Then all goes on.
//     A node that is alone and is killed while it ends a transaction may, when it is back, take it for
//     ended without having told every partition (Kafka 4.3.1): what of it was for other shards is
//     then not read, until the servers see it and end it. That is met at random, and
//     planted once more: it must be committed when the node has been killed and is back.
//   - cut: a server lives in a network namespace whose cable to Kafka is pulled out. The other one
//     has its shards, until the cable is put back.
//   - full: the disk of a server with the embedded broker runs nearly full, full, and full with the
//     process killed; that of a server whose broker is elsewhere; and in full that of a real broker.
//   - clock: the wall clock of a server jumps an hour forward, its shards go to a server whose clock is
//     right and come back, and its clock jumps back (in full, clocks are hours behind as well). Shards
//     go on, their time never runs backwards, and what waits for a time has it. The program is
//     linked with a time.Now that can be put: Go asks nobody who could be made to lie to it.
//
// Everything that was acknowledged must end as it must, with nothing missing and nothing twice, and
// what servers show of it must be what a fresh replay shows. It prints the figures and the seed, and
// exits with 0 only if all of this was so.
package main
