package kvstate_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/rush"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

var (
	scaleLoops    = flag.Int("scale.loops", 200, "loops of BenchmarkScale")
	scaleInterval = flag.Duration("scale.interval", 50*time.Millisecond, "how long one iteration of BenchmarkScale takes")
	scaleTurns    = flag.Int("scale.iterations", 3, "iterations of each loop in BenchmarkScale")
	scaleWorkers  = flag.Int("scale.processes", 4, "engines in BenchmarkScale, with a connection and a projection each")
	fleetLoops    = flag.Int("fleet.loops", 100, "loops of BenchmarkFleet")
	fleetSlots    = flag.Int("fleet.slots", 50, "how many of them run side by side")
	starters      = flag.Int("fleet.starters", 256, "how many loops of BenchmarkFleet and BenchmarkScale are started at a time")
)

// fleet is some engines on one store.
type fleet struct {
	engines []*loops.Engine
	js      jetstream.JetStream
}

// newFleet starts engines with so many slots each. connect makes the connection
// of each.
func newFleet(b *testing.B, engines, slots int, opts kvstate.Options, body loops.Body, connect func(int) jetstream.JetStream) *fleet {
	b.Helper()
	f := &fleet{js: connect(0)}
	var names sync.Map
	opts.Alive = func(owner string) bool { _, ok := names.Load(owner); return ok }
	for n := range engines {
		opts := opts
		opts.Runner = fmt.Sprint("runner-", n)
		names.Store(opts.Runner, true)
		store := must[*kvstate.Store](b)(kvstate.Open(b.Context(), connect(n), &opts))
		e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, &loops.Options{Workers: slots, LiveLoops: 1_000_000})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		b.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			if err := store.Close(); err != nil {
				b.Error(err)
			}
		})
		f.engines = append(f.engines, e)
	}
	return f
}

// start makes many loops of n iterations each, as many at a time as there are
// starters.
func (f *fleet) start(b *testing.B, many, n int) []loops.ID {
	b.Helper()
	ids := make([]loops.ID, many)
	var all sync.WaitGroup
	for part := range *starters {
		all.Go(func() {
			for i := part; i < many; i += *starters {
				out, err := f.engines[i%len(f.engines)].Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "count",
					Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"}, Limits: loops.Limits{MaxIterations: loops.Count(n)}}})
				if err != nil {
					b.Error(err)
				}
				ids[i] = out.ID
			}
		})
	}
	all.Wait()
	return ids
}

// finish waits until all have settled with n iterations.
func (f *fleet) finish(b *testing.B, ids []loops.ID, n int) {
	b.Helper()
	const waiting = 16 // at once: each asks the servers for what it waited for
	var all sync.WaitGroup
	for part := range waiting {
		all.Go(func() {
			for i := part; i < len(ids) && !b.Failed(); i += waiting {
				s, timedOut, err := f.engines[i%len(f.engines)].Wait(b.Context(), ids[i], 0, loops.ForSettled, time.Hour, nil)
				if err != nil || timedOut || s.Ledger.Iterations != n || s.Ledger.Starts != n {
					b.Errorf("%s: timed out %t, %v", s.Summary(), timedOut, err)
				}
			}
		})
	}
	all.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// nap is a body that takes some time, does nothing in it, and counts.
type nap struct {
	time.Duration
	mu    sync.Mutex
	began map[loops.ID]time.Time // the first
	ended map[loops.ID]time.Time // the last
	gaps  []time.Duration        // from the end of an iteration to the start of the next
	done  int                    // iterations
	full  *full                  // nil: not wanted
}

// full is the time in which all slots can be taken: from the moment when as many
// loops have begun until fewer are left than there are slots.
type full struct {
	slots, loops, turns int
	from, to            time.Time
	first, last         int // iterations that were done then
	over                int // loops that have done all of theirs
}

func (n *nap) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	n.begin(t.Loop)
	if n.Duration > 0 {
		timer := time.NewTimer(n.Duration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	n.end(t)
	return loops.Result{Output: "nothing to do"}, ctx.Err()
}

func (n *nap) begin(id loops.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended == nil {
		n.began, n.ended = map[loops.ID]time.Time{}, map[loops.ID]time.Time{}
	}
	if before, ok := n.ended[id]; ok {
		n.gaps = append(n.gaps, time.Since(before))
		return
	}
	n.began[id] = time.Now()
	if f := n.full; f != nil && len(n.began) == f.slots {
		f.from, f.first = time.Now(), n.done
	}
}

func (n *nap) end(t loops.Turn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended[t.Loop] = time.Now()
	n.done++
	f := n.full
	if f == nil || t.Iteration < f.turns {
		return
	}
	if f.over++; f.loops-f.over == f.slots-1 {
		f.to, f.last = time.Now(), n.done
	}
}

// reportFull reports the share of the ideal rate while all slots could be taken.
func (n *nap) reportFull(b *testing.B) {
	f := n.full
	if f.from.IsZero() || !f.to.After(f.from) {
		return
	}
	ideal := float64(f.slots) / n.Seconds() * f.to.Sub(f.from).Seconds()
	b.ReportMetric(100*float64(f.last-f.first)/ideal, "%ideal-full")
}

// tell says on standard error how far a run of minutes is, until ctx ends.
func (n *nap) tell(ctx context.Context, many int) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.mu.Lock()
			fmt.Fprintf(os.Stderr, "after %3.0f s %d of %d loops have begun, %d iterations ended\n", time.Since(began).Seconds(), len(n.began), many, n.done)
			n.mu.Unlock()
		}
	}
}

