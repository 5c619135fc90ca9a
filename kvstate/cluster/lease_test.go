package cluster_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/kvstate/embed"
)

func TestMain(m *testing.M) {
	clustertest.Main()
	ats.Register() // the server's clock, outside every bubble
	os.Exit(leaktest.Run(m))
}

func host(t *testing.T) *embed.Host {
	t.Helper()
	h, err := embed.Start(t.Context(), embed.Options{Dir: t.TempDir(), Durability: embed.Process})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// join returns a member that is reached by way.
func join(t *testing.T, way *cable) *cluster.Member {
	t.Helper()
	m, err := cluster.ConnectWith(t.Context(), cluster.Options{URL: "nats://inside"}, nats.SetCustomDialer(way), nats.SkipHostLookup())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func lease(t *testing.T, m *cluster.Member) (string, context.Context) {
	t.Helper()
	name, held, err := m.Lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name, held
}

// asks lets a member be asked about a worker all the time, as a store does, and
// returns when it says that the worker is dead.
func asks(t *testing.T, m *cluster.Member, name string) (died chan time.Time) {
	return until(t, func() bool { return !m.Alive(name) })
}

// until asks all the time and returns when something was so.
func until(t *testing.T, so func() bool) (since chan time.Time) {
	died := make(chan time.Time, 1)
	go func() {
		for t.Context().Err() == nil {
			if so() {
				died <- time.Now()
				return
			}
			select {
			case <-t.Context().Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return died
}

func inBubble(t *testing.T, test func(t *testing.T, h *embed.Host)) {
	synctest.Test(t, func(t *testing.T) { test(t, host(t)) })
}

func TestWorkersThatRenewTheirLeaseLive(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two := join(t, newCable(h)), join(t, newCable(h))
		mine, held := lease(t, one)
		theirs, _ := lease(t, two)
		died := asks(t, one, theirs)
		time.Sleep(5 * time.Minute)
		if name, _ := lease(t, one); name != mine || held.Err() != nil {
			t.Errorf("the lease %s became %s: %v", mine, name, context.Cause(held))
		}
		if !one.Alive(mine) || !strings.HasPrefix(mine, one.Runner()) {
			t.Errorf("%s says that its own lease %s is over", one.Runner(), mine)
		}
		if len(died) > 0 {
			t.Errorf("%s is said to be dead", theirs)
		}
		workers, err := one.Workers(t.Context())
		if err != nil || len(workers) != 2 || workers[0].PID != os.Getpid() {
			t.Errorf("workers %+v, %v", workers, err)
		}
		if recent, err := two.Recent(t.Context()); err != nil || len(recent) != 2 || recent[0].Process() != workers[0].Process() || workers[0].Process() != one.Runner() && workers[0].Process() != two.Runner() {
			t.Errorf("from memory %+v, %v", recent, err)
		}
	})
}

// TestAKilledWorkerIsFoundOut: not before its lease is over, and soon after.
func TestAKilledWorkerIsFoundOut(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two := join(t, newCable(h)), join(t, newCable(h))
		lease(t, one)
		name, _ := lease(t, two)
		died := asks(t, one, name)
		time.Sleep(time.Minute)
		two.Drop()
		began := time.Now()
		if after := (<-died).Sub(began); after < cluster.ValidFor || after > cluster.TTL+5*time.Second {
			t.Errorf("found out after %s", after)
		}
		if recent, err := one.Recent(t.Context()); err != nil || len(recent) != 1 || recent[0].Process() != one.Runner() {
			t.Errorf("from memory %+v, %v", recent, err)
		}
	})
}

func TestAWorkerThatEndsIsFoundOutAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two := join(t, newCable(h)), join(t, newCable(h))
		lease(t, one)
		name, _ := lease(t, two)
		died := asks(t, one, name)
		time.Sleep(time.Minute)
		if err := two.Close(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if after := (<-died).Sub(began); after > 3*time.Second {
			t.Errorf("found out after %s", after)
		}
	})
}

func TestAnUnknownWorkerIsGivenItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one := join(t, newCable(h))
		lease(t, one)
		began := time.Now()
		if after := (<-asks(t, one, "run-long-gone-1")).Sub(began); after < cluster.TTL {
			t.Errorf("found out after %s", after)
		}
		time.Sleep(time.Hour) // and the servers have forgotten that it was buried
		if one.Alive("run-long-gone-1") {
			t.Error("a dead worker lives again")
		}
	})
}

