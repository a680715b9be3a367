package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/cmd/waybill/internal/app"
	"github.com/waybill/waybill/cmd/waybill/internal/client"
	"github.com/waybill/waybill/consumers/completions"
	"github.com/waybill/waybill/domain/definition"
	"github.com/waybill/waybill/domain/orchestration"
	"github.com/waybill/waybill/producers"
	"github.com/waybill/waybill/schemas"
)

// Options say what to show. Zero values take the defaults.
type Options struct {
	Keep    bool          // stay up afterwards, until the context ends
	Delay   time.Duration // each provider takes so long to answer
	Fail    string        // the provider of this name answers 503 to whoever wants a document
	Plain   bool          // the providers want no contracts
	Partial bool          // let the job complete with what could be had
	Out     io.Writer     // nil discards
	// Terminal says that Out is one: progress is drawn in place.
	Terminal bool
	// Program is how the user calls this program, for the commands to try next; empty means
	// "waybill".
	Program string
}

// The demo's job, its first document, and the definition it uses with Fail.
const (
	jobID         = "demo"
	againID       = "demo-again" // the same job once more
	firstDocument = "test-document-1"
	impatientType = "parts-tree-demo"
	rootActivity  = "root" // of the built-in definition: retrieves the first document
)

// Retries with Fail: enough to see them, soon over.
const (
	failRetries   = 3
	failBaseDelay = 200 * time.Millisecond
)

// pollInterval is how often the projection is asked how far the job is.
const pollInterval = 20 * time.Millisecond

// catchUp is how long the projection may take to show an end that the completions topic
// has told.
const catchUp = 10 * time.Second

// JobError says that the job has ended otherwise than COMPLETED.
type JobError struct {
	ID     string
	State  orchestration.Phase
	Reason string
}

// Error implements error.
func (e *JobError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("job %s ended %s", e.ID, e.State)
	}
	return fmt.Sprintf("job %s ended %s: %s", e.ID, e.State, e.Reason)
}

// run is one demo.
type run struct {
	Options
	dir       string // temporary
	main      *app.Main
	client    *client.Client
	providers *providers
	ended     chan completions.Completion
	began     time.Time
}

// Run runs the demo. A job that does not complete is a *JobError. With Keep it returns
// only after ctx has ended, which then is no error.
func Run(ctx context.Context, o Options) (err error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Program == "" {
		o.Program = "waybill"
	}
	if o.Fail != "" && !slices.Contains(providerNames(), o.Fail) {
		return &app.UsageError{Err: fmt.Errorf("--fail %s: there is no such provider, only %s", o.Fail, strings.Join(providerNames(), ", "))}
	}
	if o.Delay < 0 {
		return &app.UsageError{Err: fmt.Errorf("--delay %s: want no less than 0s", o.Delay)}
	}
	r := &run{Options: o, ended: make(chan completions.Completion, 2), began: time.Now()}
	if r.dir, err = os.MkdirTemp("", "waybill-demo-"); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, r.tidy()) }()
	if r.providers, err = startProviders(ctx, r.dir, o); err != nil {
		return err
	}
	defer r.providers.close()
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.main.Close()) }()
	return r.show(ctx)
}

// start starts the program, as `waybill serve` would.
func (r *run) start(ctx context.Context) error {
	cfg := app.Config{Data: r.data(), Listen: "127.0.0.1:0", KafkaListen: "127.0.0.1:0"}
	r.providers.through(&cfg)
	r.main = app.New(cfg)
	if err := r.main.Start(ctx); err != nil {
		return err
	}
	var err error
	r.client, err = client.New(r.main.URL(), "")
	return err
}

func (r *run) data() string { return filepath.Join(r.dir, "data") }

// show runs the job and tells of it.
func (r *run) show(ctx context.Context) error {
	r.introduce()
	jobCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a part that fails would leave us waiting for nothing
		if err := r.main.Wait(jobCtx); err != nil {
			cancel(err)
		}
	}()
	verdict, err := r.jobs(jobCtx)
	if err != nil {
		if cause := context.Cause(jobCtx); cause != nil && ctx.Err() == nil {
			return cause
		}
		if ctx.Err() != nil {
			return errors.New("interrupted before the job had ended")
		}
		return err
	}
	r.next()
	if r.Keep {
		fmt.Fprintf(r.Out, "\nStill up at %s until Ctrl-C.\n", r.main.URL())
		verdict = errors.Join(verdict, r.main.Wait(ctx))
	}
	return verdict
}

