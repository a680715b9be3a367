// Command scale shows that several processes share the work of one Kafka, and that it goes on
// whatever becomes of one of them.
//
// It starts a real Kafka of one node, one `waybill serve`, then a second, then two more, and
// measures what they get done. From then on small jobs of every shard are asked for all the time,
// and jobs of every kind beside them, while
//
//   - all processes are restarted, one after the other;
//   - one is killed;
//   - one is stopped (SIGSTOP) with work under way until others have its shards, and wakes.
//
// It checks that shards are spread evenly and every process decides; that no shard stands still for
// longer than 15 seconds, as the times of the events tell; that behind the record by which somebody
// takes a shard nobody else has written, as the producer's epoch that the broker stamps on each
// record tells; that whoever was away gets shards again and decides; and of everything that was
// acknowledged, that it has ended as it must, with nothing missing and nothing twice.
//
// It prints the figures and the seed, and exits with 0 only if all of this was so. What is done by
// more processes than there are cores says little about throughput: there it is printed and no more.
package main
