package runner_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill/waybill/consumers/runner"
)

// party is a group on paper: who is in it, and what each of them holds.
type party struct {
	t          *testing.T
	shards     int32
	generation int32
	members    map[string]*guest
}

type guest struct {
	held       []int32
	told       int32 // the generation in which it was told so
	lost       bool  // its client has forgotten what it holds
	old        bool  // of the release before, which knows only its client's balancer
	noInstance bool
}

const partyTopic = "waybill.shards"

func newParty(t *testing.T, shards int32, names ...string) *party {
	t.Helper()
	p := &party{t: t, shards: shards, members: make(map[string]*guest)}
	for _, name := range names {
		p.members[name] = &guest{told: -1}
	}
	return p
}

// joins is what a member says when it joins.
func (p *party) joins(name string) kmsg.JoinGroupResponseMember {
	g := p.members[name]
	balancer, current := runner.Claiming(partyTopic, func() []int32 { return g.held }), map[string][]int32{partyTopic: g.held}
	if g.old {
		balancer = kgo.CooperativeStickyBalancer()
	}
	if g.lost || len(g.held) == 0 {
		current = nil
	}
	m := kmsg.JoinGroupResponseMember{
		MemberID: name, InstanceID: &name,
		ProtocolMetadata: balancer.JoinGroupMetadata([]string{partyTopic}, current, g.told),
	}
	if g.noInstance {
		m.InstanceID = nil
	}
	return m
}

// round is one generation. It says whether somebody has to let go of something, which the others get in the next one.
func (p *party) round() (again bool) {
	p.t.Helper()
	p.generation++
	var joined []kmsg.JoinGroupResponseMember
	for name := range p.members {
		joined = append(joined, p.joins(name))
	}
	slices.SortFunc(joined, func(a, b kmsg.JoinGroupResponseMember) int { return cmp.Compare(a.MemberID, b.MemberID) })
	b, _, err := runner.Claiming(partyTopic, nil).MemberBalancer(joined)
	if err != nil {
		p.t.Fatal(err)
	}
	plan, err := b.(kgo.GroupMemberBalancerOrError).BalanceOrError(map[string]int32{partyTopic: p.shards})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, a := range plan.IntoSyncAssignment() {
		topics, err := kgo.ParseConsumerSyncAssignment(a.MemberAssignment)
		if err != nil {
			p.t.Fatal(err)
		}
		g := p.members[a.MemberID]
		for _, s := range g.held {
			again = again || !slices.Contains(topics[partyTopic], s)
		}
		g.held, g.told, g.lost = topics[partyTopic], p.generation, false
	}
	return again
}

// settles has rounds until everybody has what he is to have, and says whose each shard is then.
func (p *party) settles() map[int32]string {
	p.t.Helper()
	for rounds := 0; p.round(); rounds++ {
		if rounds == 2 {
			p.t.Fatal("three rounds were not enough")
		}
	}
	owners := make(map[int32]string)
	least, most := int(p.shards), 0
	for name, g := range p.members {
		least, most = min(least, len(g.held)), max(most, len(g.held))
		for _, s := range g.held {
			if other, ok := owners[s]; ok {
				p.t.Errorf("shard %d is given to %s and %s", s, name, other)
			}
			owners[s] = name
		}
	}
	if len(p.members) > 0 && len(owners) != int(p.shards) {
		p.t.Errorf("%d of %d shards have an owner", len(owners), p.shards)
	}
	if most-least > 1 {
		p.t.Errorf("one has %d shards, another %d", most, least)
	}
	return owners
}

// moved counts the shards that changed hands.
func moved(before, after map[int32]string) (n int) {
	for s, owner := range after {
		if before[s] != owner {
			n++
		}
	}
	return n
}

// history lets members come and go at random: whose the shards are depends on all of it.
func (p *party) history(r *rand.Rand) {
	p.t.Helper()
	for range r.IntN(12) {
		if name := strconv.Itoa(r.IntN(9)); p.members[name] == nil {
			p.members[name] = &guest{told: -1, noInstance: r.IntN(9) == 0, old: r.IntN(3) == 0}
		} else if len(p.members) > 1 {
			delete(p.members, name)
		}
		p.settles()
	}
}

// everyHistory plays many of them with fleets of each size.
func everyHistory(t *testing.T, play func(p *party, r *rand.Rand)) {
	t.Helper()
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			p := newParty(t, []int32{1, 4, 8, 32}[r.IntN(4)], strconv.Itoa(r.IntN(9)))
			p.history(r)
			play(p, r)
		})
	}
}

func TestNoShardChangesHandsWhenEverybodyJoinsAnew(t *testing.T) {
	everyHistory(t, func(p *party, r *rand.Rand) {
		for _, g := range p.members {
			g.old = false
		}
		before := p.settles()
		for _, g := range p.members {
			g.lost = r.IntN(3) > 0
		}
		if n := moved(before, p.settles()); n > 0 {
			p.t.Errorf("%d of %d shards changed hands among %d", n, p.shards, len(p.members))
		}
	})
}

