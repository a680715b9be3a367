package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/audit"
	"github.com/waybill/waybill/internal/kafka"
)

// settings are what the flags say.
type settings struct {
	brokers, prefix, db, secrets, dump string
	embedded, quiet, letters           bool
}

func main() {
	var s settings
	flag.StringVar(&s.brokers, "brokers", "127.0.0.1:9092", "where the log is, host:port,…")
	flag.StringVar(&s.prefix, "prefix", "", "first part of the topics' names; empty: "+kafka.DefaultPrefix)
	flag.StringVar(&s.db, "db", "", "file of a projection on this machine, to be held against a fresh one")
	flag.StringVar(&s.secrets, "secrets", "", "file of texts, one a line, that must stand nowhere")
	flag.StringVar(&s.dump, "dump", "", "file to write all records to, one a line")
	flag.BoolVar(&s.embedded, "embedded", false, "the broker is the embedded one: repeats under the same id are counted, not reported")
	flag.BoolVar(&s.quiet, "quiet", false, "nobody sends commands: every one must be decided by now")
	flag.BoolVar(&s.letters, "deadletters", false, "dead letters may be there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	secrets, err := lines(s.secrets)
	if err != nil {
		return err
	}
	cfg := kafka.Config{Brokers: strings.Split(s.brokers, ","), Prefix: s.prefix, ClientID: "waybill-check", Embedded: s.embedded}
	log, err := audit.ReadLog(ctx, cfg)
	if err != nil {
		return err
	}
	if s.dump != "" {
		if err := written(log, s.dump); err != nil {
			return err
		}
	}
	report := audit.Check(log, audit.Options{Embedded: s.embedded, Quiet: s.quiet, Now: time.Now(), Secrets: secrets, DeadLetters: s.letters})
	fmt.Println(report)
	wrongs := report.Wrongs
	if s.db != "" {
		found, err := rows(ctx, cfg, s.db)
		if err != nil {
			return err
		}
		wrongs = append(wrongs, found...)
	}
	audit.Print(os.Stdout, audit.Sentences(wrongs))
	if len(wrongs) > 0 {
		return fmt.Errorf("%d things are wrong", len(wrongs))
	}
	return nil
}

// rows holds a projection against a fresh one.
func rows(ctx context.Context, cfg kafka.Config, path string) (found []audit.Wrong, err error) {
	dir, err := os.MkdirTemp("", "waybill-check-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	found, n, err := audit.Projection(ctx, cfg, path, dir)
	if err == nil {
		fmt.Printf("%d rows of %s held against a fresh replay\n", n, path)
	}
	return found, err
}

func written(log *audit.Log, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(log.Dump(f), f.Close())
}

// lines are those of a file that have something in them.
func lines(path string) (l []string, err error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	for text := range strings.Lines(string(data)) {
		if text = strings.TrimSpace(text); text != "" {
			l = append(l, text)
		}
	}
	return l, err
}
