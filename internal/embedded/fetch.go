package embedded

import (
	"math"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchShare is which part of what a client takes in one answer each partition may fill.
const fetchShare = 16

// whole keeps the cluster from cutting an answer off in the middle of a partition where it is as large as the
// client takes: for that partition it would not say which transactions were aborted, and readers of what
// is committed would be given what was not. What a partition may add bounds the answer instead.
func whole(c *kfake.Cluster) {
	c.ControlKey(kmsg.Fetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if fetch, ok := req.(*kmsg.FetchRequest); ok {
			share := max(1, fetch.MaxBytes/fetchShare)
			for i := range fetch.Topics {
				for k := range fetch.Topics[i].Partitions {
					p := &fetch.Topics[i].Partitions[k]
					p.PartitionMaxBytes = min(p.PartitionMaxBytes, share)
				}
			}
			fetch.MaxBytes = math.MaxInt32
		}
		return nil, nil, false // the cluster answers it
	})
}
