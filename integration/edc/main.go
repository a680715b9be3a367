package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

// sizes are how much of everything a run does.
type sizes struct {
	jobs   int // at once
	random int // kills, pauses and restarts
	stock  int // negotiations of connectors that end some by themselves
	table  bool
}

func sizesOf(full bool) sizes {
	if full {
		return sizes{jobs: 200, random: 50, stock: 200, table: true}
	}
	return sizes{jobs: 60, random: 3, stock: 20}
}

// scenario is what its parts share.
type scenario struct {
	sizes
	dir, bin  string
	kafka     *stage.Kafka
	started   string // file
	rnd       *rand.Rand
	peers     *connectors
	main      *server // of the parts that need none of their own
	sinks     sinks
	apiKeyJWT string // of what a provisioner makes: a secret
	servers   []*server
	also      []*server // whose data is searched beside the main one's
	wrong     audit.Wrongs
}

// part is one thing that is shown.
type part struct {
	name string
	play func(context.Context) error
}

func (s *scenario) parts() []part {
	return []part{
		{"tree", s.tree},
		{"together", s.together},
		{"registry", s.registry},
		{"outcomes", s.outcomes},
		{"older", s.older},
		{"push", s.pushes},
		{"many", s.many},
		{"uncalled", s.uncalled},
		{"unanswered", s.unanswered},
		{"crashed", s.crashed},
		{"secrets", s.secrets},
		{"forgotten", s.forgotten},
		{"struck", s.struck},
		{"random", s.atRandom},
		{"stock", s.stockConnectors},
	}
}

func main() {
	started := flag.String("started", "", "a file that takes the directories of the connectors that are started")
	full := flag.Bool("full", false, "everything, in full numbers: some 20 minutes")
	only := flag.String("only", "", "the names of some parts, with commas between them")
	seed := flag.Uint64("seed", rand.Uint64()>>1, "what to draw from") //nolint:gosec // no secret
	k := stage.NewKafka("edc")
	flags := stage.NewFlags(40 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("edc", func(ctx context.Context, on stage.Stage) error {
		fmt.Printf("real connectors (%s): seed %d\n", k, *seed)
		s := &scenario{kafka: k, sizes: sizesOf(*full), dir: on.Dir, started: *started, rnd: rand.New(rand.NewPCG(*seed, 1)), apiKeyJWT: crand.Text()} //nolint:gosec // the same from the same seed
		return errors.Join(s.run(ctx, strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })), k.Clear(ctx))
	}))
}

// run plays the parts that were chosen, all where none was.
func (s *scenario) run(ctx context.Context, only []string) (err error) {
	parts := s.parts()
	for _, name := range only {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("no part is called %s", name)
		}
	}
	defer s.sinks.close()
	if s.bin, err = process.Build(ctx, s.dir); err != nil {
		return err
	}
	s.peers, err = s.startConnectors(ctx, "connectors", 40)
	defer func() { err = errors.Join(err, s.peers.stop(ctx)) }()
	if err != nil {
		return err
	}
	if s.main, err = s.serve(ctx, "main", s.peers, nil); err != nil {
		return err
	}
	for _, p := range parts {
		if len(only) > 0 && !slices.Contains(only, p.name) {
			continue
		}
		began := time.Now()
		fmt.Printf("%s:\n", p.name)
		if err := p.play(ctx); err != nil {
			s.wrong.Add("%s: %v", p.name, err)
		}
		fmt.Printf("  took %.1f s\n", time.Since(began).Seconds())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return s.wrong.Report(os.Stdout)
}
