// Package segment reads the files in which the embedded broker keeps its partitions.
//
// A partition is a directory, <topic>-<partition> below "partitions", with the topic
// escaped as in a URL. Its segments are pairs of files named after the first offset:
// N.dat holds Kafka record batches as they go over the wire, one after the other;
// N.idx holds an Entry of 15 bytes for each of them. Appending a batch writes first the
// one, then the other.
//
// The broker itself does the same reading at start. This package exists for what it
// does not do after a kill: notice that the index lacks the last batch's entry, which
// would make an open transaction look committed, and find transactions without an end.
package segment
