package pubsub

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// wakeCommits says that something was acked.
func (s *subscription) wakeCommits() {
	select {
	case s.acks <- struct{}{}:
	default: // it will look anyway
	}
}

// commits commits in the background what has been acked, at most once per interval and
// only while there is something.
func (s *subscription) commits() {
	for {
		select {
		case <-s.acks:
		case <-s.reading.Done():
			return
		}
		if !pause(s.reading, s.cfg.CommitInterval) || !s.settled(s.reading) {
			return
		}
		ctx, cancel := context.WithTimeout(s.reading, farewell)
		err := s.commit(ctx, s.all())
		cancel()
		if err != nil && s.reading.Err() == nil {
			s.report("commit", -1, -1, err)
			s.wakeCommits()
		}
	}
}

var errRebalancing = errors.New("the group is rebalancing")

// commit commits the positions of partitions once the group is not rebalancing: between
// two generations the broker would refuse it, and the client would make it wait.
func (s *subscription) commit(ctx context.Context, ps []*partition) error {
	if !slices.ContainsFunc(ps, (*partition).moved) {
		return nil
	}
	for {
		if !s.settled(ctx) || !s.beginCommit(ctx) {
			return fmt.Errorf("%w: %w", errRebalancing, context.Cause(ctx))
		}
		// A rebalance that began before we were to commit has committed itself. One that
		// begins now waits for us.
		if !s.isRebalancing() {
			defer s.endCommit()
			return s.commitAlone(ctx, ps)
		}
		s.endCommit()
	}
}

// beginCommit keeps other commits, and rebalances, out until endCommit; false if ctx ended first.
func (s *subscription) beginCommit(ctx context.Context) bool {
	select {
	case s.committing <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *subscription) endCommit() { <-s.committing }

// commitAlone commits the positions that have moved since the last time. It is called
// between beginCommit and endCommit.
func (s *subscription) commitAlone(ctx context.Context, ps []*partition) error {
	moved := make(map[int32]*partition)
	offsets := make(map[int32]kgo.EpochOffset)
	for _, p := range ps {
		p.mu.Lock()
		at, some := p.position.begin()
		p.mu.Unlock()
		if some {
			moved[p.id] = p
			offsets[p.id] = at
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	var errs []error
	s.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{s.topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				errs = append(errs, err)
				return
			}
			errs = append(errs, outcomes(resp, func(id int32) {
				p := moved[id]
				p.mu.Lock()
				defer p.mu.Unlock()
				p.position.succeeded(offsets[id])
			})...)
		})
	return errors.Join(errs...)
}

// outcomes tells which partitions' commits succeeded, and returns why the others' failed.
func outcomes(resp *kmsg.OffsetCommitResponse, succeeded func(partition int32)) []error {
	var errs []error
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				errs = append(errs, fmt.Errorf("partition %d: %w", p.Partition, err))
				continue
			}
			succeeded(p.Partition)
		}
	}
	return errs
}