// jobs runs the job and, where there are contracts and all went well, once more: then they
// are used that are there. The verdict is about the last.
func (r *run) jobs(ctx context.Context) (verdict, err error) {
	typ, err := r.jobType(ctx)
	if err != nil {
		return nil, err
	}
	failed, err := r.subscribe(ctx)
	if err != nil {
		return nil, err
	}
	ids := []string{jobID, againID}
	if r.Plain || r.Fail != "" {
		ids = ids[:1]
	}
	for _, id := range ids {
		if id == againID {
			fmt.Fprintln(r.Out, "\nThe same job once more, with what has been agreed:")
		}
		end, err := r.job(ctx, id, typ, failed)
		if err != nil {
			return nil, err
		}
		if verdict = r.tell(end); verdict != nil {
			return verdict, nil
		}
		if err := r.access(ctx); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// job publishes the start and follows the job to its end.
func (r *run) job(ctx context.Context, id, typ string, failed <-chan error) (completions.Completion, error) {
	var none completions.Completion
	if err := r.publish(ctx, id, typ); err != nil {
		return none, err
	}
	p := newProgress(r.Options, r.providers.list, firstDocument+" at "+r.providers.list[0].url)
	var end *completions.Completion
	var late <-chan time.Time
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return none, ctx.Err()
		case err := <-failed:
			return none, err
		case c := <-r.ended:
			end, late = &c, time.After(catchUp)
		case <-late:
			return none, fmt.Errorf("job %s has ended %s, but the projection does not show that after %s", id, end.State, catchUp)
		case <-tick.C:
		}
		history, err := r.history(ctx, id)
		if err != nil {
			return none, err
		}
		if err := p.take(history); err != nil {
			return none, err
		}
		p.draw(time.Now())
		if end != nil && p.ended {
			return *end, nil
		}
	}
}

// jobType is the built-in definition; with Fail one like it that gives up sooner.
func (r *run) jobType(ctx context.Context) (string, error) {
	if r.Fail == "" {
		return definition.PartsTree, nil
	}
	orchestrations, _ := definition.BuiltIns()
	i := slices.IndexFunc(orchestrations, func(o definition.Orchestration) bool { return o.Type == definition.PartsTree })
	if i < 0 {
		return "", fmt.Errorf("there is no definition %s built in", definition.PartsTree)
	}
	d, limit := orchestrations[i], failRetries
	d.Type, d.Version = impatientType, 0
	d.Activities[0].Retry = &definition.Retry{Limit: &limit, BaseDelay: definition.Duration(failBaseDelay)}
	raw, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	if _, err := r.client.Do(ctx, "PUT", "/v1/definitions/orchestrations/"+impatientType, nil, raw, nil); err != nil {
		return "", fmt.Errorf("put the definition %s: %w", impatientType, err)
	}
	fmt.Fprintf(r.Out, "\ndefinition %s put: %s, but tried again only %d times, first after %s\n", impatientType, definition.PartsTree, failRetries, failBaseDelay)
	return impatientType, nil
}

// subscribe returns when no completion will be missed; what ends the subscription early
// comes over the channel.
func (r *run) subscribe(ctx context.Context) (<-chan error, error) {
	failed, ready := make(chan error, 1), make(chan struct{})
	cfg := completions.Config{
		Kafka: r.main.Kafka(), IDs: []string{jobID, againID}, Ready: func() { close(ready) },
		Rejected: func(refused schemas.Rejected) error {
			return fmt.Errorf("the start was refused: %w", &refused.Refusal)
		},
	}
	go func() {
		err := completions.Subscribe(ctx, cfg, func(c completions.Completion) error {
			r.ended <- c
			return nil
		})
		if err != nil {
			failed <- err
		}
	}()
	select {
	case <-ready:
		return failed, nil
	case err := <-failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *run) publish(ctx context.Context, id, typ string) error {
	input, err := json.Marshal(map[string]string{
		"file": firstDocument, "connectorUrl": r.providers.list[0].url, "destination": id + ".txt",
	})
	if err != nil {
		return err
	}
	publisher, err := producers.New(r.main.Kafka())
	if err != nil {
		return err
	}
	defer publisher.Close()
	accepted, err := publisher.StartOrchestration(ctx, producers.Start{ID: id, Type: typ, Input: input, Partial: r.Partial})
	if err != nil {
		return err
	}
	fmt.Fprintf(r.Out, "\npublished %s of job %s (%s), at %s\n\n", schemas.OrchestrationStart, accepted.ID, typ, accepted.Position)
	return nil
}

// history asks the projection; that it has not heard of the job yet is no error.
func (r *run) history(ctx context.Context, id string) ([]event, error) {
	answer, err := r.client.Get(ctx, "/v1/jobs/"+id+"/events", url.Values{"limit": {"1000"}})
	var status *client.StatusError
	if errors.As(err, &status) && status.Status == 404 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var page struct {
		Items []event `json:"items"`
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return nil, fmt.Errorf("the history of job %s: %w", id, err)
	}
	return page.Items, nil
}

// tidy removes all but the result, which was promised to lie there.
func (r *run) tidy() error {
	if r.Keep {
		fmt.Fprintf(r.Out, "The data stays in %s: `%s serve --data %s` goes on with it.\n", r.dir, r.Program, r.data())
		return nil
	}
	if entries, err := os.ReadDir(filepath.Join(r.data(), "results")); err != nil || len(entries) == 0 {
		return os.RemoveAll(r.dir)
	}
	var errs []error
	for _, dir := range []string{r.dir, r.data()} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, e := range entries {
			if name := e.Name(); name != "data" && name != "results" {
				errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	return errors.Join(errs...)
}
