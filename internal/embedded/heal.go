package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Report says what a start did after an unclean stop. The zero Report means that the
// last stop was clean and nothing had to be done.
type Report struct {
	// Unclean says that the last stop was a kill or a crash.
	Unclean bool
	// Aborted counts the transactions that had no end in some partition and were
	// given an abort marker there, and Markers those markers.
	Aborted, Markers int
	// Fenced counts the transactional IDs whose producers cannot go on.
	Fenced int
	// DroppedBytes is how much at the ends of files was no whole record batch, and so
	// had not been acknowledged unless the machine died.
	DroppedBytes int64
	// Took is how long all of it took.
	Took time.Duration
}

// heal makes the data directory of a broker that was killed fit to be opened: every
// transaction has an end on the log, and every transactional producer from before is
// fenced. It starts the cluster where nobody can reach it and closes it again. A kill
// in the middle is healed by the next start.
func heal(ctx context.Context, cfg Config, log *logger) (Report, error) {
	began := time.Now()
	found, err := repairFiles(cfg.Dir)
	if err != nil {
		return Report{}, err
	}
	if err := dropSupersededProducers(cfg.Dir); err != nil {
		return Report{}, err
	}
	var private kfake.VirtualNetwork
	ln, err := private.Listen("tcp", "127.0.0.1:1")
	if err != nil {
		return Report{}, err
	}
	cluster, err := newCluster(cfg, ln, log)
	if err != nil {
		return Report{}, err
	}
	defer cluster.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(ln.Addr().String()), kgo.Dialer(private.DialContext))
	if err != nil {
		return Report{}, err
	}
	defer cl.Close()

	report := Report{Unclean: true, Aborted: transactions(found.open), Markers: len(found.open), DroppedBytes: found.dropped}
	if err := abort(ctx, kadm.NewClient(cl), found.open); err != nil {
		return Report{}, err
	}
	if report.Fenced, err = fenceAll(ctx, cl); err != nil {
		return Report{}, err
	}
	if err := restoreGroups(ctx, cfg.Dir, cluster, cl); err != nil {
		return Report{}, err
	}
	cl.Close()
	log.keep()
	cluster.Close()
	report.Took = time.Since(began)
	return report, log.kept()
}

func transactions(open []openTransaction) int {
	producers := make(map[int64]struct{})
	for _, o := range open {
		producers[o.producerID] = struct{}{}
	}
	return len(producers)
}

// abort writes the end that each of the transactions lacks.
func abort(ctx context.Context, adm *kadm.Client, open []openTransaction) error {
	if len(open) == 0 {
		return nil
	}
	byProducer := make(map[int64]kadm.TxnMarkers)
	for _, o := range open {
		m, ok := byProducer[o.producerID]
		if !ok {
			m = kadm.TxnMarkers{ProducerID: o.producerID, ProducerEpoch: o.producerEpoch, Topics: make(kadm.TopicsSet)}
		}
		m.ProducerEpoch = max(m.ProducerEpoch, o.producerEpoch)
		m.Topics.Add(o.topic, o.partition)
		byProducer[o.producerID] = m
	}
	markers := make([]kadm.TxnMarkers, 0, len(byProducer))
	for _, m := range byProducer {
		markers = append(markers, m)
	}
	written, err := adm.WriteTxnMarkers(ctx, markers...)
	if err != nil {
		return fmt.Errorf("abort %d transactions left open: %w", len(markers), err)
	}
	var failed error
	written.EachPartition(func(r kadm.TxnMarkersPartitionResponse) {
		// A kill in the middle of deleting a topic leaves files without a topic.
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			failed = errors.Join(failed, fmt.Errorf("abort the transaction of producer %d in partition %d of %s: %w", r.ProducerID, r.Partition, r.Topic, r.Err))
		}
	})
	return failed
}

// fenceAll fences every transactional producer that the broker knows.
//
// A producer that outlived the broker asks again for the commit it got no answer to. The
// broker remembers of that transaction at best that it is over, not how it ended, and
// would call an aborted one committed if the producer's epoch is its own or the one
// before. So each is raised twice: the producer learns that it is fenced, and whoever
// takes its ID over finds out from the log what was committed.
func fenceAll(ctx context.Context, cl *kgo.Client) (int, error) {
	known, err := kadm.NewClient(cl).DescribeTransactions(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the transactional IDs: %w", err)
	}
	for _, d := range known {
		if d.Err != nil {
			return 0, fmt.Errorf("describe transactional ID %s: %w", d.TxnID, d.Err)
		}
		for range 2 {
			if err := initProducer(ctx, cl, d); err != nil {
				return 0, fmt.Errorf("fence transactional ID %s: %w", d.TxnID, err)
			}
		}
	}
	return len(known), nil
}

func initProducer(ctx context.Context, cl *kgo.Client, d kadm.DescribedTransaction) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &d.TxnID
	req.TransactionTimeoutMillis = d.TimeoutMillis
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}
