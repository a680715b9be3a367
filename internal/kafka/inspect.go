package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The states of a topic.
const (
	TopicOK      = "ok"
	TopicMissing = "missing"
	TopicWrong   = "wrong"
	TopicExtra   = "extra" // ours by its name, but nothing uses it
)

// TopicState is what there is of a topic, against what should be.
type TopicState struct {
	Name        string       `json:"name"`
	State       string       `json:"state"`
	Partitions  int          `json:"partitions,omitempty"`
	Replication int          `json:"replication,omitempty"`
	Differences []Difference `json:"differences,omitempty"`

	spec Spec
}

// Difference is a setting that is not as it should be. A note is worth knowing, and no fault.
type Difference struct {
	Setting string `json:"setting"`
	Have    string `json:"have"`
	Want    string `json:"want"`
	Do      string `json:"do"`
	Note    bool   `json:"note,omitempty"`
}

// String says it in a line.
func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, want %s: %s", d.Setting, d.Have, d.Want, d.Do)
}

const (
	doCreate      = "`waybill topics create` makes it"
	doAlter       = "`waybill topics create --alter` sets it"
	doPartitions  = "the number is chosen once, when topics are created: use --shards %d"
	doReplication = "kafka-reassign-partitions adds replicas"
)

// Inspect compares the topics there are with what they should be. Topics of other activity types are
// compared as well; others below the prefix are extra.
func Inspect(ctx context.Context, cl *kgo.Client, t Topics, shards int32, specs []Spec) ([]TopicState, error) {
	adm := kadm.NewClient(cl)
	have, err := adm.Metadata(fresh(ctx))
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	known := make(map[string]bool, len(specs))
	for _, s := range specs {
		known[s.Name] = true
	}
	var extra []TopicState
	for _, name := range have.Topics.Names() {
		typ, work := strings.CutPrefix(name, t.Work(""))
		switch d := have.Topics[name]; {
		case known[name]:
		case work:
			specs = append(slices.Clip(specs), t.WorkSpec(shards, typ))
		case strings.HasPrefix(name, t.name("")):
			extra = append(extra, TopicState{Name: name, State: TopicExtra, Partitions: len(d.Partitions), Replication: d.Partitions.NumReplicas()})
		}
	}
	states, err := inspect(ctx, adm, have, specs)
	return append(states, extra...), err
}

// InspectOnly compares these topics and looks at no others.
func InspectOnly(ctx context.Context, cl *kgo.Client, specs []Spec) ([]TopicState, error) {
	adm := kadm.NewClient(cl)
	have, err := adm.Metadata(fresh(ctx), names(specs)...)
	if err != nil {
		return nil, fmt.Errorf("list the topics %s: %w", some(names(specs)), err)
	}
	return inspect(ctx, adm, have, specs)
}

// fresh asks the brokers, and not what the client remembers.
func fresh(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

func names(specs []Spec) []string {
	l := make([]string, len(specs))
	for i, s := range specs {
		l[i] = s.Name
	}
	return l
}

func inspect(ctx context.Context, adm *kadm.Client, have kadm.Metadata, specs []Spec) ([]TopicState, error) {
	var there []string
	states := make([]TopicState, len(specs))
	for i, s := range specs {
		d, ok := have.Topics[s.Name]
		states[i] = TopicState{Name: s.Name, State: TopicOK, Partitions: len(d.Partitions), Replication: d.Partitions.NumReplicas(), spec: s}
		switch {
		case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			states[i].State = TopicMissing
		case d.Err != nil:
			return nil, fmt.Errorf("topic %s: %w", s.Name, d.Err)
		default:
			there = append(there, s.Name)
		}
	}
	configs, err := describeConfigs(ctx, adm, there)
	if err != nil {
		return nil, err
	}
	for i := range states {
		if s := &states[i]; s.State != TopicMissing {
			s.compare(len(have.Brokers), configs[s.Name])
		}
	}
	return states, nil
}

func describeConfigs(ctx context.Context, adm *kadm.Client, topics []string) (map[string]map[string]string, error) {
	described, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe the settings of topics: %w", err)
	}
	configs := make(map[string]map[string]string, len(described))
	for _, r := range described {
		if r.Err != nil {
			return nil, fmt.Errorf("describe the settings of topic %s: %w", r.Name, r.Err)
		}
		configs[r.Name] = make(map[string]string, len(r.Configs))
		for _, c := range r.Configs {
			configs[r.Name][c.Key] = c.MaybeValue()
		}
	}
	return configs, nil
}

// enough is how many copies survive the loss of a broker and let the others go on.
const enough = 3

