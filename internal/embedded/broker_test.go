package embedded_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/internal/embedded"
	"github.com/waybill/waybill/internal/embedded/embeddedtest"
	"github.com/waybill/waybill/internal/embedded/internal/segment"
	"github.com/waybill/waybill/internal/kafka"
)

func TestACleanStopKeepsEverythingAndTheNextStartHasNothingToHeal(t *testing.T) {
	for _, fsync := range []bool{false, true} {
		t.Run(fmt.Sprintf("fsync %t", fsync), func(t *testing.T) {
			cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Fsync: fsync}
			b, cluster := open(t, cfg)
			createTopics(t, cluster, "events")
			commit(t, cluster, "a", record("events", 0, "one"))
			stop(t, b)

			b, cluster = open(t, cfg)
			if b.Healed() != (embedded.Report{}) {
				t.Errorf("a start after a clean stop healed: %+v", b.Healed())
			}
			wantRecords(t, cluster, "events", 0, "one")
		})
	}
}

func TestATornTransactionNeverComesBack(t *testing.T) {
	dir, b, cluster := tornTransaction(t)
	if h := b.Healed(); !h.Unclean || h.Aborted != 1 || h.Markers != 1 {
		t.Errorf("one transaction lacked one marker, the start says %+v", h)
	}
	wantRecords(t, cluster, "events", 0, "one", "two")
	wantRecords(t, cluster, "outputs", 0, "one")

	// The next commit of the same producer is what brought such records back.
	commit(t, cluster, "a", record("outputs", 0, "three"))
	wantRecords(t, cluster, "outputs", 0, "one", "three")

	stop(t, b)
	_, cluster = open(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	wantRecords(t, cluster, "outputs", 0, "one", "three")

	// A kill makes the broker forget everything but the log.
	_, cluster = open(t, killed(t, dir))
	wantRecords(t, cluster, "outputs", 0, "one", "three")
}

// tornTransaction commits "one" and "two" to two topics, tears the second commit, and
// starts the broker again.
func tornTransaction(t *testing.T) (string, *embedded.Broker, kafka.Config) {
	t.Helper()
	cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	b, cluster := open(t, cfg)
	createTopics(t, cluster, "events", "outputs")
	commit(t, cluster, "a", record("events", 0, "one"), record("outputs", 0, "one"))
	commit(t, cluster, "a", record("events", 0, "two"), record("outputs", 0, "two"))
	stop(t, b)
	embeddedtest.CutLastMarker(t, cfg.Dir, "outputs", 0)
	b, cluster = open(t, cfg)
	return cfg.Dir, b, cluster
}

func TestABatchWhoseIndexEntryWasCutOffIsNotTakenForCommitted(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	b, cluster := open(t, cfg)
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	abandon(t, cluster, "a", record("events", 0, "lost"))
	cfg = killed(t, b.Dir())
	cutLastIndexEntry(t, cfg.Dir, "events", 0)

	b, cluster = open(t, cfg)
	if h := b.Healed(); h.Aborted != 1 {
		t.Errorf("one transaction was open, the start says %+v", h)
	}
	wantRecords(t, cluster, "events", 0, "one")
	commit(t, cluster, "a", record("events", 0, "two"))
	wantRecords(t, cluster, "events", 0, "one", "two")
}

func TestATransactionOpenAtACleanStopIsAbortedByAKillAfterwards(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	b, cluster := open(t, cfg)
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	abandon(t, cluster, "a", record("events", 0, "lost"))
	stop(t, b)
	open(t, cfg)
	cfg = killed(t, cfg.Dir)

	b, cluster = open(t, cfg)
	if h := b.Healed(); h.Aborted != 1 {
		t.Errorf("one transaction was open, the start says %+v", h)
	}
	wantRecords(t, cluster, "events", 0, "one")
	stop(t, b)
	_, cluster = open(t, cfg)
	wantRecords(t, cluster, "events", 0, "one")
}

func TestABatchThatIsCutShortIsDropped(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	b, cluster := open(t, cfg)
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	commit(t, cluster, "a", record("events", 0, "two"))
	stop(t, b)
	path := lastSegment(t, cfg.Dir, "events", 0).Path
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-3); err != nil {
		t.Fatal(err)
	}

	b, cluster = open(t, cfg)
	if h := b.Healed(); h.Aborted != 1 {
		t.Errorf("the last commit was cut short, the start says %+v", h)
	}
	commit(t, cluster, "a", record("events", 0, "three"))
	wantRecords(t, cluster, "events", 0, "one", "three")
}

