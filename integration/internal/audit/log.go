package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/schemas"
)

// idle is after how long without a record a topic is taken to be read: an aborted tail
// shows to no reader.
const idle = 2 * time.Second

// Read reads a topic from its beginning to its present end, read committed.
func Read(ctx context.Context, brokers []string, topic string) ([]Record, error) {
	var all []Record
	err := each(ctx, brokers, topic, func(r *kgo.Record) { all = append(all, record(r)) })
	return all, err
}

// Kcat reads a topic as Read does, with a client that shares no code with us; ok is false
// where kcat is not installed. Values are left out.
func Kcat(ctx context.Context, brokers []string, topic string) (records []Record, ok bool, err error) {
	bin, err := exec.LookPath("kcat")
	if err != nil {
		return nil, false, nil //nolint:nilerr // it need not be there
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-C", "-q", "-e", "-o", "beginning", "-b", strings.Join(brokers, ","), //nolint:gosec // found in PATH
		"-X", "isolation.level=read_committed", "-t", topic, "-f", "%p\t%o\t%k\t%h\n")
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, true, fmt.Errorf("kcat: %w: %s", err, errs.String())
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), "\t", 4)
		if len(f) < 4 {
			return nil, true, fmt.Errorf("kcat has written %q", lines.Text())
		}
		partition, err1 := strconv.ParseInt(f[0], 10, 32)
		offset, err2 := strconv.ParseInt(f[1], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, true, fmt.Errorf("kcat: %w", err)
		}
		r := Record{Topic: topic, Partition: int32(partition), Offset: offset, Key: f[2], Input: -1}
		for _, h := range strings.Split(f[3], ",") {
			key, value, _ := strings.Cut(h, "=")
			r.header(key, value)
		}
		records = append(records, r)
	}
	return records, true, lines.Err()
}

// Events are the records that are events of an aggregate.
func Events(records []Record) []Record {
	var events []Record
	for _, r := range records {
		if r.Key != schemas.ShardKey {
			events = append(events, r)
		}
	}
	return events
}

// Completions checks the records of a completions topic against the states that the jobs
// must end in: exactly one end for each, told by ce_id. Repeats and refusals are counted.
func Completions(records []Record, want map[string]string) (wrong []string, repeats, refusals int) {
	types := map[string]string{
		"COMPLETED": "orchestration.completed.v1", "ERROR": "orchestration.failed.v1", "CANCELLED": "orchestration.cancelled.v1",
	}
	ids, ends := map[string]bool{}, map[string]int{}
	for _, r := range records {
		switch {
		case r.Type == "command.rejected.v1":
			refusals++
			continue
		case ids[r.ID]:
			repeats++
			continue
		}
		ids[r.ID] = true
		state, ok := want[r.Key]
		if !ok {
			continue
		}
		if ends[r.Key]++; r.Type != types[state] {
			wrong = append(wrong, fmt.Sprintf("%s has the completion %s, want %s", r.Key, r.Type, types[state]))
		}
	}
	for key := range want {
		if n := ends[key]; n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s has %d completions", key, n))
		}
	}
	return wrong, repeats, refusals
}
