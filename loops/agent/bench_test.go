package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// BenchmarkIteration is what an iteration of an agent takes beside its model
// and its tools, which take no time: from an answer to the next call. A pass has
// ten iterations. The store is memory, or a server with and without a sync of
// each write.
func BenchmarkIteration(b *testing.B) {
	for _, store := range []string{"memory", embed.Process, embed.Power} {
		for _, tools := range []int{0, 1, 3} {
			b.Run(fmt.Sprintf("store=%s/tools=%d", store, tools), func(b *testing.B) { benchmarkIteration(b, store, tools) })
		}
	}
}

// quick is a model without latency that asks for tools and finishes each tenth
// time.
type quick struct {
	call  model.Answer
	n     int
	ended time.Time
	turns []time.Duration
}

func (q *quick) Info() model.Info {
	return model.Info{ID: "test/quick", Wire: "test", ContextWindow: 200_000, Price: price()}
}

func (q *quick) Generate(context.Context, model.Request, func(model.Live)) (model.Answer, error) {
	if q.n++; q.n > 1 {
		q.turns = append(q.turns, time.Since(q.ended))
	}
	a := q.call
	if q.n%10 == 0 {
		a = finish(fmt.Sprint("draft ", q.n)).Answer
		a.Message.Blocks[0].Call.ID = "f1"
	}
	a.Usage = model.Usage{Input: 100, Output: 10}
	q.ended = time.Now()
	return a, nil
}

func benchmarkIteration(b *testing.B, where string, tools int) {
	calls := []model.ToolCall{{ID: "n1", Name: "note", Args: json.RawMessage(`{"text":"what I know"}`)}}
	for n := range tools {
		calls = append(calls, model.ToolCall{ID: fmt.Sprint("c", n), Name: "files__read", Args: json.RawMessage(`{"path":"a"}`)})
	}
	q := &quick{call: loopstest.Uses(calls...).Answer}
	e := loops.New(benchStore(b, where), partsOf(&box{tools: usualTools()}, q), nil)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	run := func(n int) {
		out, err := e.Start(ctx, loops.StartRequest{Dir: "/", Spec: agentSpec(func(s *loops.Spec) {
			s.Limits = loops.Limits{MaxIterations: loops.Count(n), MaxTotalTokens: 100_000_000, MaxToolCalls: 100_000, MaxCostUSD: 1000 * loops.Dollar}
			s.Stall = &loops.Stall{}
		})})
		if err != nil {
			b.Fatal(err)
		}
		s, timedOut, err := e.Wait(ctx, out.ID, 0, loops.ForSettled, time.Hour, nil)
		if err != nil || timedOut || s.Ledger.Iterations != n {
			b.Fatalf("%s: timed out %t, %v", s.Summary(), timedOut, err)
		}
	}
	run(50)
	q.turns = nil
	b.ResetTimer()
	for left := b.N; left > 0; left -= 5000 {
		run(min(left, 5000))
	}
	if len(q.turns) == 0 {
		return
	}
	slices.Sort(q.turns)
	b.ReportMetric(float64(q.turns[len(q.turns)/2].Nanoseconds())/1000, "µs/iteration-p50")
}

func benchStore(b *testing.B, where string) loops.Store {
	b.Helper()
	if where == "memory" {
		return loopstest.NewMemory()
	}
	host, err := embed.Start(b.Context(), embed.Options{Dir: filepath.Join(b.TempDir(), "store"), Durability: where})
	if err != nil {
		b.Fatal(err)
	}
	stream, err := jetstream.New(host.Conn())
	if err != nil {
		b.Fatal(err)
	}
	store, err := kvstate.Open(b.Context(), stream, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
		if err := host.Close(); err != nil {
			b.Error(err)
		}
	})
	return store
}