func TestWhoComesOrGoesMovesNoMoreShardsThanAreHis(t *testing.T) {
	everyHistory(t, func(p *party, _ *rand.Rand) {
		before := p.settles()
		p.members["new"] = &guest{told: -1}
		with := p.settles()
		if n, his := moved(before, with), len(p.members["new"].held); n != his {
			p.t.Errorf("%d shards moved to give %d to who came", n, his)
		}
		his := len(p.members["new"].held)
		delete(p.members, "new")
		if n := moved(with, p.settles()); n != his {
			p.t.Errorf("%d shards moved when who had %d went", n, his)
		}
	})
}

func TestAMemberThatStartsAgainTakesAFreeShareAndNothingElseMoves(t *testing.T) {
	everyHistory(t, func(p *party, _ *rand.Rand) {
		before := p.settles()
		for name, g := range p.members { // the group has kept its place
			had := g.held
			p.members[name] = &guest{told: -1}
			if n := moved(before, p.settles()); n > len(had) {
				p.t.Errorf("%d shards moved when who had %d was started again", n, len(had))
			}
			break
		}
	})
}

func TestWhoWakesClaimsInVainWhatOthersHaveBeenGiven(t *testing.T) {
	everyHistory(t, func(p *party, _ *rand.Rand) {
		if len(p.members) == 1 {
			p.members["other"] = &guest{told: -1}
		}
		p.settles()
		for name, sleeper := range p.members {
			delete(p.members, name)
			before := p.settles()
			sleeper.lost, sleeper.old = true, false
			p.members[name] = sleeper
			p.round() // in which whoever has to let go of a shard does, before somebody else has it
			for _, s := range sleeper.held {
				if slices.Contains(p.members[before[s]].held, s) {
					p.t.Errorf("shard %d is given to who woke while %s has it", s, before[s])
				}
			}
			if n, share := moved(before, p.settles()), len(sleeper.held); n != share {
				p.t.Errorf("%d shards moved to give %d to who woke", n, share)
			}
			break
		}
	})
}

func TestClaimsToWhatDoesNotExistAreWorthNothing(t *testing.T) {
	p := newParty(t, 4, "a", "b")
	p.members["a"].held, p.members["a"].told = []int32{2, 3, 17, 4000}, 7
	p.members["b"].held, p.members["b"].told = []int32{2, 3}, 7
	p.generation = 7
	p.settles()
}

func TestMoreMembersThanShardsLeaveSomeWithout(t *testing.T) {
	p := newParty(t, 2, "a", "b", "c", "d")
	before := p.settles()
	for _, g := range p.members {
		g.lost = true
	}
	if n := moved(before, p.settles()); n > 0 {
		t.Errorf("%d shards changed hands", n)
	}
}

func TestAGroupOfNobodyIsGivenNothing(t *testing.T) {
	if owners := newParty(t, 8).settles(); len(owners) > 0 {
		t.Errorf("owners: %v", owners)
	}
}

func TestMembersThatTheirGroupHasLostGoOnWithTheShardsThatTheyHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, quickPlans(t))
		c := f.join("c", noop) // in an order that nobody would deal shards out in
		f.owns(c, 8)
		a := f.join("a", noop)
		f.owns(a, 4)
		f.owns(c, 4)
		b := f.join("b", noop)
		f.until("b has its share", func() bool { return len(b.Owned()) >= 2 })
		ready := func() bool { return a.Ready() == nil && b.Ready() == nil && c.Ready() == nil }
		f.until("all have their shares", ready)
		before := f.taken()
		back := f.loses(a, b, c)
		back()
		f.until("all have joined again", ready)
		f.passes(time.Minute)
		if n := f.taken() - before; n > 0 {
			t.Errorf("shards were taken %d times though nobody had gone", n)
		}
	})
}

func TestAMemberLooksForTheGroupsCoordinatorForLongerThanItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 1)
		back := f.failGroup(kerr.NotCoordinator)
		f.passes(9 * time.Second)
		if err := a.Ready(); err != nil {
			t.Errorf("it takes itself for lost: %v", err)
		}
		back()
		f.start("job", "chain")
		f.ends("job", "completed")
		if n := f.taken(); n != 1 {
			t.Errorf("the shard was taken %d times, want once", n)
		}
	})
}

func TestAMemberThatTheGroupHadLostHandsOverWhatSomebodyElseIsToHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, quickPlans(t))
		a := f.join("a", noop)
		f.owns(a, 2)
		back := f.loses(a)
		a.gate.close()
		back()
		b := f.join("b", noop)
		f.passes(2 * time.Second) // b waits for a, which claims both shards
		a.gate.open()
		f.owns(b, 1)
		f.owns(a, 1)
		if n := f.taken(); n != 3 {
			t.Errorf("shards were taken %d times, want each by a, and one by b", n)
		}
	})
}
