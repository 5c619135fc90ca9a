package power_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// reopen opens a store as the next boot finds it, with the code that everybody
// uses, and has it looked at.
func reopen(t *testing.T, home string, look func(*audit)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var a audit
	h, err := embed.Start(ctx, embed.Options{Dir: home, Durability: embed.Process})
	if err != nil {
		t.Fatalf("the store can't be started: %v", err)
	}
	defer h.Close()
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Mark: filepath.Join(home, "marks")})
	if err != nil {
		t.Fatalf("the store can't be opened: %v", err)
	}
	defer store.Close()
	a.ctx, a.store = ctx, store
	look(&a)
}

// audit looks at a store from outside.
type audit struct {
	ctx         context.Context
	store       *kvstate.Store
	problems    []string
	quarantine  bool // what is lost may be noticed, instead of being there
	quarantined int
}

func (a *audit) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

// noticed reports whether the store says itself that something is lost, where
// that is enough.
func (a *audit) noticed(err error) bool {
	if !a.quarantine || !errors.Is(err, loops.ErrDamaged) {
		return false
	}
	a.quarantined++
	return true
}

// acknowledged checks that what was said is still true.
func (a *audit) acknowledged(before []note) {
	newest, records := map[loops.ID]said{}, map[string]uint64{}
	for i, n := range before {
		switch n.What {
		case "commit", "iteration", "request-done":
			best := newest[n.ID]
			newest[n.ID] = said{ID: n.ID, Rev: max(best.Rev, n.Rev), Iteration: max(best.Iteration, n.Iteration)}
		case "record":
			records[n.Key] = max(records[n.Key], n.N)
		case "request":
			if i < len(before)-maxAsked && i%maxAsked != 0 {
				continue // one question each takes long
			}
			bound, err := a.store.Reserve(a.ctx, n.Key, "another")
			if a.noticed(err) {
				continue
			}
			if err != nil || bound != n.ID {
				a.problem("the request id %s was bound to %s, now to %s (%v)", n.Key, n.ID, bound, err)
			}
		case "blob":
			if _, err := a.store.Blob(a.ctx, n.ID, n.Ref); err != nil && !a.quarantine { // it has no mark
				a.problem("a blob was acknowledged: %v", err)
			}
		}
	}
	for key, want := range records {
		err := a.store.Update(a.ctx, key, func(old []byte) ([]byte, error) {
			if len(old) != 8 || binary.BigEndian.Uint64(old) < want {
				a.problem("the record %s was %d and is %x", key, want, old)
			}
			return old, nil
		})
		if err != nil && !a.noticed(err) {
			a.problem("the record %s: %v", key, err)
		}
	}
	for i, id := range slices.SortedFunc(maps.Keys(newest), func(x, y loops.ID) int { return cmp.Compare(newest[y].Rev, newest[x].Rev) }) {
		if i < maxAsked || i%17 == 0 {
			a.loop(id, newest[id])
		}
	}
}

// maxAsked is how many of the newest requests and loops are all looked at.
const maxAsked = 300

// loop checks that a loop is as far as it was said to be, and whole.
func (a *audit) loop(id loops.ID, want said) {
	l, err := a.store.History(a.ctx, id)
	if a.noticed(err) {
		return
	}
	if err != nil {
		a.problem("%s was acknowledged at revision %d: %v", id, want.Rev, err)
		return
	}
	if l.Rev < want.Rev || l.Iteration < want.Iteration {
		a.problem("%s was acknowledged at revision %d, iteration %d, and is at %d, %d", id, want.Rev, want.Iteration, l.Rev, l.Iteration)
	}
	if len(l.Iterations) != l.Iteration {
		a.problem("%s has %d iterations and is at %d", id, len(l.Iterations), l.Iteration)
	}
	for i, it := range l.Iterations {
		if it.Iteration != i+1 {
			a.problem("%s: iteration %d is in the place of %d", id, it.Iteration, i+1)
		}
		if it.Output.Blob != "" {
			if _, err := a.store.Blob(a.ctx, id, it.Output.Blob); err != nil && !a.quarantine {
				a.problem("%s: the output of iteration %d: %v", id, it.Iteration, err)
			}
		}
	}
}

// goOn lets the work go on and checks that no loop is started more often than
// its cap and the excess, before and after the cut together, and that each one
// settles.
func (a *audit) goOn(before []note, excess int) {
	var mu sync.Mutex
	starts := map[loops.ID]int{}
	for _, n := range before {
		if n.What == "started" {
			starts[n.ID]++
		}
	}
	e := newEngine(a.store, func(s said) {
		mu.Lock()
		defer mu.Unlock()
		starts[s.ID]++
	}, nil)
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	heads, err := a.store.List(a.ctx)
	if err != nil {
		a.problem("list: %v", err)
	}
	for _, h := range heads {
		if h.Status == loops.Paused {
			continue // nobody works on it
		}
		last := h
		for last = range e.Watch(ctx, h.ID) {
			if last.Status.Settled() {
				break
			}
		}
		if !last.Status.Settled() {
			a.problem("%s does not settle: it is %s (%s)", h.ID, last.Status, last.Summary)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		a.problem("go on: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range starts {
		if n > maxStarts+excess {
			a.problem("%s was started %d times, its cap is %d", id, n, maxStarts)
		}
	}
}
