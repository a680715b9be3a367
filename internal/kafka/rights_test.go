package kafka_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/kafka"
)

// guarded is a cluster that allows nothing without an ACL, and its administrator.
func guarded(t *testing.T) (c kafka.Config, admin *kgo.Client, g embeddedtest.Guard) {
	t.Helper()
	c, root, g := embeddedtest.Guarded(t)
	admin, err := root.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return c, admin, g
}

func TestEveryRightThatIsMissingIsNamedAtOnce(t *testing.T) {
	c, admin, g := guarded(t)
	log := kafka.Log{Aggregates: []string{"a", "b"}}
	if err := kafka.EnsureTopics(t.Context(), admin, log.Specs(1, log.Aggregates, nil)); err != nil {
		t.Fatal(err)
	}
	probe, err := c.NewProbe()
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	var lack *kafka.LackError
	if err := log.CheckRights(t.Context(), probe, kafka.RoleProjections); !errors.As(err, &lack) || len(lack.Missing) != 3 {
		t.Fatalf("want three missing rights, got %v", err)
	}
	rights := log.Rights(kafka.RoleProjections)
	g.Allow(rights[1:]...)
	err = log.CheckRights(t.Context(), probe, kafka.RoleProjections)
	if !errors.As(err, &lack) || len(lack.Missing) != 1 || !strings.Contains(err.Error(), "Read on topic waybill.a.events (fold them)") || !strings.Contains(err.Error(), "waybill topics acls --role projections") {
		t.Fatalf("want the one missing right, got %v", err)
	}
	g.Allow(rights[0])
	if err := log.CheckRights(t.Context(), probe, kafka.RoleProjections); err != nil {
		t.Errorf("all rights are there: %v", err)
	}
}

func TestTheGuardedTopicsAreNamed(t *testing.T) {
	c, admin, _ := guarded(t)
	cl, err := c.NewClient()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	spec := kafka.Topics{}.WorkSpec(1, "greet")
	if err := kafka.EnsureTopics(t.Context(), cl, []kafka.Spec{spec}); err == nil || !strings.Contains(err.Error(), "waybill.work.greet") {
		t.Errorf("who may not create a topic is not told which: %v", err)
	}
	if err := kafka.EnsureTopics(t.Context(), admin, []kafka.Spec{spec}); err != nil {
		t.Fatal(err)
	}
	var access *kafka.AccessError
	if err := kafka.CheckWrite(t.Context(), cl, spec.Name); !errors.As(err, &access) || !strings.Contains(err.Error(), spec.Name) {
		t.Errorf("who may not write is not told: %v", err)
	}
	if err := kafka.CheckWrite(t.Context(), admin, spec.Name); err != nil {
		t.Errorf("who may write is told otherwise: %v", err)
	}
}
