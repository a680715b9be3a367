package seeds_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/schemas"
)

var (
	seeds = flag.Int("seeds", 4, "how many seeds are lived through")
	first = flag.Uint64("first", 1, "the first seed; the others follow it")
	dump  = flag.String("dump", "", "directory for the records of what was wrong")
)

// A few processes, each with machines and agents, live through two bad minutes: they sleep,
// are killed, come back, and every request of theirs may fail, come late, or be answered
// to nobody. Afterwards the log is held against its laws.
func TestSeeds(t *testing.T) {
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { live(t, seed) })
		})
	}
}

// life is what one seed brings.
type life struct {
	*world
	commands []command
	hits     int // misfortunes
}

func live(t *testing.T, seed uint64) {
	t.Helper()
	l := &life{world: newWorld(t, seed, seed%2 != 0, seed%4 < 2)}
	if seed%9 == 0 { // not often: what was let go of cannot be held against anything
		l.keep = 20 * time.Second
	}
	l.add(&process{name: "far", agents: true}).start()
	for i := range 2 + l.rng.IntN(2) {
		l.add(&process{name: "m" + strconv.Itoa(i), rows: i == 0}).start()
	}
	l.think()
	l.misfortunes(2 * time.Minute)
	back := make(map[string]command)
	for _, c := range l.commands {
		switch c.typ {
		case schemas.OrchestrationPause:
			back[c.key] = command{key: c.key, typ: schemas.OrchestrationResume, value: `{}`}
		case schemas.TransferSuspend:
			back[c.key] = command{aggregate: c.aggregate, key: c.key, typ: schemas.TransferResume, value: `{}`}
		}
	}
	l.ends(back)
	l.passes(latest) // nothing of what comes late may matter any more
	report := l.judge()
	if testing.Verbose() {
		kind := "real"
		if l.cfg.Embedded {
			kind = "embedded"
		}
		t.Logf("seed %d, as on the %s broker: %d misfortunes; %s", seed, kind, l.hits, report)
	}
}

