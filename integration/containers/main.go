package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
)

const (
	// officialImage is what anybody can pull.
	officialImage = "apache/kafka:4.3.1"
	// startWithin is how long the container may take, pulled or not.
	startWithin = 3 * time.Minute
	// endWithin is how long the command has to end after it was told to, and then the container.
	endWithin = 20 * time.Second
)

func main() {
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "containers: which command?")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, flag.Args())
	stop()
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		os.Exit(max(1, failed.ExitCode()))
	case err != nil:
		fmt.Fprintln(os.Stderr, "containers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command []string) (err error) {
	image := os.Getenv("WAYBILL_TEST_KAFKA_IMAGE")
	if image == "" {
		image = officialImage
	}
	began := time.Now()
	c, err := start(ctx, image)
	if c != nil {
		defer func() {
			err = errors.Join(err, testcontainers.TerminateContainer(c, testcontainers.StopTimeout(endWithin)))
		}()
	}
	if err != nil {
		return err
	}
	brokers, err := c.Brokers(ctx)
	if err != nil {
		return err
	}
	at := strings.Join(brokers, ",")
	fmt.Printf("Kafka: %s in a container, at %s after %.1f s\n", image, at, time.Since(began).Seconds())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // what the program was asked to run
	cmd.Env = append(os.Environ(), "WAYBILL_TEST_BROKERS="+at)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endWithin
	return cmd.Run()
}

// settings are what differs from Kafka's defaults, which are meant for three nodes and more, and for
// patience.
var settings = map[string]string{
	"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                                   "false",
	"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":                                "5",
	"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":                        "5",
	"KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR":            "1",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":                       "1",
	"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS":                "3",
	"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":                                "1000",
}

// start starts the container. One that did not become a Kafka is returned as well, to be removed.
func start(ctx context.Context, image string) (*kafka.KafkaContainer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("no Kafka within %s", startWithin))
	defer cancel()
	c, err := kafka.Run(ctx, image,
		testcontainers.WithEnv(settings),
		testcontainers.WithFiles(official(image)...),
		testcontainers.WithLogger(log.Default()),
	)
	if err != nil {
		return c, fmt.Errorf("%s: %w", image, errors.Join(err, context.Cause(ctx)))
	}
	return c, nil
}