// The broker would cut the file where the damage is, and all that was acknowledged behind it.
func TestADamagedFileIsRefusedAndLeftAsItIs(t *testing.T) {
	for name, clean := range map[string]bool{"after a kill": false, "after a clean stop": true} {
		t.Run(name, func(t *testing.T) {
			cfg := embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
			b, cluster := open(t, cfg)
			createTopics(t, cluster, "events")
			for _, name := range []string{"one", "two", "three"} {
				commit(t, cluster, "a", record("events", 0, name))
			}
			if clean {
				stop(t, b)
			} else {
				cfg = killed(t, b.Dir())
			}
			path := lastSegment(t, cfg.Dir, "events", 0).Path
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(whole, []byte("two"))
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0xff
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // trying again changes nothing
				_, err := embedded.Start(t.Context(), cfg)
				var why *embedded.DamagedError
				if !errors.As(err, &why) || why.Path != path || why.At == 0 || why.At >= int64(at) {
					t.Fatalf("the start says %v, want where the damage begins, before byte %d", err, at)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
				t.Fatalf("the file was changed: %v", err)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			_, cluster = open(t, cfg)
			wantRecords(t, cluster, "events", 0, "one", "two", "three")
		})
	}
}

func TestALogOfManySegmentsSurvivesAKill(t *testing.T) {
	b, cluster := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopics(t, cluster, "events")
	large := func(name string) *kgo.Record { return record("events", 0, name+padding+strings.Repeat("x", 900<<10)) }
	var want []string
	for i := range 10 {
		commit(t, cluster, "a", large(fmt.Sprint(i)))
		abandon(t, cluster, "b", large("aborted")) // by the next of its ID
		want = append(want, fmt.Sprint(i))
	}
	cfg := killed(t, b.Dir())
	if n := lastSegment(t, cfg.Dir, "events", 0).BaseOffset; n == 0 {
		t.Fatal("the log has only one segment")
	}
	b, cluster = open(t, cfg)
	if h := b.Healed(); h.Aborted != 1 || h.DroppedBytes != 0 {
		t.Errorf("one transaction was open, the start says %+v", h)
	}
	wantRecords(t, cluster, "events", 0, want...)
	commit(t, cluster, "b", record("events", 0, "last"))
	stop(t, b)
	_, cluster = open(t, cfg)
	wantRecords(t, cluster, "events", 0, append(want, "last")...)
}

func TestATransactionalIDKeepsItsNewestProducerAfterAKill(t *testing.T) {
	b, cluster := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	cfg := killed(t, b.Dir())
	// As if the epochs of the first producer of "a" had been used up.
	path := filepath.Join(cfg.Dir, "pids.log")
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := logEntry(`{"type":"init","pid":7,"epoch":32766,"txid":"a","timeout":10000}`)
	if err := os.WriteFile(path, append(older, log...), 0o600); err != nil {
		t.Fatal(err)
	}

	b, _ = open(t, cfg)
	stop(t, b)
	log, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), `"txid":"a"`); n != 1 {
		t.Errorf("the broker knows %d producers of one transactional ID", n)
	}
	if strings.Contains(string(log), `"pid":7,`) {
		t.Error("the broker knows a producer that had been superseded")
	}
}