// think thinks of what is going to be sent: starts of every kind, wrong ones,
// other bodies under an ID that is taken, cancels, and whatever operators say.
func (l *life) think() {
	types := []string{"chain", "mix", "mix", "wide", "tree", "hopeless", "undone", "undone", "documents", "documents", "unheard-of"}
	add := func(id, key, typ, value string) {
		l.commands = append(l.commands, command{id: id, key: key, typ: typ, value: value})
	}
	for i := range 40 {
		job := "job-" + strconv.Itoa(i) + strings.Repeat("x", l.rng.IntN(4))
		body := `{"type":"` + types[l.rng.IntN(len(types))] + `","input":{"n":` + strconv.Itoa(i) + `}}`
		add("start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, body)
		switch l.rng.IntN(8) {
		case 3:
			add("start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, `{"type":"mix","partial":true}`)
		case 0:
			add("other-start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, `{"type":"chain","partial":true}`)
		case 1:
			add("cancel-"+strconv.Itoa(i), job, schemas.OrchestrationCancel, `{"reason":"enough"}`)
		case 2:
			add("same-start-"+strconv.Itoa(i), job, schemas.OrchestrationStart, body)
		case 4:
			l.transfer(i)
		}
		for n := range l.rng.IntN(4) {
			typ, value := l.word()
			// Some time later, to whatever has become of an earlier one.
			if earlier := l.commands[l.rng.IntN(len(l.commands))]; earlier.aggregate == "" {
				add(fmt.Sprintf("word-%d-%d", i, n), earlier.key, typ, value)
			}
		}
	}
	add("stray", "nobody", schemas.OrchestrationCancel, `{}`)
	add("strange", "nobody", "orchestration.fly.v1", `{}`)
}

// transfer is one that no activity has asked for, and mostly somebody's word on it.
func (l *life) transfer(i int) {
	id := "transfer-" + strconv.Itoa(i)
	provider := []string{plainProvider, edcProvider}[l.rng.IntN(2)]
	add := func(what, typ, value string) {
		l.commands = append(l.commands, command{aggregate: schemas.AggregateTransfer, id: what + "-" + id, key: id, typ: typ, value: value})
	}
	add("initiate", schemas.TransferInitiate, `{"provider":"`+provider+`","assetId":"asset-`+strconv.Itoa(l.rng.IntN(3))+`"}`)
	switch l.rng.IntN(4) {
	case 0:
		add("terminate", schemas.TransferTerminate, `{"reason":"enough"}`)
	case 1:
		add("suspend", schemas.TransferSuspend, `{"reason":"lunch"}`)
		add("resume", schemas.TransferResume, `{}`)
	case 2:
		add("deprovision", schemas.TransferDeprovision, `{}`)
	}
}

// word is what an operator says, of whatever activity.
func (l *life) word() (typ, value string) {
	ids := []string{"a", "b", "first", "slow", "far", "wait", "flaky", "fails", "fails", "root", "tree", "s0", "f1", "last", "plain", "behind", "access", "far~dispose", "first~dispose"}
	id := strconv.Quote(ids[l.rng.IntN(len(ids))])
	switch l.rng.IntN(14) {
	case 0, 1:
		return schemas.OrchestrationPause, `{"reason":"lunch"}`
	case 2:
		return schemas.OrchestrationResume, `{}`
	case 3, 4:
		return schemas.OrchestrationRerun, `{"by":"kim"}`
	case 5:
		return schemas.OrchestrationRerun, `{"from":` + id + `}`
	case 6:
		return schemas.OrchestrationDispose, `{"by":"kim"}`
	case 7:
		return schemas.OrchestrationCancel, `{"reason":"enough"}`
	case 8:
		return schemas.ActivitySkip, `{"activityId":` + id + `}`
	case 9:
		return schemas.ActivityComplete, `{"activityId":` + id + `,"output":{"by":"kim"}}`
	case 10:
		return schemas.ActivityFail, `{"activityId":` + id + `}`
	}
	return schemas.ActivityRetry, `{"activityId":` + id + `}`
}

// misfortunes lets commands and faults loose for a while.
func (l *life) misfortunes(d time.Duration) {
	commands := slices.Clone(l.commands)
	for end := time.Now().Add(d); time.Now().Before(end) || len(commands) > 0; {
		l.passes(time.Duration(l.rng.IntN(600)) * time.Millisecond)
		switch {
		case len(commands) > 0 && l.rng.IntN(3) > 0:
			l.send(commands[0])
			if l.rng.IntN(4) > 0 { // else it is sent once more
				commands = commands[1:]
			}
		case l.rng.IntN(3) == 0:
			l.tell()
		default:
			l.misfortune(l.processes[l.rng.IntN(len(l.processes))])
		}
	}
}

func (l *life) misfortune(p *process) {
	l.hits++
	switch l.rng.IntN(10) {
	case 0:
		p.wire.close()
	case 1, 2:
		p.wire.open()
	case 3:
		if p.kill(); l.rng.IntN(2) == 0 {
			p.start()
		}
	case 4:
		if !p.lives() {
			p.start()
		} else if l.rng.IntN(3) == 0 {
			p.stop()
		}
	case 5:
		p.wire.deafen(1 + l.rng.IntN(3))
	case 6:
		l.loseCommit()
	default:
		for range 1 + l.rng.IntN(3) {
			l.disturb()
		}
	}
}

// loseCommit lets a shard's next commit succeed without its owner hearing of it.
func (l *life) loseCommit() {
	l.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.DropControl()
		for _, p := range l.processes {
			r := p.runner.Load()
			if r == nil || l.calm.Load() {
				continue
			}
			for _, shard := range r.Owned() {
				if e, ok := req.(*kmsg.EndTxnRequest); ok && e.TransactionalID == l.cfg.Topics().TransactionalID(shard) {
					p.wire.deafen(1)
				}
			}
		}
		return nil, nil, false
	})
}

// latest is how late a request may be dealt with: long after its transaction has timed out.
const latest = 15 * time.Second

// disturb lets some of the next requests of a kind fail, get lost, or come late.
func (l *life) disturb() {
	kinds := slices.SortedFunc(maps.Keys(answers()), func(a, b kmsg.Key) int { return int(a) - int(b) })
	key := kinds[l.rng.IntN(len(kinds))]
	switch errs := answers()[key]; l.rng.IntN(3) {
	case 0:
		l.cut(key)
	case 1:
		l.late(key, time.Duration(l.rng.Int64N(int64(latest))))
	default:
		l.faults = append(l.faults, l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{key}, Err: errs[l.rng.IntN(len(errs))], Count: 1 + l.rng.IntN(4), TopLevel: l.rng.IntN(3) == 0,
		}))
	}
}

