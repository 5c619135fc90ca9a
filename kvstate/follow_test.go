package kvstate_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestListsGoOnAfterTheDiskLostTheEndOfTheStore: `ls` of a process that was there
// before showed no new loop, and the old ones as they had been, until it was
// started anew, because the server gives the sequences of what was lost again.
func TestListsGoOnAfterTheDiskLostTheEndOfTheStore(t *testing.T) {
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marks %v", marked), func(t *testing.T) {
			dir := t.TempDir()
			at := &kvstate.Whereabouts{}
			first := must[*embed.Host](t)(embed.Start(t.Context(), embed.Options{Dir: dir, Durability: embed.Process}))
			at.Store(first)
			nc := must[*nats.Conn](t)(nats.Connect("", nats.InProcessServer(at), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
				nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond })))
			defer nc.Close()
			opts := kvstate.Options{}
			if marked {
				opts.Mark = filepath.Join(dir, "marks")
			}
			store := open(t, must[jetstream.JetStream](t)(jetstream.New(nc)), &opts)
			states := progress(t, store)

			at.Store(nil)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			change(cutHalf)(t, dir, rand.New(rand.NewPCG(1, 1)))
			noIndex(t, dir, nil)
			second := host(t, dir, embed.Process)
			at.Store(second)

			other := open(t, stream(t, second), &kvstate.Options{Runner: "other"})
			grow := must[loops.State](t)(other.Create(t.Context(), newLoop("new-loop")))
			for n := range 200 { // beyond where the store ended before
				if n < 5 || n%50 == 0 {
					heads := must[[]loops.Head](t)(store.List(t.Context()))
					if h := find(heads, grow.ID); h.Rev != grow.Rev || h.Iteration != grow.Iteration {
						t.Fatalf("the list has the new loop at revision %d, iteration %d; it is at %d, %d", h.Rev, h.Iteration, grow.Rev, grow.Iteration)
					}
				}
				grow = must[loops.State](t)(other.Commit(t.Context(), iterate(grow, noiseOf(300))))
			}
			lost := 0
			for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
				was, old := states[h.ID]
				s, err := store.Load(t.Context(), h.ID)
				switch {
				case marked && old && h.Status == loops.Failed && errors.Is(err, loops.ErrDamaged):
					lost++
				case marked && old && (h.Rev != was.Rev || err != nil):
					t.Errorf("%s was set back from revision %d to %d: %v", h.ID, was.Rev, h.Rev, err)
				case err != nil || s.Rev != h.Rev:
					t.Errorf("the list has %s at revision %d, the store at %d, %v", h.ID, h.Rev, s.Rev, err)
				}
			}
			if marked && lost == 0 {
				t.Error("no loop is quarantined")
			}
		})
	}
}
