package kvstate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

var seed = flag.Uint64("seed", 0, "of the instants and places of kills and damage; 0: a new one, which is printed")

// seeded is what a test draws from, and says how to draw the same again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	n := *seed
	if n == 0 {
		n = rand.Uint64()>>1 + 1
	}
	t.Logf("again: go test ./kvstate -run %q -seed %d", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", n)
	return rand.New(rand.NewPCG(n, 1))
}

func TestMain(m *testing.M) {
	clustertest.Main()
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	if dir := os.Getenv(sharedDir); dir != "" {
		sharedChild(dir)
		return
	}
	if dir := os.Getenv(resumeDir); dir != "" {
		fmt.Fprintln(os.Stderr, resumeChild(dir))
		os.Exit(1)
	}
	ats.Register() // the server's clock, outside every bubble
	os.Exit(leaktest.Run(m))
}

// host runs a server that ends with the test.
func host(t testing.TB, dir, durability string) *embed.Host {
	t.Helper()
	h, err := embed.Start(t.Context(), embed.Options{Dir: dir, Durability: durability})
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

func stream(t testing.TB, h *embed.Host) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// open opens a store that is closed at the end of the test.
func open(t testing.TB, js jetstream.JetStream, opts *kvstate.Options) *kvstate.Store {
	t.Helper()
	s, err := kvstate.Open(t.Context(), js, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fresh opens a store on a server of its own.
func fresh(t testing.TB, opts *kvstate.Options) (*kvstate.Store, jetstream.JetStream) {
	t.Helper()
	js := stream(t, host(t, t.TempDir(), embed.Process))
	return open(t, js, opts), js
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newLoop returns a small state that wants a worker.
func newLoop(id loops.ID) loops.State {
	now := time.Now().UTC()
	return loops.State{
		ID: id, Status: loops.Queued, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "test", Goal: "be stored"}, Source: loops.SourceLibrary, CreatedAt: now},
	}
}

// iterate returns s after one more iteration with the given output.
func iterate(s loops.State, output string) loops.State {
	s.Iteration++
	s.Pass, s.Status = s.Iteration, loops.Paused
	s.Output = loops.Text{Text: output, Size: int64(len(output))}
	s.Cursor++
	now := time.Now().UTC()
	s.New = loops.Delta{
		Iteration: &loops.Iteration{Iteration: s.Iteration, Pass: s.Pass, OK: true, Done: true, Output: s.Output, StartedAt: now, EndedAt: now},
		Decision:  &loops.Verdict{Iteration: s.Iteration, Kind: "command", Reason: "exit 1"},
		Events:    []loops.Event{{Cursor: s.Cursor, At: now, Type: loops.EventIteration, Text: fmt.Sprint("iteration ", s.Iteration)}},
	}
	return s
}

func text(n int) string { return strings.Repeat("a line of output, not very exciting\n", n/36+1)[:n] }

// records returns how many messages the stream holds for a loop.
func records(t testing.TB, js jetstream.JetStream, id loops.ID) uint64 {
	t.Helper()
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	info := must[*jetstream.StreamInfo](t)(st.Info(t.Context(), jetstream.WithSubjectFilter("$KV.LOOPS."+string(id))))
	return info.State.Subjects["$KV.LOOPS."+string(id)]
}

// noiseOf returns n bytes that do not compress well.
func noiseOf(n int) string { return noise(rand.New(rand.NewPCG(uint64(n), 7)), n) }

// wholeBytes spares cmp the single bytes of large values.
var wholeBytes = cmp.Comparer(func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
