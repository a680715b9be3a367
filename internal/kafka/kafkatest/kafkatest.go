package kafkatest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

// Attr is the attribute that a test gets which runs on a Kafka of others: `go test -json` tells of it.
const Attr = "kafka"

// clearing is how long removing what a test has left may take.
const clearing = 30 * time.Second

// New says how to reach a Kafka on which no topic of ours is yet. It ends with the test, or what
// the test made there does.
func New(t testing.TB) kafka.Config {
	t.Helper()
	if cfg, ok := Others(t); ok {
		return cfg
	}
	return embeddedtest.New(t)
}

// Others is New for programs that have an embedded broker in them: only where brokers are named.
func Others(t testing.TB) (kafka.Config, bool) {
	t.Helper()
	brokers := embeddedtest.Others()
	if len(brokers) == 0 {
		return kafka.Config{}, false
	}
	if t, ok := t.(*testing.T); ok {
		t.Attr(Attr, strings.Join(brokers, ","))
	}
	cfg := kafka.Config{Brokers: brokers, Prefix: "waybill-test-" + uuid.NewString()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), clearing)
		defer cancel()
		if err := Clear(ctx, cfg); err != nil {
			t.Errorf("what the test left on %v below %s: %v", cfg.Brokers, cfg.Prefix, err)
		}
	})
	return cfg, true
}

// Clear removes topics and groups below the prefix.
func Clear(ctx context.Context, cfg kafka.Config) error {
	cl, err := cfg.NewClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics, err := adm.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	if names := below(cfg.Prefix, topics.Names()); len(names) > 0 {
		deleted, err := adm.DeleteTopics(ctx, names...)
		if err == nil {
			err = deleted.Error()
		}
		if err != nil {
			return fmt.Errorf("delete topics: %w", err)
		}
	}
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	if names := below(cfg.Prefix, groups.Groups()); len(names) > 0 {
		// One that has members yet, or whose last topic's end has removed it, goes by itself.
		if _, err := adm.DeleteGroups(ctx, names...); err != nil {
			return fmt.Errorf("delete groups: %w", err)
		}
	}
	return nil
}

func below(prefix string, names []string) []string {
	var l []string
	for _, n := range names {
		if strings.HasPrefix(n, prefix+".") {
			l = append(l, n)
		}
	}
	return l
}
