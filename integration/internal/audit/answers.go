package audit

import (
	"encoding/json"
	"slices"
	"sort"
	"time"

	"github.com/waybill/waybill/domain/machine"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// index notes the commands of an aggregate type by where they stand.
func (c *checker) index(name string) {
	c.commands[name] = make(map[int32][]*Record)
	for r := range c.records(c.Names.Commands(name)) {
		c.commands[name][r.Partition] = append(c.commands[name][r.Partition], r)
	}
}

// between are the commands of a partition from one offset up to another.
func (c *checker) between(name string, partition int32, from, to int64) []*Record {
	l := c.commands[name][partition]
	i := sort.Search(len(l), func(i int) bool { return l[i].Offset >= from })
	j := sort.Search(len(l), func(i int) bool { return l[i].Offset >= to })
	return l[i:max(i, j)]
}

// command finds the command at an offset.
func (c *checker) command(name string, partition int32, offset int64) *Record {
	if l := c.between(name, partition, offset, offset+1); len(l) == 1 {
		return l[0]
	}
	return nil
}

// remembered is for how long a command's ID is certainly remembered.
const remembered = 6 * 24 * time.Hour

// answers holds every command against what became of it.
func (c *checker) answers(name string) {
	firsts := make(map[string]*Record)
	for r := range c.records(c.Names.Commands(name)) {
		if r.Key == schemas.ShardKey && r.Type == schemas.ShardOwned {
			continue
		}
		c.report.Commands++
		b := c.book(name, r.Partition)
		switch {
		case c.letters[r.place()]:
			continue
		case r.Offset >= b.last.Next:
			if c.Quiet {
				c.wrong(LawAnswers, r, "%s to %s is not decided", r.Type, r.Key)
			}
			continue
		case c.start(c.Names.Events(name), r.Partition) > 0 && r.Offset < b.first:
			continue // its answer was let go of
		}
		if p := kafka.PartitionFor([]byte(r.Key), c.Shards); p != r.Partition {
			c.forwarded(name, r, p)
			continue
		}
		c.answered(name, r)
		if first := firsts[r.ID]; first == nil {
			firsts[r.ID] = r
		} else if !c.sameBody(name, first, r) {
			c.wrong(LawAnswers, r, "another command had its id %s, at %s, and it is not refused for that", r.ID, first.place())
		}
	}
}

// forwarded: a command on another partition than its key's is put on that.
func (c *checker) forwarded(name string, r *Record, to int32) {
	for _, other := range c.commands[name][to] {
		if other.ID == r.ID && other.Key == r.Key && other.Value == r.Value && other.Type == r.Type {
			return
		}
	}
	if c.start(r.Topic, to) == 0 {
		c.wrong(LawAnswers, r, "%s to %s lies on a partition that is not its key's, and was not forwarded to partition %d", r.Type, r.Key, to)
	}
}

// answered: something has become of a command.
func (c *checker) answered(name string, r *Record) {
	if c.caused[name][r.ID] || c.settled[name][r.ID] || len(c.refused[name][r.ID]) > 0 {
		return
	}
	if !slices.Contains(schemas.WorkReports(), r.Type) {
		c.wrong(LawAnswers, r, "%s to %s, id %s, has made nothing happen, and is neither refused nor settled", r.Type, r.Key, r.ID)
		return
	}
	if r.Type == schemas.WorkHeartbeat || r.Type == schemas.WorkRelease {
		return // nobody waits for an answer
	}
	var report struct {
		WorkID  string `json:"workId"`
		Attempt int    `json:"attempt"`
	}
	if err := json.Unmarshal([]byte(r.Value), &report); err != nil {
		c.wrong(LawAnswers, r, "%s to %s has no answer, and cannot be read: %v", r.Type, r.Key, err)
		return
	}
	// What was reported before needs no answer.
	if !c.said[name][attempt(report.WorkID, report.Attempt)] && !c.broken[name+"/"+r.Key] {
		c.wrong(LawAnswers, r, "%s on attempt %d of work %s to %s has made nothing happen, and is not refused", r.Type, report.Attempt, report.WorkID, r.Key)
	}
}

// sameBody says that a command is a repeat of another, or that it is refused because it is not.
func (c *checker) sameBody(name string, first, r *Record) bool {
	if slices.Contains(schemas.WorkReports(), r.Type) || schemas.Fingerprint([]byte(first.Value)) == schemas.Fingerprint([]byte(r.Value)) {
		return true
	}
	if !first.Time.IsZero() && r.Time.Sub(first.Time) > remembered {
		return true
	}
	return slices.ContainsFunc(c.refused[name][r.ID], func(x *refusal) bool { return x.Code == machine.Conflict })
}
