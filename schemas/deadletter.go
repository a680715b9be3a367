package schemas

// Headers that a dead letter has besides those of the record it was: where that stood,
// why it could not be read, when that was found, and an ID derived from the place.
const (
	DeadLetterTopic     = "wb_topic"
	DeadLetterPartition = "wb_partition"
	DeadLetterOffset    = "wb_offset"
	DeadLetterError     = "wb_error"
	DeadLetterTime      = "wb_time"
	DeadLetterID        = "wb_id"
)
