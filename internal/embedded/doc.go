// Package embedded runs a whole Kafka-protocol broker inside the process:
// franz-go's kfake, with its data in a directory.
//
// It is for trying out, for tests and for single machines. What is acknowledged
// survives the death of the process, with Config.Fsync that of the machine; nothing
// is replicated. Everything else of the project sees an ordinary Kafka cluster:
//
//	broker, err := embedded.Start(ctx, embedded.Config{Dir: dir})
//	if err != nil {
//		return err
//	}
//	defer broker.Close()
//	cluster := kafka.Config{Brokers: []string{broker.Addr()}, Embedded: true}
//
// # After a kill
//
// The broker writes the markers that end a transaction one partition after the
// other, and what a kill leaves without a marker it takes for aborted in memory
// only: a later commit of the same producer would bring those records back. So a
// start that finds no sign of a clean stop first opens the cluster where nobody can
// reach it, closes every open transaction with an abort marker, closes the cluster,
// and only then opens it on the address asked for. It also completes what the kill cut
// out of the files, and fences every transactional producer that outlived the broker,
// since the broker no longer knows how their last transactions ended. Broker.Healed
// tells what was done.
//
// A transaction that was cut off in the middle of its commit may then be committed in
// one partition and aborted in another. Whoever writes to several partitions in one
// transaction has to be able to derive what is missing again.
//
// # What it does not do
//
// Topics are neither compacted nor trimmed by their retention: the broker does both in
// ways that a kill or a restart turns into loss. How far share groups have come is saved
// every two seconds, their configuration at once: after a kill a share group hands out
// again what it had acknowledged since. A partition that
// DeleteRecords has emptied begins again at offset 0 after a restart, so leave a record.
// The data directory's lock needs a Unix.
package embedded
