package schemas

// Headers that a dead letter has besides those of the record it was: where that stood,
// why it could not be read, when that was found, and an ID derived from the place.
const (
	// DeadLetterPrefix is what all of them begin with. A record has none of its own: they are dropped.
	DeadLetterPrefix = "wb_"

	DeadLetterTopic     = "wb_topic"
	DeadLetterPartition = "wb_partition"
	DeadLetterOffset    = "wb_offset"
	DeadLetterError     = "wb_error"
	DeadLetterTime      = "wb_time"
	DeadLetterID        = "wb_id"
	// DeadLetterPartial is "true" where not all of the record was kept, for it is too large: it still lies where
	// it stood. Without an offset (-1) it was never written.
	DeadLetterPartial = "wb_partial"
)
