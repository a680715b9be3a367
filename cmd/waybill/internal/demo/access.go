package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// negotiation is one of the list, as GET /v1/negotiations has it.
type negotiation struct {
	Provider    string  `json:"provider"`
	AssetID     string  `json:"assetId"`
	State       string  `json:"state"`
	AgreementID *string `json:"agreementId"`
	EDR         struct {
		State string `json:"state"`
	} `json:"edr"`
}

// access shows what has been negotiated, and what that has cost the providers.
func (r *run) access(ctx context.Context) error {
	if r.providers.edc == nil {
		return nil
	}
	names := providerNames()
	cost := counted(r.providers.edc, names...)
	list, err := r.negotiations(ctx, cost.negotiations)
	if err != nil {
		return err
	}
	fmt.Fprintln(r.Out, "\nnegotiations, one per provider and asset, for every job (GET /v1/negotiations):")
	for _, n := range list {
		agreement := "-"
		if n.AgreementID != nil {
			agreement = *n.AgreementID
		}
		fmt.Fprintf(r.Out, "  %-10s %-16s %-10s agreement %-36s  EDR %s\n", r.named(n.Provider), n.AssetID, n.State, agreement, n.EDR.State)
	}
	fmt.Fprintf(r.Out, "counted at the providers so far: %d catalog requests, %d negotiations, %d documents\n", cost.catalogs, cost.negotiations, cost.documents)
	return nil
}

// named puts a provider's name in the place of its address.
func (r *run) named(text string) string {
	for _, p := range r.providers.list {
		text = strings.ReplaceAll(text, p.url, p.name)
	}
	return text
}

// negotiations asks the projection until it shows all that the providers have agreed to.
func (r *run) negotiations(ctx context.Context, agreed int) ([]negotiation, error) {
	late := time.After(catchUp)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		answer, err := r.client.Get(ctx, "/v1/negotiations", url.Values{"limit": {"1000"}})
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []negotiation `json:"items"`
		}
		if err := json.Unmarshal(answer.Body, &page); err != nil {
			return nil, fmt.Errorf("the negotiations: %w", err)
		}
		open := slices.ContainsFunc(page.Items, func(n negotiation) bool { return n.EDR.State != "GRANTED" })
		if len(page.Items) >= agreed && !open {
			slices.SortFunc(page.Items, func(a, b negotiation) int {
				return strings.Compare(r.named(a.Provider)+a.AssetID, r.named(b.Provider)+b.AssetID)
			})
			return page.Items, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, errors.New("the projection does not show the negotiations")
		case <-tick.C:
		}
	}
}
