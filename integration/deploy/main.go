package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/stage"
)

type scenario struct {
	waybill         string // the binary that is in the images
	image, pipeline string // "" where there is no Docker engine
	dir             string
	pods            map[string]pod // by file and workload
	containers      []string       // what was started
	wrong           []string
}

func main() {
	s := &scenario{}
	flag.StringVar(&s.waybill, "waybill", "", "the static binary")
	flag.StringVar(&s.image, "image", "", "the image waybill")
	flag.StringVar(&s.pipeline, "pipeline", "", "the image waybill-pipeline")
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("deploy", s.run))
}

func (s *scenario) amiss(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *scenario) run(ctx context.Context, on stage.Stage) error {
	s.dir = on.Dir
	defer s.clean(ctx)
	fmt.Println("deployment:")
	steps := []func(context.Context) error{s.manifests}
	if s.image != "" {
		steps = append(steps, s.images, s.openToAll, s.cluster, s.pipelineAsItIs, s.pipelineEnds)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	audit.Print(os.Stdout, s.wrong)
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d things are wrong", len(s.wrong))
	}
	return nil
}
