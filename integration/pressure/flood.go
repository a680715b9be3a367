package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/schemas"
)

// floodEach is how many commands are published for each second that is pushed: several times what two
// processors decide in that time.
const floodEach = 4_000

// flood publishes commands to Kafka, where nobody tells anybody to come again, as fast as the broker takes them. What is
// not decided yet waits there, and not in the server.
func (s *scene) flood(ctx context.Context) error {
	idle, err := s.server.RSS()
	if err != nil {
		return err
	}
	cl, err := s.kafka.NewClient(kgo.AllowIdempotentProduceCancellation())
	if err != nil {
		return err
	}
	defer cl.Close()
	wire, value, err := schemas.EncodeOrchestrationCommand(orchestration.Start{Type: typ})
	if err != nil {
		return err
	}
	s.pushed = newPushed("http://"+s.address, s.name)
	began := time.Now()
	var records []*kgo.Record
	for n := range int(floodEach * s.push.Seconds()) {
		id := fmt.Sprintf("%s-%d", s.name, n)
		envelope := kafka.CloudEvent{ID: "start-" + id, Source: "flood", Type: wire, Subject: id, Time: began, InputOffset: -1}
		records = append(records, &kgo.Record{Topic: s.kafka.Topics().Commands(schemas.AggregateOrchestration), Key: []byte(id), Value: value, Headers: envelope.Headers()})
		s.pushed.accepted = append(s.pushed.accepted, id)
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	published := time.Since(began)
	if err := s.ends(ctx); err != nil {
		return err
	}
	peak, err := s.server.PeakRSS()
	if err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("%s: %d commands published in %s, all ended after %s; the server held %d MB idle and %d MB at most (limit %d MB)\n",
		s.name, len(records), published.Round(10*time.Millisecond), took.Round(10*time.Millisecond), idle>>20, peak>>20, maxMemory>>20)
	switch {
	case peak > maxMemory:
		return errors.New("that is over the limit of memory")
	case 2*published > took:
		return errors.New("they were published no faster than decided: nothing was pressed")
	}
	return nil
}