// TestAProcessLivesWithItsLeases: who tells the news of a loop is known by the
// name of its process, and may need half a minute for it, with or without a lease.
func TestAProcessLivesWithItsLeases(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two, command := join(t, newCable(h)), join(t, newCable(h)), join(t, newCable(h))
		lease(t, one)
		lease(t, two)
		began := time.Now()
		died := until(t, func() bool { return !one.ProcessAlive(command.Runner()) })
		worker := until(t, func() bool { return !one.ProcessAlive(two.Runner()) })
		restored := asks(t, one, "run-elsewhere") // has a claim that came from a folder
		if after := (<-died).Sub(began); after < 45*time.Second || after > 2*time.Minute {
			t.Errorf("a process without a lease was found dead after %s", after)
		}
		if after := (<-restored).Sub(began); after > cluster.TTL+5*time.Second {
			t.Errorf("the worker of a folder was found dead after %s", after)
		}
		time.Sleep(5 * time.Minute)
		if len(worker) > 0 {
			t.Error("a process that renews its lease is said to be dead")
		}
		two.Drop()
		began = time.Now()
		if after := (<-worker).Sub(began); after < cluster.TTL {
			t.Errorf("found dead after %s", after)
		}
	})
}

// TestACutOffWorkerEndsBeforeOthersTakeItsLoops, and comes back under another
// name.
func TestACutOffWorkerEndsBeforeOthersTakeItsLoops(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way := newCable(h)
		one, two := join(t, newCable(h)), join(t, way)
		lease(t, one)
		name, held := lease(t, two)
		died := asks(t, one, name)
		time.Sleep(time.Minute)
		way.cut()
		began := time.Now()
		<-held.Done()
		lost := time.Now()
		if after := lost.Sub(began); after > cluster.ValidFor {
			t.Errorf("the lease ended after %s", after)
		}
		if after := (<-died).Sub(lost); after < 3*time.Second {
			t.Errorf("bodies have only %s to end", after)
		}
		time.Sleep(time.Minute)
		way.heal()
		next, _ := lease(t, two)
		if next == name {
			t.Errorf("the lease %s that was lost came back", name)
		}
		if two.Alive(name) && one.Alive(name) || !one.Alive(next) {
			t.Errorf("%s and %s", name, next)
		}
	})
}

// TestAShortCutCostsNothing: an election of the servers' takes up to 8.5 s.
func TestAShortCutCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way := newCable(h)
		one, two := join(t, newCable(h)), join(t, way)
		lease(t, one)
		name, held := lease(t, two)
		died := asks(t, one, name)
		for range 20 {
			way.cut()
			time.Sleep(8500 * time.Millisecond)
			way.heal()
			time.Sleep(7 * time.Second)
		}
		if held.Err() != nil || len(died) > 0 {
			t.Errorf("the lease ended: %v, said to be dead: %t", context.Cause(held), len(died) > 0)
		}
	})
}

// TestWhoIsCutOffDeclaresNobodyDead: not while it hears nothing, and not when it
// hears again.
func TestWhoIsCutOffDeclaresNobodyDead(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way := newCable(h)
		one, two := join(t, way), join(t, newCable(h))
		lease(t, one)
		name, held := lease(t, two)
		died := asks(t, one, name)
		for _, cut := range []time.Duration{5 * time.Second, 20 * time.Second, 5 * time.Minute} {
			way.cut()
			time.Sleep(cut)
			way.heal()
			time.Sleep(time.Minute)
		}
		if held.Err() != nil || len(died) > 0 {
			t.Errorf("the lease ended: %v, said to be dead: %t", context.Cause(held), len(died) > 0)
		}
	})
}

// TestABuriedWorkerKnows: a worker that was suspended, and whose own clock stood
// still, hears of it when it renews its lease.
func TestABuriedWorkerKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two := join(t, newCable(h)), join(t, newCable(h))
		name, held := lease(t, two)
		if err := one.Bury(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-held.Done()
		if after := time.Since(began); after > 3*time.Second {
			t.Errorf("it knew after %s", after)
		}
		if next, _ := lease(t, two); next == name {
			t.Error("it goes on under the same name")
		}
	})
}

// TestABurialIsRefusedWhenTheWorkerLives: whoever has not heard of a renewal.
func TestABurialIsRefusedWhenTheWorkerLives(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		one, two := join(t, newCable(h)), join(t, newCable(h))
		name, held := lease(t, two)
		if err := one.BuryAt(t.Context(), name, 1); err != nil {
			t.Fatal(err) // the first message: nothing has been renewed yet
		}
		<-held.Done()
		name, held = lease(t, two)
		if err := one.BuryAt(t.Context(), name, 1); err == nil {
			t.Error("buried by a revision that is not its newest")
		}
		time.Sleep(time.Minute)
		if held.Err() != nil {
			t.Errorf("the lease ended: %v", context.Cause(held))
		}
	})
}

func TestLeaseEndsWithItsContextAndItsMember(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way := newCable(h)
		m := join(t, way)
		_, held := lease(t, m)
		way.cut()
		<-held.Done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := m.Lease(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without servers: %v", err)
		}
		waits := make(chan error)
		go func() { _, _, err := m.Lease(t.Context()); waits <- err }()
		synctest.Wait()
		go m.Close()
		if err := <-waits; err == nil {
			t.Error("a lease of a member that is closed")
		}
		way.heal()
	})
}
