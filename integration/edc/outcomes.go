package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// outcome is how a job for one document must end.
type outcome struct {
	document string
	value    string   // of a job that completes
	says     []string // of one that fails: what its reason must say
}

// outcomes runs a job for each document that has something the matter with it.
func (s *scenario) outcomes(ctx context.Context) error {
	p1 := s.peers.of[provider1]
	all := []outcome{
		{document: "provisioned-document", value: "made on demand"},
		{document: "slow-document", value: "worth waiting for"},
		{document: "region-document", says: []string{"negotiation", p1.ProtocolURL, "region-document", "region", "us", "3"}},
		{document: "expired-document", says: []string{p1.ProtocolURL, "expired-document", "agreement"}},
		{document: "broken-document", says: []string{"fetch", "broken-document", "500"}},
		{document: "no-such-document", says: []string{"offer", p1.ProtocolURL, "no-such-document"}},
	}
	return atOnce(ctx, len(all)+2, func(ctx context.Context, i int) error {
		switch i - len(all) {
		case 0:
			return s.heldDocument(ctx, p1)
		case 1:
			return s.shortLived(ctx, p1)
		}
		return s.outcome(ctx, p1, all[i])
	})
}

func (s *scenario) outcome(ctx context.Context, at connector, o outcome) error {
	id := "outcome-" + o.document
	if err := s.main.tree(ctx, id, o.document, at); err != nil {
		return err
	}
	if o.value != "" {
		return s.ends(ctx, s.main, id, o.value)
	}
	found, err := s.main.await(ctx, id, jobTakes)
	if err != nil {
		return err
	}
	s.fails(found, o.says...)
	fmt.Printf("  %s: %s\n", o.document, found.Error)
	return nil
}

// fails wants a job to have failed for a reason that says all of some words.
func (s *scenario) fails(found *job, says ...string) {
	if found.State != "ERROR" {
		s.wrong.Add("%s is %s, want ERROR", found.ID, found.State)
		return
	}
	for _, word := range says {
		if !strings.Contains(found.Error.String(), word) {
			s.wrong.Add("%s: its reason does not say %q: %s", found.ID, word, found.Error)
		}
	}
}

// heldDocument waits for as long as the provider takes to make the document.
func (s *scenario) heldDocument(ctx context.Context, at connector) error {
	if err := s.main.tree(ctx, "held", "held-document", at); err != nil {
		return err
	}
	if err := s.heldUp(ctx, 1); err != nil {
		return err
	}
	if err := s.peers.release(ctx); err != nil {
		return err
	}
	return s.ends(ctx, s.main, "held", "made when released")
}

// heldUp waits until n resources wait to be released.
func (s *scenario) heldUp(ctx context.Context, n int) error {
	return poll(ctx, jobTakes, func(ctx context.Context) (bool, error) {
		found, err := s.peers.counts(ctx)
		return err == nil && found.Waiting >= n, err
	})
}

// twice retrieves the same document twice, with a pause between, in which its agreement runs out.
const twice = `{"activities": [
	{"id": "first", "type": "retrieve", "with": {"file": "{{input.file}}", "connectorUrl": "{{input.connectorUrl}}"}},
	{"id": "pause", "type": "noop", "dependsOn": "first", "with": {"delay": "PT7S"}},
	{"id": "second", "type": "retrieve", "dependsOn": "pause", "with": {"file": "{{input.file}}", "connectorUrl": "{{input.connectorUrl}}"}}]}`

// shortLived fetches a document twice in one job, and its access dies between: one more negotiation.
func (s *scenario) shortLived(ctx context.Context, at connector) error {
	if err := s.main.api.Insist(ctx, http.MethodPut, "/v1/definitions/orchestrations/twice", []byte(twice), nil); err != nil {
		return err
	}
	before, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.main.submit(ctx, "short", "twice", map[string]string{"file": "short-document", "connectorUrl": at.ProtocolURL}); err != nil {
		return err
	}
	found, err := s.main.await(ctx, "short", jobTakes)
	if err != nil {
		return err
	}
	if found.State != "COMPLETED" {
		s.wrong.Add("the job whose access dies in its middle is %s: %s", found.State, found.Error)
	}
	after, err := s.peers.counts(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  an EDR that dies in the middle: %.1f s\n", time.Since(began).Seconds())
	if n := since(before.negotiated(), after.negotiated())["short-document"]; n != 2 {
		s.wrong.Add("access that dies in the middle of a job: the providers saw %d negotiations, want 2", n)
	}
	return nil
}
