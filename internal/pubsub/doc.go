// Package pubsub carries Watermill messages over Kafka with franz-go: a Publisher and
// a Subscriber that pass Watermill's universal test suite.
//
//	publisher, err := pubsub.NewPublisher(pubsub.PublisherConfig{Kafka: cluster})
//	...
//	msg := message.NewMessage(id, payload)
//	msg.Metadata.Set(pubsub.PartitionKey, "job-7") // same key, same partition, same order
//	err = publisher.Publish("waybill.orchestration.commands", msg)
//
// Publish returns when every in-sync replica has the messages. Concurrent callers
// share batches, so throughput comes from publishing from many goroutines, or many
// messages at once.
//
//	subscriber, err := pubsub.NewSubscriber(pubsub.SubscriberConfig{Kafka: cluster, Group: "mailers"})
//	...
//	messages, err := subscriber.Subscribe(ctx, "waybill.orchestration.completions")
//	for msg := range messages {
//		if err := handle(msg); err != nil {
//			msg.Nack() // comes again, a little later
//			continue
//		}
//		msg.Ack()
//	}
//
// # What is promised
//
//   - At least once. With a group, the offset of a message is committed only after its
//     Ack; a crash, or a broker that goes away, repeats what was acked in the last
//     SubscriberConfig.CommitInterval. Handlers have to cope with a message that comes twice.
//   - Order per partition. The next message of a partition is delivered only after the
//     Ack of the one before, and a Nack delivers the same one again. Partitions run
//     side by side, so to use them all, handle messages concurrently.
//   - No group, no commits: such a subscription reads every partition, from where
//     SubscriberConfig.Start says, and forgets its position when it ends.
//   - Nothing of an aborted or still open transaction is seen.
//   - Partitions and topics that are created later are picked up within
//     SubscriberConfig.Refresh.
//
// # How a message is a record
//
// A header is an entry of the metadata, the record's key is the metadata entry
// PartitionKey, the value is the payload. The message's UUID is the CloudEvents id
// (header ce_id) where there is one, else Watermill's own header. Another Marshaler or
// Unmarshaler can be set. Topic, partition, offset and timestamp of a message that was
// received are in its context: MessageTopic, MessagePartition, MessageOffset,
// MessageTimestamp.
package pubsub