// logEntry frames an entry as the broker's log of producers does.
func logEntry(json string) []byte {
	e := make([]byte, 10, 10+len(json))
	binary.LittleEndian.PutUint32(e, uint32(2+len(json)))
	binary.LittleEndian.PutUint16(e[8:], 1)
	e = append(e, json...)
	binary.LittleEndian.PutUint32(e[4:], crc32.Checksum(e[8:], crc32.MakeTable(crc32.Castagnoli)))
	return e
}

func TestADirectoryInUseIsSaidInOneLineWithTheProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	wantError(t, err, fmt.Sprintf("data directory %s is in use by process %d: stop that process or name another directory with --data", dir, os.Getpid()))
}

func TestAPortInUseIsSaidInOneLineWithTheFlag(t *testing.T) {
	b, _ := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	dir := t.TempDir()
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir, Listen: b.Addr()})
	wantError(t, err, b.Addr()+" is in use by another program: choose another address with --kafka-listen host:port (port 0 takes a free one)")
	// The directory is free again.
	open(t, embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
}

func TestAnAddressThatClientsCannotConnectToIsRefused(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:9092", ":9092", "[::]:9092"} {
		_, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Listen: listen})
		wantError(t, err, "--kafka-listen "+listen+": clients are told to connect to this address, so it must name one host")
	}
}

func TestItHealsInFakeTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		cfg := embedded.Config{Dir: dir, Listen: "127.0.0.1:9092", ListenFn: network.Listen}
		start := func() (*embedded.Broker, kafka.Config) {
			b, cluster := open(t, cfg)
			cluster.Dial = network.DialContext
			return b, cluster
		}
		b, cluster := start()
		createTopics(t, cluster, "events")
		commit(t, cluster, "a", record("events", 0, "one"))
		stop(t, b)
		embeddedtest.CutLastMarker(t, dir, "events", 0)
		b, cluster = start()
		if b.Healed().Aborted != 1 {
			t.Errorf("one transaction was torn, the start says %+v", b.Healed())
		}
		wantRecords(t, cluster, "events", 0)
	})
}

func TestACommitThatAKillUndidIsNotAcknowledgedAfterwards(t *testing.T) {
	b, cluster := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	cl := abandon(t, cluster, "a", record("events", 0, "lost"))
	cfg := killed(t, b.Dir())
	cfg.Listen = b.Addr()
	stop(t, b)
	_, cluster = open(t, cfg)
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("the commit that a kill undid is answered %v, want %v", err, kerr.ProducerFenced)
	}
	wantRecords(t, cluster, "events", 0, "one")
}

func TestACommitOfNothingButOffsetsThatAKillUndidIsNotAcknowledgedAfterwards(t *testing.T) {
	b, cluster := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopics(t, cluster, "events")
	commit(t, cluster, "a", record("events", 0, "one"))
	cl := client(t, cluster, kgo.TransactionalID("a"), kgo.TransactionTimeout(10*time.Second))
	id, epoch, err := cl.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	offsets := kmsg.NewPtrAddOffsetsToTxnRequest()
	offsets.TransactionalID, offsets.ProducerID, offsets.ProducerEpoch, offsets.Group = "a", id, epoch, "readers"
	if resp, err := offsets.RequestWith(t.Context(), cl); err != nil || resp.ErrorCode != 0 {
		t.Fatal(err, kerr.ErrorForCode(resp.ErrorCode))
	}
	cfg := killed(t, b.Dir())
	cfg.Listen = b.Addr()
	stop(t, b)
	open(t, cfg)
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = "a", id, epoch, true
	resp, err := end.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.ProducerFenced) {
		t.Errorf("the commit that a kill undid is answered %v, want %v", err, kerr.ProducerFenced)
	}
}

