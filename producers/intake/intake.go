package intake

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybill/waybill/domain/blob"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/internal/callbacks"
	"github.com/waybill/waybill/internal/kafka"
	"github.com/waybill/waybill/internal/seal"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// Defaults of a Config, in this one place.
const (
	// DefaultMaxBody is how large a request body may be, in bytes: what a command takes.
	DefaultMaxBody = schemas.MaxCommandBytes
	// DefaultPublishTimeout is how long Kafka may take before the answer is 503.
	DefaultPublishTimeout = 5 * time.Second
	// DefaultMaxWait bounds how long a request may ask to wait for the decision, and is how
	// long definitions wait for theirs.
	DefaultMaxWait = 30 * time.Second
)

// Publisher is what the intake publishes with: a *producers.Publisher.
type Publisher interface {
	Publish(ctx context.Context, c producers.Command) (kafka.Position, error)
	PackInput(ctx context.Context, job string, input json.RawMessage) (json.RawMessage, error)
	Pack(ctx context.Context, job, at string, value json.RawMessage) (json.RawMessage, error)
	CompleteWork(ctx context.Context, w producers.Work, output json.RawMessage) (producers.Accepted, error)
	FailWork(ctx context.Context, w producers.Work, fault orchestration.Fault) (producers.Accepted, error)
	HeartbeatWork(ctx context.Context, w producers.Work, agent string) (producers.Accepted, error)
	Replay(ctx context.Context, r producers.Record) (kafka.Position, error)
}

// Config says what an Intake works with. Publisher and Reads are needed.
type Config struct {
	Publisher      Publisher
	Reads          Reads
	MaxBody        int64             // bytes; zero means DefaultMaxBody
	MaxPayload     int64             // bytes of a body with an input or an output; zero means blob.DefaultMax
	PublishTimeout time.Duration     // zero means DefaultPublishTimeout
	MaxWait        time.Duration     // zero means DefaultMaxWait
	Proofs         *callbacks.Proofs // of the addresses that need no token; nil means there are none
	Keys           *seal.Keyring     // seal the secrets in what others say; nil: what has one is refused
	// Connector finds the connector of ours that a provider is spoken to through; empty means that it is
	// spoken to without. Nil: whoever wants access says which.
	Connector func(provider string) (name string, err error)
	Limits    Limits
	// Shards is the number of partitions of the commands; zero means that nobody knows, and that a
	// backlog has no limit.
	Shards int32
	// Rejected, where set, is told the reason, one of Reasons, whenever the answer is 503.
	Rejected func(reason string)
	Logger   *slog.Logger // takes faults that are not the caller's; nil discards them
}

// Intake answers the write routes. It is safe for concurrent use.
type Intake struct {
	cfg     Config
	gate    *gate
	uploads chan struct{} // a place for each upload under way
}

// New makes an Intake.
func New(cfg Config) (*Intake, error) {
	if cfg.Publisher == nil || cfg.Reads == nil {
		return nil, errors.New("the intake needs a publisher and somebody to ask")
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = blob.DefaultMax
	}
	if cfg.PublishTimeout == 0 {
		cfg.PublishTimeout = DefaultPublishTimeout
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = DefaultMaxWait
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Rejected == nil {
		cfg.Rejected = func(string) {}
	}
	in := &Intake{cfg: cfg, uploads: make(chan struct{}, maxUploads)}
	in.gate = newGate(cfg.Limits.withDefaults(in.payloadBody()), cfg.Shards, cfg.Reads)
	return in, nil
}

// Routes registers the write routes.
func (in *Intake) Routes(mux *http.ServeMux) {
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r, visit, err := in.gate.enter(r)
			if err == nil {
				defer visit.leave()
				err = h(w, r)
			}
			if err != nil {
				in.refuse(w, r, err)
			}
		})
	}
	handle("POST /v1/jobs", in.startJob)
	for _, v := range producers.JobVerbs() {
		handle("POST /v1/jobs/{id}/"+v.Name, in.operateJob(v))
	}
	for _, v := range producers.NodeVerbs() {
		handle("POST /v1/jobs/{id}/nodes/{nodeId}/"+v.Name, in.operateNode(v))
	}
	handle("POST /v1/bulk/{verb}", in.bulk)
	handle("POST /v1/transfers", in.startTransfer)
	for _, v := range producers.TransferVerbs() {
		handle("POST /v1/transfers/{id}/"+v.Name, in.operateTransfer(v))
	}
	handle("POST /v1/negotiations", in.acquire)
	for _, k := range kinds {
		handle("PUT /v1/definitions/"+k.path+"/{type}", in.putDefinition(k))
		handle("DELETE /v1/definitions/"+k.path+"/{type}", in.deleteDefinition(k))
	}
	handle("POST /v1/work/{workId}/complete", in.completeWork)
	handle("POST /v1/work/{workId}/fail", in.failWork)
	handle("POST /v1/work/{workId}/heartbeat", in.heartbeatWork)
	handle("POST /v1/deadletters/{id}/replay", in.replayDeadLetter)
	if in.cfg.Proofs != nil {
		in.callbackRoutes(handle)
		in.connectorRoutes(handle)
		in.provisionerRoutes(handle)
	}
}

// publish bounds how long Kafka may take, unless there is no room for the command now.
func (in *Intake) publish(ctx context.Context, c producers.Command) (producers.Accepted, error) {
	if err := in.gate.admit(ctx, c.Aggregate, c.Type, c.Key); err != nil {
		return producers.Accepted{}, err
	}
	return in.put(ctx, c)
}

func (in *Intake) put(ctx context.Context, c producers.Command) (producers.Accepted, error) {
	ctx, cancel := context.WithTimeout(ctx, in.cfg.PublishTimeout)
	defer cancel()
	pos, err := in.cfg.Publisher.Publish(ctx, c)
	if err != nil {
		return producers.Accepted{}, err
	}
	in.gate.wrote(pos)
	if c.Type == schemas.OrchestrationStart {
		in.gate.begun.Add(1)
	}
	return producers.Accepted{ID: c.Key, CommandID: c.ID, Position: pos}, nil
}

// answer writes a JSON body; position, where there is one, also goes into the header
// that a read takes.
func answer(w http.ResponseWriter, status int, a any, pos kafka.Position) {
	w.Header().Set("Content-Type", "application/json")
	if pos.Aggregate != "" {
		w.Header().Set("Waybill-Position", pos.String())
	}
	w.WriteHeader(status)
	// The status is on its way: an error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(a)
}
