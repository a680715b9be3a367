package kafka_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

func TestTopicsAreCreatedOnceAndComparedWithWhatTheyShouldBe(t *testing.T) {
	cl, err := embeddedtest.New(t).NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	topics := kafka.Topics{}
	specs := topics.Specs(2, []string{"a"}, []string{"work"})
	inspect := func() []kafka.TopicState {
		t.Helper()
		states, err := kafka.Inspect(t.Context(), cl, topics, 2, specs)
		if err != nil {
			t.Fatal(err)
		}
		return states
	}
	if made, err := (kafka.Creation{DryRun: true}).Create(t.Context(), cl, specs); err != nil || len(made) != len(specs) {
		t.Fatalf("a dry run would create %d of %d: %v", len(made), len(specs), err)
	}
	if err := kafka.Unfit(inspect()); err == nil || !strings.Contains(err.Error(), "topics are missing") {
		t.Fatalf("a dry run has created something: %v", err)
	}
	for _, want := range []int{len(specs), 0} {
		if made, err := (kafka.Creation{Replication: 1}).Create(t.Context(), cl, specs); err != nil || len(made) != want {
			t.Fatalf("created are %d, not %d: %v", len(made), want, err)
		}
	}
	if err := kafka.Unfit(inspect()); err != nil {
		t.Fatalf("what was created is not fit: %v", err)
	}
	adm := kadm.NewClient(cl)
	for _, name := range []string{"waybill.odd", "waybill.work.other"} {
		if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, name); err != nil {
			t.Fatal(err)
		}
	}
	set := func(topic, key, value string) {
		t.Helper()
		if _, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: key, Value: &value}}, topic); err != nil {
			t.Fatal(err)
		}
	}
	set("waybill.a.events", "retention.ms", "1000")
	set("waybill.definitions", "cleanup.policy", "delete")
	set("waybill.a.commands", "max.message.bytes", "10000000") // more does no harm
	of := func(states []kafka.TopicState, name string) kafka.TopicState {
		t.Helper()
		at := slices.IndexFunc(states, func(s kafka.TopicState) bool { return s.Name == name })
		if at < 0 {
			t.Fatalf("%s is not among them: %v", name, states)
		}
		return states[at]
	}
	states := inspect()
	for name, want := range map[string]string{
		"waybill.a.events": kafka.TopicWrong, "waybill.definitions": kafka.TopicWrong, "waybill.a.commands": kafka.TopicOK,
		"waybill.odd": kafka.TopicExtra, "waybill.work.other": kafka.TopicWrong, // the number of partitions
	} {
		if s := of(states, name); s.State != want {
			t.Errorf("%s is %s, not %s: %v", name, s.State, want, s.Differences)
		}
	}
	if _, err := kafka.Alter(t.Context(), cl, states); err != nil {
		t.Fatal(err)
	}
	states = inspect()
	if s := of(states, "waybill.a.events"); s.State != kafka.TopicOK {
		t.Errorf("it was not put right: %v", s.Differences)
	}
	if err := kafka.Unfit(states); err == nil || !strings.Contains(err.Error(), "waybill.work.other: partitions is 1, want 2") {
		t.Errorf("partitions cannot be put right: %v", err)
	}
}

func TestABrokerThatDoesNotKnowASettingYetGetsTheTopicsWithoutIt(t *testing.T) {
	cfg, cluster := embeddedtest.Virtual(t)
	cl, err := cfg.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	cluster.ControlKey(kmsg.CreateTopics.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.CreateTopicsRequest) //nolint:forcetypeassert // its own kind
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, topic := range req.Topics {
			for _, c := range topic.Configs {
				if c.Name == "message.timestamp.after.max.ms" {
					answer := kmsg.NewCreateTopicsResponseTopic()
					answer.Topic, answer.ErrorCode = topic.Topic, kerr.InvalidConfig.Code
					resp.Topics = append(resp.Topics, answer)
				}
			}
		}
		return resp, nil, len(resp.Topics) > 0
	})
	specs := kafka.Topics{}.Specs(2, []string{"a"}, []string{"work"})
	for _, replication := range []int16{0, 1} {
		if _, err := (kafka.Creation{Replication: replication}).Create(t.Context(), cl, specs); err != nil {
			t.Errorf("replication %d: %v", replication, err)
		}
	}
}
