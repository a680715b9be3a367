package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/cluster"
	"github.com/waybill/waybill/integration/internal/fleet"
	"github.com/waybill/waybill/integration/internal/load"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/internal/kafka"
)

const nodes = 3

// start starts a fleet of two servers on a Kafka, and an agent beside them.
func (s *scenario) start(ctx context.Context, brokers []string) (agent *process.Process, err error) {
	if s.fleet, err = fleet.New(ctx, s.on, s.seed, brokers); err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		if _, err := s.fleet.Start(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := load.Define(ctx, s.fleet.Client()); err != nil {
		return nil, err
	}
	s.fleet.Outside = true
	return s.agent(ctx, "agent")
}

// agent starts an agent in a process of its own, by a command where one is given (fleet.Options.Within).
func (s *scenario) agent(ctx context.Context, name string, within ...string) (*process.Process, error) {
	return s.fleet.RunWithin(ctx, name, within, "agent", "exec", "--settings", load.Programs, "--brokers", strings.Join(s.fleet.Brokers, ","))
}

// three takes the nodes of a Kafka of three away, one at a time.
func three(ctx context.Context, s *scenario) (err error) {
	c, err := cluster.Start(ctx, cluster.Options{Nodes: nodes, Dir: filepath.Join(s.on.Dir, "kafka3"), Set: map[string]string{
		// So long brokers wait for one of theirs that hangs, with the end of a transaction, say: 30 s by default.
		"request.timeout.ms":        "5000",
		"broker.session.timeout.ms": strconv.FormatInt(s.brokerSession.Milliseconds(), 10),
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }() //nolint:contextcheck // the end is bounded by itself
	agent, err := s.start(ctx, c.Brokers())
	if err != nil {
		return err
	}
	defer s.fleet.Close()
	if err := s.worked(ctx); err != nil {
		return err
	}
	do := s.one
	if s.full {
		do = s.everything
	}
	if err := do(ctx, c); err != nil {
		return err
	}
	if err := s.fleet.Audit(ctx, &s.wrong, false); err != nil {
		return err
	}
	s.stop(s.fleet.Servers[0].Process, s.fleet.Servers[1].Process, agent)
	return nil
}

// one kills the node that coordinates the group of the shards, and starts it again.
func (s *scenario) one(ctx context.Context, c *cluster.Cluster) error {
	roles, err := findRoles(ctx, c.Brokers())
	if err != nil {
		return err
	}
	// What else it was tells how long brokers take: a new controller begins to count anew who is alive.
	what := groupCoordinator
	for _, role := range []string{controller, transactionCoordinator, leader} {
		if roles[role] == roles[groupCoordinator] {
			what += ", " + role
		}
	}
	return s.kill(ctx, c, roles[groupCoordinator], what)
}

// everything kills a node of each role in turn, pauses one, and restarts all.
func (s *scenario) everything(ctx context.Context, c *cluster.Cluster) error {
	killed := map[int]bool{}
	for _, role := range []string{groupCoordinator, transactionCoordinator, controller, leader} {
		roles, err := findRoles(ctx, c.Brokers())
		if err != nil {
			return err
		}
		killed[roles[role]] = true
		if err := s.kill(ctx, c, roles[role], role); err != nil {
			return err
		}
	}
	for node := 1; node <= nodes; node++ {
		if !killed[node] {
			if err := s.kill(ctx, c, node, "none of these"); err != nil {
				return err
			}
		}
	}
	for _, length := range []time.Duration{12 * time.Second, time.Minute} {
		if err := s.pause(ctx, c, length); err != nil {
			return err
		}
	}
	_, err := s.fleet.Under(ctx, &s.wrong, "rolling restart of the brokers", nil, func(ctx context.Context) error {
		for node := 1; node <= nodes; node++ {
			if err := restart(ctx, c, node); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func restart(ctx context.Context, c *cluster.Cluster, node int) error {
	began := time.Now()
	err := c.Restart(ctx, node)
	fmt.Printf("  node %d in sync again %.1f s after its restart began\n", node, time.Since(began).Seconds())
	return err
}

// kill kills a node, and starts it again when the others have long gone on.
func (s *scenario) kill(ctx context.Context, c *cluster.Cluster, node int, what string) error {
	_, err := s.fleet.Under(ctx, &s.wrong, fmt.Sprintf("node %d killed (%s)", node, what), nil, func(ctx context.Context) error {
		if err := c.Kill(ctx, node); err != nil {
			return err
		}
		if err := api.Pause(ctx, fleet.Stall); err != nil {
			return err
		}
		return restart(ctx, c, node)
	})
	return err
}

// pause stops the node that has the most to do, and lets it wake.
func (s *scenario) pause(ctx context.Context, c *cluster.Cluster, length time.Duration) error {
	roles, err := findRoles(ctx, c.Brokers())
	if err != nil {
		return err
	}
	node := roles[groupCoordinator]
	_, err = s.fleet.Under(ctx, &s.wrong, fmt.Sprintf("node %d paused for %s (%s)", node, length, groupCoordinator), nil, func(ctx context.Context) error {
		if err := c.Pause(ctx, node); err != nil {
			return err
		}
		if err := api.Pause(ctx, length); err != nil {
			return err
		}
		if err := c.Resume(ctx, node); err != nil {
			return err
		}
		return c.Wait(ctx)
	})
	return err
}

// The roles that a node can have.
const (
	controller             = "the controller"
	groupCoordinator       = "the coordinator of the shards' group"
	transactionCoordinator = "the coordinator of shard 0's transactions"
	leader                 = "the leader of shard 0's events"
)

// findRoles finds the node of each role.
func findRoles(ctx context.Context, brokers []string) (map[string]int, error) {
	cfg := kafka.Config{Brokers: brokers}
	cl, err := cfg.NewClient()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	topics, adm := cfg.Topics(), kadm.NewClient(cl)
	groups := adm.FindGroupCoordinators(ctx, topics.Shards())
	ids := adm.FindTxnCoordinators(ctx, topics.TransactionalID(0))
	events := topics.Events("orchestration")
	details, err := adm.ListTopics(ctx, events)
	if err = errors.Join(err, groups.Error(), ids.Error()); err != nil {
		return nil, err
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, t)
	q, err := quorum.RequestWith(ctx, cl)
	if err != nil || len(q.Topics) != 1 || len(q.Topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("ask for the controller: %w (%+v)", err, q)
	}
	found := map[string]int{
		controller:             int(q.Topics[0].Partitions[0].LeaderID),
		groupCoordinator:       int(groups[topics.Shards()].NodeID),
		transactionCoordinator: int(ids[topics.TransactionalID(0)].NodeID),
		leader:                 int(details[events].Partitions[0].Leader),
	}
	for role, node := range found {
		if !slices.Contains([]int{1, 2, 3}, node) {
			return nil, fmt.Errorf("%s is node %d", role, node)
		}
	}
	return found, nil
}
