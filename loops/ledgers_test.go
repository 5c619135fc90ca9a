package loops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// mortal is the store of a process that dies at one of its writes, before or
// after that is stored. slow makes each of its calls take a while.
type mortal struct {
	*loopstest.Memory
	tree  *tree
	at    int // the write; 0: it lives
	after bool
	slow  *rand.Rand

	mu     sync.Mutex
	writes int
}

func (m *mortal) takesTime() {
	if m.slow == nil {
		return
	}
	m.mu.Lock()
	wait := time.Duration(m.slow.IntN(int(10 * time.Millisecond)))
	m.mu.Unlock()
	time.Sleep(wait)
}

func (m *mortal) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	m.takesTime()
	return m.Memory.Load(ctx, id)
}

func (m *mortal) Create(ctx context.Context, s loops.State) (loops.State, error) {
	return m.write(ctx, s, m.Memory.Create)
}

func (m *mortal) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	return m.write(ctx, s, m.Memory.Commit)
}

func (m *mortal) write(ctx context.Context, s loops.State, do func(context.Context, loops.State) (loops.State, error)) (loops.State, error) {
	m.takesTime()
	m.mu.Lock()
	m.writes++
	last := m.writes == m.at
	m.mu.Unlock()
	if last && !m.after {
		m.Close()
	}
	m.tree.stores.Lock()
	got, err := do(ctx, s)
	if err == nil {
		m.tree.covers(m.Memory.As("looker"), got)
	}
	m.tree.stores.Unlock()
	if last && m.after {
		m.Close()
		return loops.State{}, loops.ErrClosed
	}
	return got, err
}

// tree is a chain of loops with several at its end, each of which makes calls.
type tree struct {
	t      *testing.T
	depth  int // loops from the topmost to those that make calls
	leaves int
	calls  int              // of each leaf
	wide   bool             // two loops right below the topmost, not one
	limit  loops.Count      // of the topmost; the others may make twice as many
	most   func() loops.USD // what a call may cost; nil: 10
	cost   func() loops.USD // what it costs, at most that; nil: that
	sloppy func() bool      // whether a start leaves its call to the engine and reports tokens; nil: none does

	stores sync.Mutex // held while something is written

	mu   sync.Mutex
	made map[loops.ID]loops.Usage // calls that were really made
}

// process works on the tree with a store of its own.
func (tr *tree) process(store loops.Store) *world {
	menu := loops.Parts{Handlers: map[string]loops.Body{}}
	menu.Handlers["node"] = loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
		return tr.node(ctx, store, menu, turn)
	})
	return liveWith(tr.t, store, menu, nil)
}

func (tr *tree) start(ctx context.Context, store loops.Store, menu loops.Parts, parent loops.ID, at, n int) (loops.ID, error) {
	with, _ := json.Marshal(map[string]int{"at": at})
	limits := loops.Limits{MaxToolCalls: tr.limit * loops.Count(min(at, 2)), MaxIterations: 1000, MaxPasses: 1000, IterationTimeout: loops.Duration(10 * time.Hour), MaxDuration: loops.Duration(24 * time.Hour), MaxActive: loops.Duration(24 * time.Hour)}
	out, err := loops.New(store, menu, &loops.Options{Parent: parent}).Start(ctx, loops.StartRequest{
		Spec:      loops.Spec{Name: fmt.Sprintf("at%d", at), Goal: "spend", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "node", With: with}, Limits: limits, Stall: &loops.Stall{}},
		RequestID: fmt.Sprintf("%s.%d.%d", parent, at, n)})
	return out.ID, err
}