func TestAnAnswerThatIsFullKeepsWhatWasAbortedFromReaders(t *testing.T) {
	_, cluster := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	createTopics(t, cluster, "events")
	large := strings.Repeat(padding, 50_000)
	for partition := range int32(2) {
		commit(t, cluster, "a", record("events", partition, large))
		cl := abandon(t, cluster, "a", record("events", partition, "aborted"))
		if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		cl.Close()
		commit(t, cluster, "a", record("events", partition, large))
	}
	// Up to the abort and into what comes after it, of both partitions together.
	for _, most := range []int32{60_000, 110_000, 160_000} {
		cl := client(t, cluster, kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(most), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		for n := 0; n < 4; {
			fetches := cl.PollFetches(t.Context())
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if n++; string(r.Value) != large {
					t.Errorf("an answer of %d bytes has the aborted record of partition %d", most, r.Partition)
				}
			})
		}
		cl.Close()
	}
}

// What the tests above are written with.

func open(t *testing.T, cfg embedded.Config) (*embedded.Broker, kafka.Config) {
	t.Helper()
	b, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b, kafka.Config{Brokers: []string{b.Addr()}, Embedded: true}
}

func stop(t *testing.T, b *embedded.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// killed is what a kill at this moment would leave of the broker that runs on dir.
func killed(t *testing.T, dir string) embedded.Config {
	t.Helper()
	left := t.TempDir()
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return embedded.Config{Dir: left, Listen: "127.0.0.1:0"}
}

func lastSegment(t *testing.T, dir, topic string, partition int32) segment.Segment {
	t.Helper()
	all, err := segment.Partition{Dir: segment.Dir(dir, topic, partition)}.Segments()
	if err != nil || len(all) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	return all[len(all)-1]
}

// cutLastIndexEntry is a kill between the write of a batch and that of its entry.
func cutLastIndexEntry(t *testing.T, dir, topic string, partition int32) {
	t.Helper()
	path := lastSegment(t, dir, topic, partition).Index()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-segment.EntryBytes); err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, cluster kafka.Config, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := cluster.NewClient(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopics(t *testing.T, cluster kafka.Config, topics ...string) {
	t.Helper()
	cl := client(t, cluster)
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopics(t.Context(), 2, -1, nil, topics...); err != nil {
		t.Fatal(err)
	}
}

func record(topic string, partition int32, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
}

// abandon produces records in a transaction of the ID and leaves it open.
func abandon(t *testing.T, cluster kafka.Config, id string, records ...*kgo.Record) *kgo.Client {
	t.Helper()
	cl := client(t, cluster, kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Second))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return cl
}

func commit(t *testing.T, cluster kafka.Config, id string, records ...*kgo.Record) {
	t.Helper()
	cl := abandon(t, cluster, id, records...)
	defer cl.Close()
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// wantRecords checks what a reader of committed records finds in a partition.
func wantRecords(t *testing.T, cluster kafka.Config, topic string, partition int32, want ...string) {
	t.Helper()
	if got := committed(t, cluster, topic, partition); !slices.Equal(got, want) {
		t.Errorf("partition %d of %s holds %q, want %q", partition, topic, got, want)
	}
}

// ending is the value of the record that tells a reader where the end is; padding
// begins what only makes a record large.
const (
	ending  = "the end"
	padding = "|"
)

// committed reads a partition from its start to its end. The end is a record of its
// own, since markers and aborted records cannot be seen; endings of other calls are
// passed over.
func committed(t *testing.T, cluster kafka.Config, topic string, partition int32) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cl := client(t, cluster, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {partition: kgo.NewOffset().AtStart()},
	}))
	defer cl.Close()
	end, err := cl.ProduceSync(ctx, record(topic, partition, ending)).First()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("partition %d of %s ends after %d records, before offset %d: %v", partition, topic, len(got), end.Offset, err)
		}
		for _, r := range fetches.Records() {
			if r.Offset == end.Offset {
				return got
			}
			if value, _, _ := strings.Cut(string(r.Value), padding); value != ending {
				got = append(got, value)
			}
		}
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error is %v, want %s", err, want)
	}
}
