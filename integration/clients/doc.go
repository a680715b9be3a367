// Command clients shows that whoever speaks Kafka can ask for work and be told of its end: kcat
// (librdkafka), a client in Java (Apache Kafka's own) and one in Python (kafka-python), none of which
// knows anything of Waybill, as docs/kafka-clients.md tells their users.
//
// Each asks for a few jobs, every one twice with the same ce_id, and some on a partition that is not
// their key's: where its own partitioner puts them (CRC32 in librdkafka), and where it was told to.
// Each reads the completions meanwhile, read committed, among them records of a transaction that is
// rolled back. Then it is checked that
//
//   - every client has seen exactly one completion of every job, its own and the others', in the
//     partition of its key, and nothing of what was rolled back;
//   - its value and headers are what schemas/json says, with the job's own output;
//   - every job was started once;
//   - a Java client that is not told to read committed, as by default, does see what was rolled back:
//     which is why the guide says that it must be.
//
// The server is `waybill serve`, with the embedded broker, or on the brokers that -brokers or
// WAYBILL_TEST_BROKERS names.
package main