// node starts the loops below it and waits for them; the last ones make calls.
func (tr *tree) node(ctx context.Context, store loops.Store, menu loops.Parts, turn loops.Turn) (loops.Result, error) {
	var with struct {
		At int `json:"at"`
	}
	if err := json.Unmarshal(turn.Config, &with); err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	if with.At == tr.depth {
		return tr.leaf(ctx, turn)
	}
	below := 1
	switch {
	case with.At == tr.depth-1:
		below = tr.leaves
	case with.At == 1 && tr.wide:
		below = 2
	}
	var ids []loops.ID
	for n := range below {
		id, err := tr.start(ctx, store, menu, turn.Loop, with.At+1, n)
		if err != nil {
			return loops.Result{}, loops.Transient(err, time.Second)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := over(ctx, store, id); err != nil {
			return loops.Result{}, loops.Transient(err, time.Second)
		}
	}
	return loops.Result{Output: "ok", Done: true}, nil
}

// over waits until a loop has settled.
func over(ctx context.Context, store loops.Store, id loops.ID) error {
	for {
		s, err := store.Load(ctx, id)
		if err != nil || s.Status.Settled() {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

func (tr *tree) leaf(ctx context.Context, turn loops.Turn) (loops.Result, error) {
	tr.mu.Lock()
	most := loops.USD(10)
	if tr.most != nil {
		most = tr.most()
	}
	tr.mu.Unlock()
	g, err := turn.Meter.Reserve(ctx, loops.Call{Role: loops.RoleTool, Model: "effect", ToolCalls: 1, Fixed: most})
	if err != nil {
		return loops.Result{}, err
	}
	tr.mu.Lock()
	cost := most
	if tr.cost != nil {
		cost = min(cost, tr.cost())
	}
	sloppy := tr.sloppy != nil && tr.sloppy()
	tr.made[turn.Loop] = tr.made[turn.Loop].Plus(loops.Usage{ToolCalls: 1, CostUSD: cost})
	tr.mu.Unlock()
	select {
	case <-ctx.Done():
		return loops.Result{}, context.Cause(ctx)
	case <-time.After(10 * time.Millisecond):
	}
	result := loops.Result{Output: fmt.Sprint(turn.Iteration), Done: turn.Iteration >= tr.calls}
	if sloppy {
		result.Usage.InputTokens = 7
		return result, nil
	}
	return result, turn.Meter.Settle(ctx, g, loops.Spent{Usage: loops.Usage{ToolCalls: 1, CostUSD: cost}}, nil)
}

// check holds the ledgers of all loops against the calls that were made, and
// against each other.
func (tr *tree) check(store loops.Store, root loops.ID, exact bool) {
	t := tr.t
	t.Helper()
	var visit func(id loops.ID) (made, spent loops.Usage)
	visit = func(id loops.ID) (made, spent loops.Usage) {
		s, err := store.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Status.Settled() {
			t.Errorf("%s is %s (%s)", id, s.Status, s.Why)
		}
		made = tr.made[id]
		for child, total := range s.Children {
			m, sp := visit(child)
			made = made.Plus(m)
			if total.Spent != sp || total.Aside != (loops.Usage{}) {
				t.Errorf("%s knows of %+v spent by %s and %+v set aside there; its ledger has %+v", id, total.Spent, child, total.Aside, sp)
			}
		}
		u := s.Ledger.Usage
		if made.ToolCalls > u.ToolCalls || made.CostUSD > u.CostUSD || u.ToolCalls > int64(s.Limits.MaxToolCalls) || exact && (made.ToolCalls != u.ToolCalls || made.CostUSD != u.CostUSD) {
			t.Errorf("%s: %d calls for %s are in the ledger, %d for %s were made; the limit is %d (%s)", id, u.ToolCalls, u.CostUSD, made.ToolCalls, made.CostUSD, s.Limits.MaxToolCalls, s.Stop.Reason)
		}
		if len(s.Reserved) > 0 {
			t.Errorf("%s has %+v set aside", id, s.Reserved)
		}
		return made, u
	}
	visit(root)
}

// covers checks that the loops above know at any moment of all that was set aside,
// whatever became of it. s has just been written.
func (tr *tree) covers(store loops.Store, s loops.State) {
	check := func(p, s loops.State) {
		there, known := p.Children[s.ID], total(s)
		if has := there.Spent.Plus(there.Aside); has.ToolCalls < known.ToolCalls || has.CostUSD < known.CostUSD || has.TotalTokens < known.TotalTokens {
			tr.t.Errorf("%s knows of %+v of %s, which has %+v", p.ID, there, s.ID, known)
		}
	}
	load := func(id loops.ID) loops.State {
		other, err := store.Load(context.Background(), id)
		if err != nil {
			tr.t.Error(err)
		}
		return other
	}
	if s.Origin.Parent != "" {
		check(load(s.Origin.Parent), s)
	}
	for id := range s.Children {
		check(s, load(id))
	}
}

// total is what a loop has spent and set aside.
func total(s loops.State) loops.Usage {
	sum := s.Ledger.Usage
	for _, r := range s.Reserved {
		sum = sum.Plus(r.Usage)
	}
	for _, d := range s.Children {
		sum = sum.Plus(d.Aside)
	}
	return sum
}

// root starts the topmost loop, in a process that works on nothing.
func (tr *tree) root(store *loopstest.Memory) loops.ID {
	menu := loops.Parts{Handlers: map[string]loops.Body{"node": loops.BodyFunc(func(context.Context, loops.Turn) (loops.Result, error) { return loops.Result{}, nil })}}
	id, err := tr.start(tr.t.Context(), store.As("starter"), menu, "", 1, 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	return id
}

func (tr *tree) settled(store *loopstest.Memory, id loops.ID) {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), time.Hour)
	defer cancel()
	if err := over(ctx, store.As("looker"), id); err != nil {
		heads, _ := store.As("looker").List(tr.t.Context())
		tr.t.Errorf("%v: %+v", err, heads)
	}
}

// TestLedgersAgreeAfterAKillAtEveryWrite: five loops, one below the other, and two
// at the end that spend. The process that works on them dies at one of its writes.
func TestLedgersAgreeAfterAKillAtEveryWrite(t *testing.T) {
	for after, step := range map[bool]int{false: 1, true: 5} { // after one write is nearly before the next
		for at := 1; ; at += step {
			writes := 0
			synctest.Test(t, func(t *testing.T) {
				tr := &tree{t: t, depth: 5, leaves: 2, calls: 2, limit: 3, made: map[loops.ID]loops.Usage{}}
				store := loopstest.NewMemory()
				id := tr.root(store)
				first := &mortal{tree: tr, Memory: store.As("first"), at: at, after: after}
				one := tr.process(first)
				time.Sleep(20 * time.Second)
				one.stop()
				two := tr.process(store.As("second"))
				tr.settled(store, id)
				time.Sleep(20 * time.Second)
				two.stop()
				tr.check(store.As("looker"), id, first.writes < at)
				writes = first.writes
			})
			if t.Failed() {
				t.Fatalf("it died at write %d, after it: %t", at, after)
			}
			if writes < at {
				t.Logf("%d writes", writes)
				break
			}
		}
	}
}

// TestLedgersAgreeAfterKillsAtRandom: two processes at a time work on the tree,
// on a store that takes its time, and die now and then.
func TestLedgersAgreeAfterKillsAtRandom(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			tr := &tree{t: t, depth: 2 + random.IntN(3), leaves: 3, calls: 3, limit: loops.Count(4 + random.IntN(5)), wide: true, made: map[loops.ID]loops.Usage{}}
			tr.most = func() loops.USD { return 10 + loops.USD(random.IntN(10)) }
			tr.cost = func() loops.USD { return loops.USD(random.IntN(11)) }
			tr.sloppy = func() bool { return random.IntN(4) == 0 }
			store := loopstest.NewMemory()
			id := tr.root(store)
			var workers sync.WaitGroup
			for w := range 2 {
				seeds := []uint64{seed, uint64(w) + 2}
				workers.Go(func() {
					own := rand.New(rand.NewPCG(seeds[0], seeds[1]))
					for life := range 6 {
						m := &mortal{tree: tr, Memory: store.As(fmt.Sprint("worker-", w, "-", life)), at: 1 + own.IntN(60), after: own.IntN(2) == 0, slow: rand.New(rand.NewPCG(seed, own.Uint64()))}
						p := tr.process(m)
						time.Sleep(time.Duration(1+own.IntN(3)) * time.Second)
						m.Close()
						p.stop()
					}
				})
			}
			workers.Wait()
			last := tr.process(store.As("last"))
			tr.settled(store, id)
			time.Sleep(20 * time.Second)
			last.stop()
			tr.check(store.As("looker"), id, false)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
