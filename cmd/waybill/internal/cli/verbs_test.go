package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/cmd/waybill/internal/cli"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/kafka/kafkatest"
	"github.com/waybill/waybill/schemas"
)

func TestVerbsGoStraightToKafka(t *testing.T) {
	cfg := kafkatest.New(t)
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

func TestTransfersAndAccessAreAskedForStraightOverKafka(t *testing.T) {
	cfg := kafkatest.New(t)
	topics := cfg.Topics()
	aggregates := []string{schemas.AggregateTransfer, schemas.AggregateNegotiation}
	cl, err := cfg.NewClient(kgo.ConsumeTopics(topics.Commands(aggregates[0]), topics.Commands(aggregates[1])), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := kafka.EnsureTopics(t.Context(), cl, topics.Specs(1, aggregates, nil)); err != nil {
		t.Fatal(err)
	}
	straight := []string{"--brokers", strings.Join(cfg.Brokers, ","), "--prefix", cfg.Prefix}
	run := func(words string) (int, string) {
		var errs bytes.Buffer
		return cli.Run(t.Context(), cli.Env{Err: &errs}, append(strings.Fields(words), straight...)...), errs.String()
	}
	want := map[string]string{}
	for words, record := range map[string]string{
		"transfer start --id t-1 --provider http://p --asset a":                      "t-1 " + schemas.TransferInitiate + ` {"provider":"http://p","assetId":"a"}`,
		"transfer terminate t-1 --reason enough --by ada":                            "t-1 " + schemas.TransferTerminate + ` {"by":"ada","reason":"enough"}`,
		"acquire --provider HTTP://P/ --asset a --connector consumer --waiter me":    "consumer http://p " + schemas.NegotiationAcquire + ` {"provider":"HTTP://P/","connector":"consumer","assetId":"a","need":"edr","waiter":"me"}`,
		"acquire --provider http://p --asset-type r --connector consumer --waiter w": "consumer http://p " + schemas.NegotiationAcquire + ` {"provider":"http://p","connector":"consumer","assetType":"r","need":"edr","waiter":"w"}`,
	} {
		if code, errs := run(words); code != 0 {
			t.Fatalf("%s: exit %d: %s", words, code, errs)
		}
		want[record] = words
	}
	var records []*kgo.Record
	for len(records) < len(want) {
		records = append(records, cl.PollFetches(t.Context()).Records()...)
	}
	for _, r := range records {
		e, err := kafka.ParseCloudEvent(r)
		if got := string(r.Key) + " " + e.Type + " " + string(r.Value); err != nil || want[got] == "" {
			t.Errorf("%s, %v, is none of %v", got, err, want)
		}
	}
	for words, says := range map[string]string{
		`transfer start --provider http://p --asset a --destination {"authCode":"s3cret"}`: "destination: has a secret that cannot be sealed here",
		"acquire --provider http://p --asset a":                                            "connector",
	} {
		if code, errs := run(words); code == 0 || !strings.Contains(errs, says) || strings.Contains(errs, "s3cret") {
			t.Errorf("%s: exit %d: %s", words, code, errs)
		}
	}
}
