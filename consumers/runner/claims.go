package runner

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// claiming is the group's balancer, and claims in its name what this process really holds. The client
// forgets its claims with everything that it takes for the group's end, a coordinator that has gone among it;
// the shards are then held all the same (lost), and a group whose members claim nothing is dealt out anew: they
// would swap shards though nobody has come or gone. Of two that claim a shard, whoever was told later
// that it is his has it. The protocol is the client's own, so members that know only that are welcome.
type claiming struct {
	kgo.GroupBalancer
	topic string
	held  func() []int32
}

// JoinGroupMetadata is what a member says when it joins.
func (c claiming) JoinGroupMetadata(topics []string, _ map[string][]int32, generation int32) []byte {
	current := make(map[string][]int32)
	if held := c.held(); len(held) > 0 {
		current[c.topic] = held
	}
	return c.GroupBalancer.JoinGroupMetadata(topics, current, generation)
}

// retryFor is for how long a client asks again for what has failed. It looks for the group's coordinator by its
// heartbeats for as long as it asks for anything else, and not for a session only, as it does unless it is
// told: brokers may take longer than that to give up one of theirs that is dead (broker.session.timeout.ms, 9 s). The
// next coordinator knows every member, and lets those who come back go on as if nothing had been; where one joins
// anew, all of them wait for each other. To join is given up after a session, for a client waits for the end of
// that before it closes.
func retryFor(session time.Duration) func(key int16) time.Duration {
	return func(key int16) time.Duration {
		switch key {
		case kmsg.JoinGroup.Int16(), kmsg.SyncGroup.Int16():
			return session
		default:
			return 30 * time.Second // as unless set
		}
	}
}
