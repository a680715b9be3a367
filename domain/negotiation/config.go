package negotiation

import (
	"cmp"
	"time"
)

// Config is how access through one connector is acquired. Zero values take the defaults. Only
// decisions read it: what was decided stands in the events.
type Config struct {
	Parallelism int // requests under way at one provider
	Rounds      int // negotiations that are tried for those who wait
	Processes   int // processes that are tried for an EDR before the agreement is given up
	Retries     int // of one request after passing faults

	Agreement time.Duration // how long an agreement is used
	EDR       time.Duration // how long an EDR is used that does not say so itself, and one is kept that can be refreshed
	Round     time.Duration // how long a negotiation may take in total
	State     time.Duration // how long it may stay in one state
	Process   time.Duration // how long an EDR may take from the request on
	Catalog   time.Duration // how long the catalog may take to answer
	Listing   time.Duration // how long its answer is good
	Wish      time.Duration // how long somebody waits who has not said how long

	TransferType string // of the process behind an EDR, where the offer has it
	Refresh      bool   // the connector has a call that refreshes an EDR (refresh: tractusx)
}

// The defaults of a Config.
const (
	DefaultParallelism  = 5
	DefaultRounds       = 3 // a stock connector ends one negotiation in twenty by itself
	DefaultProcesses    = 3
	DefaultRetries      = 8 // with the default delays: a minute and a half
	DefaultAgreement    = 24 * time.Hour
	DefaultEDR          = time.Hour
	DefaultRound        = 10 * time.Minute
	DefaultState        = 2 * time.Minute
	DefaultProcess      = 2 * time.Minute
	DefaultCatalog      = 5 * time.Minute
	DefaultListing      = 30 * time.Second
	DefaultWish         = time.Hour
	DefaultTransferType = "HttpData-PULL"
)

// filled puts the defaults in.
func (c Config) filled() *Config {
	return &Config{
		Parallelism:  cmp.Or(max(c.Parallelism, 0), DefaultParallelism),
		Rounds:       cmp.Or(max(c.Rounds, 0), DefaultRounds),
		Processes:    cmp.Or(max(c.Processes, 0), DefaultProcesses),
		Retries:      cmp.Or(max(c.Retries, 0), DefaultRetries),
		Agreement:    cmp.Or(c.Agreement, DefaultAgreement),
		EDR:          cmp.Or(c.EDR, DefaultEDR),
		Round:        cmp.Or(c.Round, DefaultRound),
		State:        cmp.Or(c.State, DefaultState),
		Process:      cmp.Or(c.Process, DefaultProcess),
		Catalog:      cmp.Or(c.Catalog, DefaultCatalog),
		Listing:      cmp.Or(c.Listing, DefaultListing),
		Wish:         cmp.Or(c.Wish, DefaultWish),
		TransferType: cmp.Or(c.TransferType, DefaultTransferType),
		Refresh:      c.Refresh,
	}
}

// defaults serves every State that was not given a Config of its own.
var defaults = Config{}.filled()

// Configured is another New, with the settings of each connector by its configured name.
func Configured(of func(connector string) Config) func(id string) State {
	return func(id string) State {
		s := New(id)
		connector, _ := Split(id)
		s.cfg = of(connector).filled()
		return s
	}
}
