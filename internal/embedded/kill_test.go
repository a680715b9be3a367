package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/kafka"
)

// childDir names, in a child of the test binary, the data directory of the broker that
// the child is to be.
const (
	childDir    = "EMBEDDED_TEST_DIR"
	childListen = "EMBEDDED_TEST_LISTEN"
	childFsync  = "EMBEDDED_TEST_FSYNC"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) == "" {
		os.Exit(m.Run())
	}
	if err := beBroker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beBroker runs a broker until its standard input ends.
func beBroker() error {
	b, err := embedded.Start(context.Background(), embedded.Config{
		Dir:    os.Getenv(childDir),
		Listen: os.Getenv(childListen),
		Fsync:  os.Getenv(childFsync) != "",
	})
	if err != nil {
		return err
	}
	h := b.Healed()
	fmt.Printf("%s %t %d %d %d\n", b.Addr(), h.Unclean, h.Aborted, h.Markers, h.Took) //nolint:forbidigo // here the test binary is a command, and its parent reads this line
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, b.Close())
}

// child is a broker in a process of its own.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	addr   string
	healed embedded.Report
}

func startChild(t *testing.T, dir, listen string, fsync bool) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])}
	c.cmd.Env = append(os.Environ(), childDir+"="+dir, childListen+"="+listen)
	if fsync {
		c.cmd.Env = append(c.cmd.Env, childFsync+"=1")
	}
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the broker's process ended: %v", errors.Join(err, c.cmd.Wait()))
	}
	h := &c.healed
	if _, err := fmt.Sscan(line, &c.addr, &h.Unclean, &h.Aborted, &h.Markers, (*int64)(&h.Took)); err != nil {
		t.Fatalf("the broker's process says %q: %v", line, err)
	}
	return c
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.cmd.Wait() //nolint:errcheck // it was killed
}

func (c *child) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(c.stdin.Close(), c.cmd.Wait()); err != nil {
		t.Fatal(err)
	}
}

func TestKilledUnderLoadItKeepsWhatWasAcknowledgedAndNothingComesBack(t *testing.T) {
	for _, mode := range []struct {
		name  string
		fsync bool
		kills int
		// perKill is how many commits come between two kills: synced ones are slow.
		perKill int
	}{
		{"not synced", false, 6, 150},
		{"synced", true, 6, 40},
	} {
		t.Run(mode.name, func(t *testing.T) {
			l := &load{perKill: mode.perKill, acknowledged: make(chan struct{}, 1)}
			c := l.run(t, mode.fsync, mode.kills)
			defer c.stop(t)
			l.check(t)
		})
	}
}

const (
	loadShards     = 4
	loadPartitions = 2 // per shard and topic, so that there are more markers to tear
)

// load writes transactions to a broker that is killed again and again. Every record is
// written once and has a value of its own.
type load struct {
	perKill int
	cluster kafka.Config

	mu           sync.Mutex
	fates        map[string]fate
	commits      int
	acknowledged chan struct{}
}

// fate is what became of a record's transaction, as far as its producer knows.
type fate int

const (
	unknown fate = iota // the commit was never answered
	committedFate
	abortedFate
)

func (l *load) run(t *testing.T, fsync bool, kills int) *child {
	t.Helper()
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0", fsync)
	l.cluster = kafka.Config{Brokers: []string{c.addr}, Embedded: true}
	l.fates = make(map[string]fate)
	createLoadTopics(t, l.cluster)

	enough := make(chan struct{})
	var writers sync.WaitGroup
	for s := range int32(loadShards) {
		writers.Go(func() { l.write(t, s, enough) })
	}
	var aborted, markers int
	var longest time.Duration
	for range kills {
		l.await(t, l.perKill)
		c.kill(t)
		c = startChild(t, dir, c.addr, fsync)
		if !c.healed.Unclean {
			t.Error("a start after a kill took the stop for a clean one")
		}
		aborted += c.healed.Aborted
		markers += c.healed.Markers
		longest = max(longest, c.healed.Took)
	}
	l.await(t, l.perKill)
	close(enough)
	writers.Wait()
	c.stop(t)
	c = startChild(t, dir, c.addr, fsync)
	if c.healed.Unclean {
		t.Error("a start after a clean stop took it for a kill")
	}
	t.Logf("%d kills, %d commits acknowledged, %d transactions healed with %d markers, the longest healing took %s", kills, l.commits, aborted, markers, longest.Round(time.Millisecond))
	return c
}

