package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/waybill/waybill/integration/internal/api"
	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/integration/internal/process"
	"github.com/waybill/waybill/integration/internal/stage"
)

const (
	definition  = "deploy/pipeline/repository-pipeline.yaml"
	readyWithin = 30 * time.Second
	stopWithin  = 5 * time.Second
	account     = "waybill" // of Azurite, with a key made for this run
)

// paths say where the programs are.
type paths struct{ services, azurite string }

// service is one of the three.
type service struct {
	*process.Process
	name, address string
	args          []string
}

type scenario struct {
	paths
	dir, bin, server string
	storage          string // how to reach it
	kafka            *stage.Kafka
	repo             *repository
	log              *os.File
	api              *api.Client
	waybill          *process.Process
	download         *service
	upload           *service
	transform        *service
	gates            gates
	wrong            audit.Wrongs
}

func main() {
	var p paths
	flag.StringVar(&p.services, "services", "", "the program of integration/pipeline/services")
	flag.StringVar(&p.azurite, "azurite", "", "the package of npm")
	k := stage.NewKafka("pipeline")
	flags := stage.NewFlags(4 * time.Minute)
	flag.Parse()
	os.Exit(flags.Play("pipeline", func(ctx context.Context, on stage.Stage) error {
		return errors.Join(run(ctx, on, k, p), k.Clear(ctx))
	}))
}

func run(ctx context.Context, on stage.Stage, k *stage.Kafka, p paths) error {
	s := &scenario{paths: p, dir: on.Dir, kafka: k, log: on.Log}
	defer s.gates.close()
	fmt.Printf("the repository pipeline (%s):\n", k)
	for _, step := range []func(context.Context) error{s.makeRepository, s.startStorage, s.startServices, s.startWaybill, s.good, s.recovers, s.fails, s.stop} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.wrong.Report(os.Stdout)
}

// startStorage starts Azurite with an account of its own.
func (s *scenario) startStorage(ctx context.Context) error {
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	encoded := base64.StdEncoding.EncodeToString(key)
	began := time.Now()
	p, err := process.Start(ctx, process.Command{
		Path: "node", Args: []string{
			filepath.Join(s.azurite, "dist/src/blob/main.js"), "--blobHost", host, "--blobPort", port,
			"--location", filepath.Join(s.dir, "azurite"), "--silent", "--disableTelemetry",
			"--skipApiVersionCheck", // the SDK may be newer
		},
		Env: []string{"AZURITE_ACCOUNTS=" + account + ":" + encoded}, Log: s.log,
	})
	if err != nil {
		return err
	}
	if err := accepts(ctx, p, address); err != nil {
		return fmt.Errorf("azurite: %w", err)
	}
	fmt.Printf("  Azurite was ready after %.1f s\n", time.Since(began).Seconds())
	s.storage = fmt.Sprintf("AZURE_STORAGE_CONNECTION_STRING=DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=http://%s/%[1]s;", account, encoded, address)
	return nil
}

// accepts waits until somebody listens.
func accepts(ctx context.Context, p *process.Process, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.Done():
			return errors.Join(errors.New("it has ended; its output says why"), p.Err())
		default:
		}
		if err := api.Pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// startServices starts the three services.
func (s *scenario) startServices(ctx context.Context) error {
	clones := filepath.Join(s.dir, "clones")
	if err := os.Mkdir(clones, 0o700); err != nil {
		return err
	}
	s.download = &service{name: "download", args: []string{"-dir", clones}}
	s.upload = &service{name: "upload", args: []string{"-dir", clones}}
	s.transform = &service{name: "transform"}
	for _, srv := range []*service{s.download, s.upload, s.transform} {
		var err error
		if srv.address, err = process.FreeAddress(); err != nil {
			return err
		}
		if err := s.startService(ctx, srv); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) startService(ctx context.Context, srv *service) (err error) {
	args := append([]string{srv.name, "-listen", srv.address}, srv.args...)
	if srv.Process, err = process.Start(ctx, process.Command{Path: s.services, Args: args, Env: []string{s.storage}, Log: s.log}); err != nil {
		return err
	}
	if err := accepts(ctx, srv.Process, srv.address); err != nil {
		return fmt.Errorf("service %s: %w", srv.name, err)
	}
	return nil
}

// startWaybill starts the server and applies the definition, as a user would.
func (s *scenario) startWaybill(ctx context.Context) (err error) {
	if s.bin, err = process.Build(ctx, s.dir); err != nil {
		return err
	}
	listen, err := process.FreeAddress()
	if err != nil {
		return err
	}
	s.server = "http://" + listen
	s.waybill, err = process.Start(ctx, process.Command{
		Path: s.bin, Args: append([]string{"serve", "--data", filepath.Join(s.dir, "data"), "--listen", listen, "--allow", "127.0.0.1:*"}, s.kafka.Args("127.0.0.1:0")...), Log: s.log,
	})
	if err != nil {
		return err
	}
	s.api = api.New(s.server)
	if err := s.api.Ready(ctx); err != nil {
		return err
	}
	out, code, err := s.cli(ctx, "apply", "-f", definition)
	if err == nil && code != 0 {
		err = fmt.Errorf("waybill apply: exit %d: %s", code, out)
	}
	return err
}

func (s *scenario) stop(context.Context) error {
	_, err := s.waybill.Stop(stopWithin)
	return err
}
