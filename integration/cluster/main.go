package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/waybill/waybill/integration/internal/cluster"
)

// limit is when to give up.
const limit = 8 * time.Minute

func main() {
	only := flag.String("only", "", "packages to run, separated by commas; all of them unless given")
	full := flag.Bool("full", false, "run the slow ones, too")
	share := flag.String("share", "", "of the long suites only every other test, "+even+" or "+odd+": somebody else runs the others")
	flag.Parse()
	if !slices.Contains([]string{"", even, odd}, *share) {
		fmt.Fprintf(os.Stderr, "cluster: -share %s: want %s or %s\n", *share, even, odd)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("given up after %s", limit))
	err := run(ctx, *only, *full, *share)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, full bool, share string) error {
	if len(cluster.Brokers()) == 0 {
		return fmt.Errorf("%s names no brokers: the script run gets some", cluster.BrokersVariable)
	}
	if err := nothingForgotten(ctx); err != nil {
		return err
	}
	began := time.Now()
	var failed []string
	tests := 0
	for _, s := range suites {
		if only != "" && !slices.Contains(strings.Split(only, ","), s.pkg) {
			continue
		}
		n, err := s.run(ctx, full, share)
		tests += n
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return errors.Join(err, context.Cause(ctx))
		default:
			fmt.Printf("  %s: FAILED\n", s.pkg)
			failed = append(failed, fmt.Sprintf("%s: %v", s.pkg, err))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, "\n"))
	}
	fmt.Printf("%d tests passed on it within %.1f s\n", tests, time.Since(began).Seconds())
	return nil
}
