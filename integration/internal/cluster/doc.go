// Package cluster runs a real Apache Kafka, of one node or three, whose nodes can be killed,
// paused and restarted. It speaks with the script integration/cluster/kafka, which has it
// from Maven:
//
//	kafka, err := cluster.Start(ctx, cluster.Options{Nodes: 3})
//	defer kafka.Stop()
//	brokers := kafka.Brokers()
//	err = kafka.Kill(ctx, 2)
//	err = kafka.Restart(ctx, 2)
//
// What runs on any Kafka asks Brokers first, for those that somebody names in the environment.
// A cluster ends with the program that started it, at the latest.
package cluster
