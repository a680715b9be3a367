package query

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/projections"
)

// Defaults of Config, in this one place.
const (
	// DefaultPositionWait is how long a read waits for the position it carries: the view is
	// some milliseconds behind, so what takes longer is out of order.
	DefaultPositionWait = 10 * time.Second
	// DefaultMaxWait bounds ?wait=, below the minute after which proxies give up.
	DefaultMaxWait = 50 * time.Second
	// DefaultHeartbeat keeps what lies between from closing a stream on which nothing happens.
	DefaultHeartbeat = 15 * time.Second
)

// Config says what to answer from.
type Config struct {
	DB *projections.DB
	// BuiltIn lists the definitions of a kind (orchestration, activity) that the program
	// brings along; nil means none. One that was put under the same type goes before it.
	BuiltIn func(kind string) []BuiltIn
	// Blobs reads what is too large to stand in the view; nil means that it cannot be read here.
	Blobs Blobs
	// Keys open what is sealed on the log; nil means that it cannot be opened here.
	Keys *seal.Keyring
	// Guarded says that only those get here who have the server's token: secrets are for them alone.
	Guarded bool
	// PositionWait bounds the wait for a position; 0 means DefaultPositionWait.
	PositionWait time.Duration
	// MaxWait bounds ?wait=; 0 means DefaultMaxWait.
	MaxWait time.Duration
	// Heartbeat is the time between two comments on a silent stream; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// Logger is told what went wrong inside, which clients are not; nil means nobody is.
	Logger *slog.Logger
}

// Blobs puts what a value refers to into its place: schemas.Blobs.
type Blobs interface {
	Unpack(ctx context.Context, value json.RawMessage, most int64) (json.RawMessage, error)
}

// BuiltIn is a definition that nobody has put.
type BuiltIn struct {
	Type       string
	Definition json.RawMessage
}

// Routes registers the read routes.
func Routes(mux *http.ServeMux, cfg Config) {
	q := newQueries(cfg)
	plain := func(pattern string, params []string, h func(http.ResponseWriter, *http.Request) error) {
		params = append(params, "position")
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			err := wellFormed(r, params)
			if err == nil {
				err = h(w, r)
			}
			if err != nil {
				q.refuse(w, r, err)
			}
		})
	}
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error, params ...string) {
		plain(pattern, params, func(w http.ResponseWriter, r *http.Request) error {
			if err := q.reach(r); err != nil {
				return err
			}
			return h(w, r)
		})
	}
	handle("/v1/jobs", q.jobs, "state", "type", "name", "set", "label", "since", "until", "q", "limit", "cursor")
	handle("/v1/jobs/{id}", q.job, "wait")
	handle("/v1/jobs/{id}/nodes", q.nodes, "state", "parent", "limit", "cursor")
	handle("/v1/jobs/{id}/edges", q.edges, "limit", "cursor")
	handle("/v1/jobs/{id}/events", q.events, "all", "after", "limit", "cursor")
	handle("/v1/jobs/{id}/input", q.input)
	handle("/v1/jobs/{id}/result", q.result)
	handle("/v1/jobs/{id}/nodes/{nodeId}/output", q.nodeOutput)
	handle("/v1/jobs/{id}/stream", q.stream)
	handle("/v1/transfers", q.transfers, "state", "provider", "connector", "asset", "job", "limit", "cursor")
	handle("/v1/transfers/{id}", q.transfer, "wait")
	handle("/v1/transfers/{id}/events", q.history(q.db.TransferEvents), "after", "limit", "cursor")
	handle("/v1/negotiations", q.negotiations, "state", "provider", "connector", "asset", "job", "limit", "cursor")
	handle("/v1/negotiations/{id}", q.negotiation, "wait")
	handle("/v1/negotiations/{id}/events", q.history(q.db.NegotiationEvents), "after", "limit", "cursor")
	handle("/v1/negotiations/{id}/edr", q.edr)
	handle("/v1/wishes/{id}", q.wish, "wait")
	plain("/v1/commands/{id}", []string{"wait"}, q.command)
	handle("/v1/deadletters", q.deadLetters, "limit", "cursor")
	handle("/v1/deadletters/{id}", q.deadLetter)
	for path, kind := range map[string]string{"orchestrations": "orchestration", "activities": "activity"} {
		handle("/v1/definitions/"+path, q.definitions(kind), "limit", "cursor")
		handle("/v1/definitions/"+path+"/{type}", q.definition(kind), "version")
	}
}

// queries answers requests. It is safe for concurrent use.
type queries struct {
	cfg Config
	db  *projections.DB
}

func newQueries(cfg Config) *queries {
	if cfg.BuiltIn == nil {
		cfg.BuiltIn = func(string) []BuiltIn { return nil }
	}
	if cfg.PositionWait <= 0 {
		cfg.PositionWait = DefaultPositionWait
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &queries{cfg: cfg, db: cfg.DB}
}

// positionHeader carries the position of a write, in its answer and in later reads.
const positionHeader = "Waybill-Position"

// reach waits until the view is as far as the request wants it.
func (q *queries) reach(r *http.Request) error { return q.reachWithin(r, q.cfg.PositionWait) }

// reachWithin answers a *lateError for a position that is not reached in time.
func (q *queries) reachWithin(r *http.Request, limit time.Duration) error {
	token := r.Header.Get(positionHeader)
	if r.URL.RawQuery != "" {
		if p := r.URL.Query().Get("position"); p != "" {
			token = p
		}
	}
	if token == "" {
		return nil
	}
	p, err := position(token)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	err = q.db.WaitFor(ctx, p)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &lateError{token, limit}
	case projections.IsNotFound(err): // 404 would be said of what is asked for
		return &ParamError{"position", err.Error()}
	}
	return err
}

var jsonType = []string{"application/json"}

// answer writes a JSON document.
func answer(w http.ResponseWriter, doc []byte) error {
	h := w.Header()
	h["Content-Type"] = jsonType
	// Status changes from one moment to the next, and nobody asks for what is old.
	h["Cache-Control"] = noStore
	w.Write(doc) //nolint:gosec // JSON, and said to be JSON
	return nil
}

var noStore = []string{"no-store"}

func answerPage(w http.ResponseWriter, p projections.Page, err error) error {
	if err != nil {
		return err
	}
	doc, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	return answer(w, doc)
}

func answerValue(w http.ResponseWriter, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return answer(w, doc)
}
