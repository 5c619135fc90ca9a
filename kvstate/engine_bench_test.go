package kvstate_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/internal/rush"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"

	"github.com/nats-io/nats.go/jetstream"
)

// engine starts a server, a store and an engine in a fresh folder. It leaves the
// server's JetStream in js unless that is nil.
func engine(b *testing.B, durability string, body loops.Body, js *jetstream.JetStream) *loops.Engine {
	b.Helper()
	e, _ := engineWith(b, durability, body, js, nil)
	return e
}

// engineWith is engine with options, and returns its store as well.
func engineWith(b *testing.B, durability string, body loops.Body, js *jetstream.JetStream, opts *loops.Options) (*loops.Engine, *kvstate.Store) {
	b.Helper()
	host, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "store"), Durability: durability})
	if err != nil {
		b.Fatal(err)
	}
	stream, err := jetstream.New(host.Conn())
	if err != nil {
		b.Fatal(err)
	}
	if js != nil {
		*js = stream
	}
	store, err := kvstate.Open(b.Context(), stream, &kvstate.Options{Group: durability == embed.Power, Disk: host, Mark: b.TempDir(), Rush: rush.Begin})
	if err != nil {
		b.Fatal(err)
	}
	e := loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"bench": body}}, opts)
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
		if err := host.Close(); err != nil {
			b.Error(err)
		}
	})
	return e, store
}

// runLoop runs one loop of n iterations to its end.
func runLoop(b *testing.B, e *loops.Engine, n int) {
	b.Helper()
	out, err := e.Start(b.Context(), loops.StartRequest{Spec: loops.Spec{Name: "bench", Goal: "count",
		Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "bench"}, Limits: loops.Limits{MaxIterations: loops.Count(n)}}})
	if err != nil {
		b.Fatal(err)
	}
	s, timedOut, err := e.Wait(b.Context(), out.ID, 0, loops.ForSettled, time.Hour, nil)
	if err != nil || timedOut || s.Ledger.Iterations != n {
		b.Fatalf("%s: timed out %t, %v", s.Summary(), timedOut, err)
	}
}

// BenchmarkIteration measures one durable no-op iteration of one loop: from the
// end of a body to the start of the next. Each body writes (and syncs) a record
// of the same size beside it, so that a busy machine slows down both; x-raw is
// the ratio of the medians.
func BenchmarkIteration(b *testing.B) {
	for _, durability := range []string{embed.Power, embed.Process} {
		b.Run("durability="+durability, func(b *testing.B) { benchmarkIteration(b, durability) })
	}
}

// gauge is a body that writes a plain record and measures what is around it.
type gauge struct {
	raw         *os.File
	sync        bool
	record      []byte
	last        int       // the iteration before
	ended       time.Time // its end
	turns, raws []time.Duration
}

func (g *gauge) Run(_ context.Context, t loops.Turn) (loops.Result, error) {
	began := time.Now()
	if t.Iteration == g.last+1 && t.Iteration > 1 {
		g.turns = append(g.turns, began.Sub(g.ended))
	}
	_, err := g.raw.Write(g.record)
	if err == nil && g.sync {
		err = g.raw.Sync()
	}
	g.raws = append(g.raws, time.Since(began))
	g.last, g.ended = t.Iteration, time.Now()
	return loops.Result{Output: "nothing to do"}, err
}

func benchmarkIteration(b *testing.B, durability string) {
	raw := must[*os.File](b)(os.Create(filepath.Join(b.TempDir(), "raw")))
	defer raw.Close()
	g := &gauge{raw: raw, sync: durability == embed.Power}
	var js jetstream.JetStream
	e := engine(b, durability, loops.BodyFunc(func(ctx context.Context, t loops.Turn) (loops.Result, error) {
		if g.record == nil && t.Iteration == 40 {
			g.record = make([]byte, recordSize(b, js))
		}
		return g.Run(ctx, t)
	}), &js)
	runLoop(b, e, 50)
	g.turns, g.raws = nil, nil
	b.ResetTimer()
	for left := b.N; left > 0; left -= most {
		runLoop(b, e, min(left, most))
	}
	if len(g.turns) == 0 {
		return // a single iteration has no next one
	}
	turn, plain := median(g.turns), median(g.raws)
	var total time.Duration
	for _, d := range g.turns {
		total += d
	}
	b.ReportMetric(micros(turn), "µs/iteration-p50")
	b.ReportMetric(micros(total)/float64(len(g.turns)), "µs/iteration-mean")
	b.ReportMetric(micros(plain), "µs/raw-p50")
	b.ReportMetric(float64(turn)/float64(plain), "x-raw")
	b.ReportMetric(float64(len(g.record)), "B/record")
}

// most is how many iterations a loop may have.
const most = 10_000

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// recordSize returns how many bytes the server has for a record of the loop.
func recordSize(b *testing.B, js jetstream.JetStream) uint64 {
	info := must[*jetstream.StreamInfo](b)(must[jetstream.Stream](b)(js.Stream(b.Context(), "KV_LOOPS")).Info(b.Context()))
	return info.State.Bytes / info.State.Msgs
}

const (
	sideBySide = 16
	bodyTakes  = 10 * time.Millisecond
)

// BenchmarkSideBySide runs 16 loops with 10 ms bodies at once, b.N iterations
// of each, and reports the share of the ideal rate; then plain writes in the
// place of loops, one at a time, which is what the disk and the clock allow.
func BenchmarkSideBySide(b *testing.B) {
	body := loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		select {
		case <-time.After(bodyTakes):
		case <-ctx.Done():
		}
		return loops.Result{Output: "nothing to do"}, ctx.Err()
	})
	for _, durability := range []string{embed.Power, embed.Process} {
		b.Run("durability="+durability, func(b *testing.B) {
			e := engine(b, durability, body, nil)
			besides(b, func() {
				for left := b.N; left > 0; left -= most {
					runLoop(b, e, min(left, most))
				}
			})
		})
		b.Run("raw/durability="+durability, func(b *testing.B) {
			raw := must[*os.File](b)(os.Create(filepath.Join(b.TempDir(), "raw")))
			defer raw.Close()
			g := &gauge{raw: raw, sync: durability == embed.Power, record: make([]byte, 1400)} // about what recordSize says
			var one sync.Mutex
			besides(b, func() {
				for range b.N {
					<-time.After(bodyTakes)
					one.Lock()
					if _, err := g.Run(b.Context(), loops.Turn{}); err != nil {
						b.Error(err)
					}
					one.Unlock()
				}
			})
		})
	}
}

// besides calls run in many goroutines and reports the share of the ideal rate.
func besides(b *testing.B, run func()) {
	b.ResetTimer()
	var all sync.WaitGroup
	for range sideBySide {
		all.Go(run)
	}
	all.Wait()
	b.ReportMetric(100*float64(b.N)*bodyTakes.Seconds()/b.Elapsed().Seconds(), "%ideal")
}
