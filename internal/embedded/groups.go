package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/embedded/internal/segment"
)

const (
	groupsFile = "groups.json"
	// groupsInterval is how much of what share groups have acknowledged a kill repeats at
	// most, in time.
	groupsInterval = 2 * time.Second
)

// savedGroup is what the cluster itself saves of a share group only when it is stopped
// cleanly: without it the group would hand out what is not committed after a kill, and skip
// or repeat all that the topic holds.
type savedGroup struct {
	Configs map[string]string          `json:"configs"`
	Offsets map[string]map[int32]int64 `json:"offsets,omitempty"` // topic, partition: where the group goes on
}

// groups keeps the share groups' file while the broker runs.
type groups struct {
	path string
	log  *logger

	mu    sync.Mutex
	saved map[string]savedGroup

	stop context.CancelFunc
	done chan struct{}
}

func readGroups(dir string) (map[string]savedGroup, error) {
	saved := map[string]savedGroup{}
	b, err := os.ReadFile(filepath.Join(dir, groupsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return saved, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", groupsFile, err)
	}
	return saved, nil
}

// keepGroups begins to watch a cluster.
func keepGroups(dir string, c *kfake.Cluster, log *logger) (*groups, error) {
	saved, err := readGroups(dir)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &groups{path: filepath.Join(dir, groupsFile), log: log, saved: saved, stop: stop, done: make(chan struct{})}
	c.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if alter, ok := req.(*kmsg.IncrementalAlterConfigsRequest); ok && !alter.ValidateOnly {
			g.configured(alter)
		}
		return nil, nil, false // the cluster answers it
	})
	go func() {
		defer close(g.done)
		g.follow(ctx, c.ListenAddrs())
	}()
	return g, nil
}

// configured notes what a client sets of a group, before the cluster does it.
func (g *groups) configured(req *kmsg.IncrementalAlterConfigsRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := false
	for _, r := range req.Resources {
		if r.ResourceType != kmsg.ConfigResourceTypeGroupConfig {
			continue
		}
		group := g.saved[r.ResourceName]
		configs := maps.Clone(group.Configs)
		if configs == nil {
			configs = map[string]string{}
		}
		for _, c := range r.Configs {
			if c.Op == kmsg.IncrementalAlterConfigOpSet && c.Value != nil {
				configs[c.Name] = *c.Value
			} else {
				delete(configs, c.Name)
			}
		}
		changed = changed || !maps.Equal(configs, group.Configs)
		group.Configs = configs
		g.saved[r.ResourceName] = group
	}
	if changed {
		g.write()
	}
}

// write replaces the file. A kill after one that failed repeats more, and nothing else.
func (g *groups) write() {
	b, err := json.Marshal(g.saved)
	if err == nil {
		err = segment.ReplaceFile(g.path, b)
	}
	if err != nil {
		g.log.to.Warn("share groups cannot be saved", "file", g.path, "error", err)
	}
}

// follow notes now and then how far the groups have come.
func (g *groups) follow(ctx context.Context, brokers []string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		g.log.to.Warn("share groups cannot be followed", "error", err)
		return
	}
	defer cl.Close()
	ticker := time.NewTicker(groupsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.advance(ctx, cl)
	}
}

func (g *groups) advance(ctx context.Context, cl *kgo.Client) {
	g.mu.Lock()
	names := slices.Sorted(maps.Keys(g.saved))
	g.mu.Unlock()
	if len(names) == 0 {
		return
	}
	found, err := shareOffsets(ctx, cl, names)
	if err != nil {
		if ctx.Err() == nil {
			g.log.to.Warn("share groups cannot be followed", "error", err)
		}
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := false
	for name, offsets := range found {
		group := g.saved[name]
		changed = changed || !reflect.DeepEqual(group.Offsets, offsets)
		group.Offsets = offsets
		g.saved[name] = group
	}
	if changed {
		g.write()
	}
}

func shareOffsets(ctx context.Context, cl *kgo.Client, names []string) (map[string]map[string]map[int32]int64, error) {
	req := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
	for _, name := range names {
		group := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
		group.GroupID = name
		req.Groups = append(req.Groups, group)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	found := map[string]map[string]map[int32]int64{}
	for _, group := range resp.Groups {
		if group.ErrorCode != 0 {
			continue // nobody has joined it yet
		}
		topics := map[string]map[int32]int64{}
		for _, t := range group.Topics {
			partitions := map[int32]int64{}
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 && p.StartOffset >= 0 {
					partitions[p.Partition] = p.StartOffset
				}
			}
			topics[t.Topic] = partitions
		}
		found[group.GroupID] = topics
	}
	return found, nil
}

// end stops following.
func (g *groups) end() {
	g.stop()
	<-g.done
}

// restoreGroups gives a cluster that was killed its share groups back.
func restoreGroups(ctx context.Context, dir string, c *kfake.Cluster, cl *kgo.Client) error {
	saved, err := readGroups(dir)
	if err != nil {
		return err
	}
	for name, group := range saved {
		c.SetGroupConfigs(name, group.Configs)
		if err := restoreOffsets(ctx, cl, name, group.Offsets); err != nil {
			return fmt.Errorf("restore share group %s: %w", name, err)
		}
	}
	return nil
}

func restoreOffsets(ctx context.Context, cl *kgo.Client, name string, offsets map[string]map[int32]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	req := kmsg.NewPtrAlterShareGroupOffsetsRequest()
	req.GroupID = name
	for topic, partitions := range offsets {
		t := kmsg.NewAlterShareGroupOffsetsRequestTopic()
		t.Topic = topic
		for partition, offset := range partitions {
			p := kmsg.NewAlterShareGroupOffsetsRequestTopicPartition()
			p.Partition, p.StartOffset = partition, offset
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode) // a topic that is gone has nothing to restore
}
