package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// good is a start that is carried out.
func good(id string, partition int32) command {
	return command{
		id: "start-" + id, typ: "orchestration.start.v1", key: []byte(id), partition: partition,
		value: []byte(`{"type": "load-chain", "input": {"token": "t"}}`),
	}
}

// misplacedJobs is how many commands kcat places as it sees fit.
const misplacedJobs = 48

// misplaced writes good commands with the client's own partitioner: most lie where they
// must not be decided.
func (s *scenario) misplaced(ctx context.Context) error {
	for i := range misplacedJobs {
		if err := s.client.write(ctx, good(fmt.Sprintf("placed-%d", i), anyPartition)); err != nil {
			return err
		}
	}
	for i := range misplacedJobs {
		if err := s.completed(ctx, fmt.Sprintf("placed-%d", i)); err != nil {
			return err
		}
	}
	records, err := s.client.read(ctx, s.topics.Commands(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	elsewhere := 0
	first := map[string]bool{}
	for _, r := range records {
		if r.ID == "start-"+r.Key && !first[r.Key] && r.Partition != kafka.PartitionFor([]byte(r.Key), shards) {
			elsewhere++
		}
		first[r.Key] = true
	}
	if err := s.decidedOnce(ctx); err != nil {
		return err
	}
	fmt.Printf("%d good commands, %d of them on a partition that is not their key's: all carried out\n", misplacedJobs, elsewhere)
	if elsewhere == 0 {
		s.amiss("no command was put on another partition than its key's, so this has shown nothing")
	}
	return nil
}

// decidedOnce checks that each job was started once, on its key's partition.
func (s *scenario) decidedOnce(ctx context.Context) error {
	records, err := s.client.read(ctx, s.topics.Events(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	started := map[string]int{}
	for _, r := range records {
		if r.Type != "orchestration.started.v1" {
			continue
		}
		started[r.Key]++
		if want := kafka.PartitionFor([]byte(r.Key), shards); r.Partition != want {
			s.amiss("%s was decided on partition %d, its key's is %d", r.Key, r.Partition, want)
		}
	}
	for i := range misplacedJobs {
		if id := fmt.Sprintf("placed-%d", i); started[id] != 1 {
			s.amiss("%s was started %d times", id, started[id])
		}
	}
	return nil
}

// completed waits until a job has completed.
func (s *scenario) completed(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, fmt.Errorf("no end after %s", answerWithin))
	defer cancel()
	for {
		var j api.Job
		err := s.api.Insist(ctx, http.MethodGet, "/v1/jobs/"+id, nil, &j)
		switch {
		case err == nil && j.State == "COMPLETED":
			return nil
		case err == nil && j.Ended():
			return fmt.Errorf("%s is %s: %s", id, j.State, j.Error)
		case err != nil && !api.Is(err, http.StatusNotFound):
			return fmt.Errorf("%s: %w", id, err)
		}
		if perr := api.Pause(ctx, 10*time.Millisecond); perr != nil {
			return fmt.Errorf("%s is %q: %w", id, j.State, errors.Join(perr, err))
		}
	}
}

// byKey counts records.
func byKey(records []audit.Record) map[string]int {
	m := map[string]int{}
	for _, r := range records {
		m[r.Key]++
	}
	return m
}