func createLoadTopics(t *testing.T, cluster kafka.Config) {
	t.Helper()
	cl := client(t, cluster)
	defer cl.Close()
	for _, topic := range []string{"events", "outputs"} {
		spec := kafka.Spec{Name: topic, Partitions: loadShards * loadPartitions}
		if err := kafka.EnsureTopics(t.Context(), cl, []kafka.Spec{spec}); err != nil {
			t.Fatal(err)
		}
	}
}

// await returns once n more commits were acknowledged.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(time.Minute)
	l.mu.Lock()
	goal := l.commits + n
	l.mu.Unlock()
	for {
		l.mu.Lock()
		reached := l.commits >= goal
		l.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-l.acknowledged:
		case <-deadline:
			t.Fatalf("%d commits did not come within a minute", n)
		}
	}
}

// write is the owner of one shard: after any error it takes its own shard over. It
// leaves no transaction open.
func (l *load) write(t *testing.T, shard int32, enough <-chan struct{}) {
	t.Helper()
	done := func() bool {
		select {
		case <-enough:
			return true
		default:
			return false
		}
	}
	for n := 0; !done(); {
		cl, err := l.cluster.NewClient(
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.TransactionalID(fmt.Sprintf("shard-%d", shard)),
			kgo.TransactionTimeout(10*time.Second),
			// The broker is back in a moment.
			kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		)
		if err != nil {
			t.Error(err)
			return
		}
		for !done() && l.transaction(t.Context(), cl, shard, n) == nil {
			n++
		}
		n++
		cl.Close()
	}
}

func (l *load) transaction(ctx context.Context, cl *kgo.Client, shard int32, n int) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	var records []*kgo.Record
	for _, topic := range []string{"events", "outputs"} {
		for p := range int32(loadPartitions) {
			for i := range 3 {
				records = append(records, record(topic, shard*loadPartitions+p, fmt.Sprintf("%s/%d/%d/%d/%d", topic, shard, p, n, i)))
			}
		}
	}
	commit := n%10 != 9
	if commit {
		l.remember(records, unknown)
	} else {
		l.remember(records, abortedFate)
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	if err := cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
		return err
	}
	if commit {
		l.remember(records, committedFate)
	}
	return nil
}

func (l *load) remember(records []*kgo.Record, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.fates[string(r.Value)] = f
	}
	if f == committedFate {
		l.commits++
		select {
		case l.acknowledged <- struct{}{}:
		default:
		}
	}
}

// check reads everything and compares it with what the producers know.
func (l *load) check(t *testing.T) {
	t.Helper()
	seen := make(map[string]int)
	for _, topic := range []string{"events", "outputs"} {
		for p := range int32(loadShards * loadPartitions) {
			for _, value := range committed(t, l.cluster, topic, p) {
				if !strings.HasPrefix(value, topic) {
					t.Errorf("%s is in %s", value, topic)
				}
				seen[value]++
			}
		}
	}
	var lost, back, twice int
	for value, f := range l.fates {
		n := seen[value]
		switch {
		case n > 1:
			twice++
		case f == committedFate && n == 0:
			lost++
		case f == abortedFate && n > 0:
			back++
		}
	}
	if lost+back+twice > 0 {
		t.Errorf("of %d records %d acknowledged ones are lost, %d aborted ones came back, %d are there twice", len(l.fates), lost, back, twice)
	}
	t.Logf("%d records written, %d committed and there", len(l.fates), len(seen))
}