// cut ends the connection of the next request of a kind, which is not carried out.
func (l *life) cut(key kmsg.Key) {
	l.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if l.calm.Load() {
			l.cluster.DropControl()
			return nil, nil, false
		}
		return nil, errCut, true
	})
}

type cutError struct{}

func (cutError) Error() string { return "the connection was cut" }

var errCut = cutError{}

// answers are the errors that a broker may well give, by the kind of request.
func answers() map[kmsg.Key][]*kerr.Error {
	coordinator := []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError}
	group := append(slices.Clone(coordinator), kerr.UnknownMemberID, kerr.RebalanceInProgress)
	generation := append(slices.Clone(group), kerr.IllegalGeneration)
	leader := []*kerr.Error{kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition, kerr.UnknownServerError, kerr.RequestTimedOut}
	return map[kmsg.Key][]*kerr.Error{
		kmsg.Produce:                 append(slices.Clone(leader), kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.OutOfOrderSequenceNumber, kerr.KafkaStorageError),
		kmsg.Fetch:                   append(slices.Clone(leader), kerr.OffsetOutOfRange, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.KafkaStorageError, kerr.OffsetNotAvailable),
		kmsg.ListOffsets:             append(slices.Clone(leader), kerr.LeaderNotAvailable, kerr.OffsetNotAvailable),
		kmsg.Metadata:                {kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition, kerr.UnknownServerError},
		kmsg.FindCoordinator:         {kerr.CoordinatorNotAvailable, kerr.UnknownServerError, kerr.RequestTimedOut},
		kmsg.InitProducerID:          append(slices.Clone(coordinator), kerr.ConcurrentTransactions, kerr.RequestTimedOut),
		kmsg.AddPartitionsToTxn:      append(slices.Clone(coordinator), kerr.ConcurrentTransactions),
		kmsg.EndTxn:                  append(slices.Clone(coordinator), kerr.ConcurrentTransactions, kerr.RequestTimedOut, kerr.ProducerFenced, kerr.InvalidProducerEpoch),
		kmsg.JoinGroup:               append(slices.Clone(group), kerr.MemberIDRequired),
		kmsg.SyncGroup:               generation,
		kmsg.Heartbeat:               generation,
		kmsg.LeaveGroup:              {kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.UnknownServerError},
		kmsg.OffsetCommit:            generation,
		kmsg.OffsetFetch:             {kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError, kerr.UnstableOffsetCommit},
		kmsg.DescribeGroups:          coordinator,
		kmsg.CreateTopics:            {kerr.RequestTimedOut, kerr.NotController, kerr.UnknownServerError},
		kmsg.IncrementalAlterConfigs: {kerr.RequestTimedOut, kerr.NotController, kerr.UnknownServerError},
		kmsg.DeleteRecords:           append(slices.Clone(leader), kerr.OffsetOutOfRange, kerr.PolicyViolation, kerr.TopicAuthorizationFailed),
		kmsg.ShareGroupHeartbeat:     append(slices.Clone(coordinator), kerr.UnknownMemberID, kerr.FencedMemberEpoch),
		kmsg.ShareFetch:              append(slices.Clone(leader), kerr.ShareSessionNotFound, kerr.InvalidShareSessionEpoch),
		kmsg.ShareAcknowledge:        append(slices.Clone(leader), kerr.ShareSessionNotFound, kerr.InvalidShareSessionEpoch, kerr.InvalidRecordState),
	}
}
