// Command commands shows how `waybill serve` takes what outsiders bring, and what they
// find: with kcat, which shares no code with us and by default puts a record on another
// partition than we would, and with the sqlite3 command.
//
// It writes good commands with kcat's own partitioner, and then, one after the other,
// everything that can be wrong with a command: a repeated id, an id used for two things,
// an unknown type, no JSON, no UTF-8, no key, 2 MB, and more. Then it checks:
//
//   - each is answered as promised: on the completions topic, by GET /v1/commands/{id}, or
//     among the dead letters; a dead letter that is replayed comes back and changes nothing;
//   - a good command behind each on the same partition is carried out, so none holds up
//     what follows it;
//   - a command on the wrong partition is decided once, on the right one;
//   - while jobs of every kind run, the views jobs, nodes, rejections and positions can be
//     read, never show half of anything, and never go backwards;
//   - after the SQLite file has been deleted, the next start makes the same rows again,
//     byte for byte.
//
// The flag -brokers has it played on any Kafka. It prints what it has found, and exits with 0 only if all of this was so. Where kcat or
// sqlite3 is not installed, a plain client takes its place, and the output says so.
package main
