package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

func TestVerbsGoStraightToKafka(t *testing.T) {
	cfg := embeddedtest.New(t)
	topics := cfg.Topics()
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands(schemas.AggregateOrchestration)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, topics.Specs(1, []string{schemas.AggregateOrchestration}, nil)); err != nil {
		t.Fatal(err)
	}
	straight := []string{"--brokers", strings.Join(cfg.Brokers, ","), "--prefix", cfg.Prefix, "--by", "Ada"}
	want := map[string]string{}
	for words, typ := range map[string]string{
		"cancel j-1":                           schemas.OrchestrationCancel + ` {"by":"Ada"}`,
		"rerun j-1 --from a,b":                 schemas.OrchestrationRerun + ` {"by":"Ada","from":["a","b"]}`,
		"pause j-1 --reason maintenance":       schemas.OrchestrationPause + ` {"by":"Ada","reason":"maintenance"}`,
		"resume j-1 n-2":                       schemas.ActivityResume + ` {"activityId":"n-2","by":"Ada"}`,
		"skip j-1 n-2 --result [7]":            schemas.ActivitySkip + ` {"activityId":"n-2","by":"Ada","output":[7]}`,
		"fail j-1 n-2 --error gone":            schemas.ActivityFail + ` {"activityId":"n-2","by":"Ada","error":"gone"}`,
		"retry j-1 n-2":                        schemas.ActivityRetry + ` {"activityId":"n-2","by":"Ada"}`,
		"complete j-1 n-2 --result @- -o json": schemas.ActivityComplete + ` {"activityId":"n-2","by":"Ada","output":{"from":"stdin"}}`,
	} {
		var errs bytes.Buffer
		env := cli.Env{In: strings.NewReader(`{"from": "stdin"}`), Err: &errs}
		if code := cli.Run(t.Context(), env, append(strings.Fields(words), straight...)...); code != 0 {
			t.Fatalf("%s: exit %d: %s", words, code, &errs)
		}
		want[typ] = words
	}
	for n := len(want); n > 0; n-- {
		r := cl.PollRecords(t.Context(), 1).Records()[0]
		e, err := kafka.ParseCloudEvent(r)
		if got := e.Type + " " + string(r.Value); err != nil || string(r.Key) != "j-1" || want[got] == "" {
			t.Errorf("%s, %v, is none of %v", got, err, want)
		}
	}
}