// reportGaps reports how long commits took, seen from the loops.
func (n *nap) reportGaps(b *testing.B) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.gaps) == 0 {
		return
	}
	slices.Sort(n.gaps)
	b.ReportMetric(micros(n.gaps[len(n.gaps)/2])/1000, "ms/commit-p50")
	b.ReportMetric(micros(n.gaps[len(n.gaps)*99/100])/1000, "ms/commit-p99")
}

// share returns how fast loops of so many iterations went from their first one to
// their last, as a part of what their bodies took.
func (n *nap) share(iterations int) float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	var took time.Duration
	for id, began := range n.began {
		took += n.ended[id].Sub(began)
	}
	return float64(n.Duration) * float64(iterations*len(n.began)) / float64(took)
}

// BenchmarkThree runs 512 loops with bodies that do nothing on a cluster of three
// servers, all on this machine, with three replicas and a sync before each
// acknowledgement; b.N iterations each.
func BenchmarkThree(b *testing.B) {
	const many = 512
	connect := three(b)
	body := &nap{}
	f := newFleet(b, 1, many, kvstate.Options{Replicas: 3}, body, connect)
	n := min(b.N, most)
	cpu, began := processorTime(b), time.Now()
	f.finish(b, f.start(b, many, n), n)
	took, iterations := time.Since(began), float64(n*many)
	b.ReportMetric(iterations/took.Seconds(), "iterations/s")
	b.ReportMetric(micros(processorTime(b)-cpu)/iterations, "cpu-µs/iteration")
	body.reportGaps(b)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFleet runs many loops whose bodies take 100 ms, some of them side by
// side, 20 iterations each. %ideal is the share of the ideal rate of the whole,
// from the first start to the last settlement; %ideal-full of the time in which
// all slots could be taken; s/starts is how long it took until all were started.
func BenchmarkFleet(b *testing.B) {
	for _, durability := range []string{embed.Power, embed.Process} {
		b.Run("durability="+durability, func(b *testing.B) { benchmarkFleet(b, durability) })
	}
}

func benchmarkFleet(b *testing.B, durability string) {
	const turns, takes = 20, 100 * time.Millisecond
	h := host(b, b.TempDir(), durability)
	body := &nap{Duration: takes, full: &full{slots: *fleetSlots, loops: *fleetLoops, turns: turns}}
	f := newFleet(b, 1, *fleetSlots, kvstate.Options{Group: durability == embed.Power, Disk: h, Mark: b.TempDir(), Rush: rush.Begin}, body, func(int) jetstream.JetStream { return stream(b, h) })
	cpu, began := processorTime(b), time.Now()
	ids := f.start(b, *fleetLoops, turns)
	started := time.Since(began)
	f.finish(b, ids, turns)
	took, iterations := time.Since(began), float64(*fleetLoops*turns)
	cpu = processorTime(b) - cpu
	b.ReportMetric(processorsUsed(cpu, took), "processors")
	ideal := time.Duration(*fleetLoops) * turns * takes / time.Duration(*fleetSlots)
	b.ReportMetric(100*ideal.Seconds()/took.Seconds(), "%ideal")
	body.reportFull(b)
	b.ReportMetric(started.Seconds(), "s/starts")
	b.ReportMetric(iterations/took.Seconds(), "iterations/s")
	b.ReportMetric(micros(cpu)/iterations, "cpu-µs/iteration")
	body.reportGaps(b)
	reportTidy(b, f.js, len(ids))
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScale is a model of a cluster in use: on three servers with three
// replicas, several engines, each with its own connection and projection, work on
// loops whose iterations take scale.interval. The rate that counts is loops divided
// by interval: 100,000 loops with an iteration in 30 s are 3,333 a second.
//
//	go test ./kvstate -run '^$' -bench Scale -benchtime 1x -scale.loops 100000 -scale.interval 30s
func BenchmarkScale(b *testing.B) {
	connect := three(b)
	body := &nap{Duration: *scaleInterval}
	slots := (*scaleLoops + *scaleWorkers - 1) / *scaleWorkers
	f := newFleet(b, *scaleWorkers, slots+slots/4+1, kvstate.Options{Replicas: 3}, body, connect)
	ctx, stop := context.WithCancel(b.Context())
	var told sync.WaitGroup
	told.Go(func() { body.tell(ctx, *scaleLoops) })
	defer told.Wait()
	defer stop()
	began := time.Now()
	ids := f.start(b, *scaleLoops, *scaleTurns)
	starting := time.Since(began)
	cpu, began := processorTime(b), time.Now()
	f.finish(b, ids, *scaleTurns)
	took := time.Since(began)
	b.ReportMetric(float64(*scaleLoops)/starting.Seconds(), "starts/s")
	b.ReportMetric(float64(*scaleLoops)/scaleInterval.Seconds(), "iterations/s-wanted")
	b.ReportMetric(100*body.share(*scaleTurns), "%ideal")
	b.ReportMetric(100*micros(processorTime(b)-cpu)/micros(took), "%cpu")
	b.ReportMetric(float64(resident(b))/float64(1<<20), "MB-RSS")
	body.reportGaps(b)
	info := must[*jetstream.StreamInfo](b)(must[jetstream.Stream](b)(f.js.Stream(b.Context(), "KV_LOOPS")).Info(b.Context()))
	b.ReportMetric(float64(info.State.Bytes)/float64(*scaleLoops), "B/loop")
	b.ReportMetric(float64(info.State.Consumers), "consumers")
	b.ReportMetric(0, "ns/op")
}
