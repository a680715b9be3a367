package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/schemas"
)

// mostFolded is how many events of orchestrations a shard may have to fold in again where it has checkpoints, however long
// the history is: 4 MiB of them, and what is written while a checkpoint is being made.
const mostFolded = 40_000

// checkpointed is from which length on a history has checkpoints in every shard, whatever way the process ended.
const checkpointed = 400_000

// taken finds in the program's output where the state of a shard's orchestrations came from.
var taken = regexp.MustCompile(`msg="shard taken" shard=(\d+) took=(\S+) from="[^"]*orchestration: (checkpoint \d+ of \S+ and )?(\d+) events`)

// origins says where the state came from at the last start, whose output begins at an offset, and checks that
// the way back does not grow with the history.
func (s *scenario) origins(from int64, checkpoints bool) error {
	output, err := os.ReadFile(filepath.Join(s.dir, "output"))
	if err != nil {
		return err
	}
	events, of, slowest := 0, 0, time.Duration(0)
	for _, m := range taken.FindAllSubmatch(output[min(int(from), len(output)):], -1) {
		n, err := strconv.Atoi(string(m[4]))
		if err != nil {
			return err
		}
		took, err := time.ParseDuration(string(m[2]))
		if err != nil {
			return err
		}
		slowest = max(slowest, took)
		events += n
		if len(m[3]) > 0 {
			of++
		}
		if checkpoints && s.events >= checkpointed && (len(m[3]) == 0 || n > mostFolded) {
			s.amiss("shard %s was taken from %q: it should have a checkpoint, and %d events at most", m[1], bytes.TrimSpace(m[0]), mostFolded)
		}
	}
	fmt.Printf("  %d shards went on from a checkpoint; %d events were folded in again; the slowest took %s\n", of, events, slowest)
	return nil
}

// said is how long the program's output is.
func (s *scenario) said() (int64, error) {
	info, err := s.log.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// forget takes the checkpoints away: all but the last record of each partition is cut off.
func (s *scenario) forget(ctx context.Context) error {
	cl, err := s.cluster.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(ctx, s.cluster.Topics().Snapshots(schemas.AggregateOrchestration))
	if err != nil {
		return err
	}
	cut := make(kadm.Offsets)
	ends.Each(func(o kadm.ListedOffset) {
		err = errors.Join(err, o.Err)
		cut.AddOffset(o.Topic, o.Partition, o.Offset-1, -1)
	})
	if err != nil {
		return err
	}
	done, err := adm.DeleteRecords(ctx, cut)
	return errors.Join(err, done.Error())
}