func (s *TopicState) compare(brokers int, configs map[string]string) {
	if s.Partitions != int(s.spec.Partitions) {
		s.differ("partitions", strconv.Itoa(s.Partitions), fmt.Sprint(s.spec.Partitions), fmt.Sprintf(doPartitions, s.Partitions), false)
	}
	if want := min(brokers, enough); s.Replication < want {
		s.differ("replication", strconv.Itoa(s.Replication), strconv.Itoa(want), doReplication, true)
	}
	want := s.spec.settings(int16(min(s.Replication, enough)))
	for _, key := range sortedKeys(want) {
		if have, ok := configs[key]; ok && !fits(key, have, *want[key]) {
			s.differ(key, have, *want[key], doAlter, tuning[key])
		}
	}
	if have := configs["unclean.leader.election.enable"]; have == "true" {
		s.differ("unclean.leader.election.enable", have, "false", doAlter, false)
	}
	if n, err := strconv.Atoi(configs[minInSync]); err == nil && n > 1 && n >= s.Replication {
		s.differ(minInSync, configs[minInSync], strconv.Itoa(max(s.Replication-1, 1)), "one broker away stops all writes: "+doAlter, false)
	}
}

func (s *TopicState) differ(setting, have, want, do string, note bool) {
	if !note {
		s.State = TopicWrong
	}
	s.Differences = append(s.Differences, Difference{setting, have, want, do, note})
}

// tuning settings decide when space is freed and nothing else; or what happens where a clock is not right.
var tuning = map[string]bool{"segment.bytes": true, "segment.ms": true, "delete.retention.ms": true, "min.cleanable.dirty.ratio": true, anyTime: true}

// fits says whether a setting does what the wanted one would: more is kept, or larger records are taken.
func fits(key, have, want string) bool {
	if have == want {
		return true
	}
	h, err := strconv.ParseFloat(have, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	if err != nil || err2 != nil {
		return false
	}
	switch key {
	case "retention.ms", "retention.bytes":
		return h == -1 || w != -1 && h >= w
	case "max.message.bytes", minInSync, anyTime:
		return h >= w
	}
	return tuning[key] && h <= w
}

// Alter sets the configuration of topics that is not as it should be, and returns what it has set. How many
// partitions and replicas there are stays as it is.
func Alter(ctx context.Context, cl *kgo.Client, states []TopicState) ([]TopicState, error) {
	adm := kadm.NewClient(cl)
	var altered []TopicState
	for _, s := range states {
		var set []kadm.AlterConfig
		done := TopicState{Name: s.Name, State: TopicOK}
		for _, d := range s.Differences {
			if strings.HasSuffix(d.Do, doAlter) {
				set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: d.Setting, Value: ptr(d.Want)})
				done.Differences = append(done.Differences, d)
			}
		}
		if len(set) == 0 {
			continue
		}
		answers, err := adm.AlterTopicConfigs(ctx, set, s.Name)
		if err == nil {
			_, err = answers.On(s.Name, func(r *kadm.AlterConfigsResponse) error { return r.Err })
		}
		if err != nil {
			return altered, Explain(fmt.Errorf("set the configuration of topic %s: %w", s.Name, err))
		}
		altered = append(altered, done)
	}
	return altered, nil
}

// TopicsError says which topics are not fit for use.
type TopicsError struct {
	Missing, Wrong []TopicState
}

// Unfit makes a *TopicsError of topics that are missing or wrong; nil where there are none.
func Unfit(states []TopicState) error {
	e := &TopicsError{}
	for _, s := range states {
		switch s.State {
		case TopicMissing:
			e.Missing = append(e.Missing, s)
		case TopicWrong:
			e.Wrong = append(e.Wrong, s)
		}
	}
	if len(e.Missing)+len(e.Wrong) == 0 {
		return nil
	}
	return e
}

// most is how many topics an error names.
const most = 3

// Error implements error.
func (e *TopicsError) Error() string {
	var parts []string
	if len(e.Missing) > 0 {
		l := make([]string, len(e.Missing))
		for i, s := range e.Missing {
			l[i] = s.Name
		}
		parts = append(parts, "topics are missing: "+some(l)+": `waybill topics create` makes them, or --create-topics said aloud")
	}
	alike := make(map[string][]string)
	var differences []string
	for _, s := range e.Wrong {
		for _, d := range s.Differences {
			if text := d.String(); !d.Note {
				if alike[text] == nil {
					differences = append(differences, text)
				}
				alike[text] = append(alike[text], s.Name)
			}
		}
	}
	for _, text := range differences {
		parts = append(parts, "topic "+some(alike[text])+": "+text)
	}
	return strings.Join(parts, "; ") + "; `waybill topics describe` shows them all"
}

// some names a few of them.
func some(names []string) string {
	text := strings.Join(names[:min(len(names), most)], ", ")
	if n := len(names) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
