package power_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest/chaos/power"
)

// said is a note of the child: what the store acknowledged, or what it is about
// to do.
type said struct {
	What      string // commit, blob, record, request, started (a body), iteration (a commit of one by the engine), request-done
	ID        loops.ID
	Rev       uint64 `json:",omitempty"`
	Iteration int    `json:",omitempty"`
	Ref       string `json:",omitempty"`
	Key       string `json:",omitempty"`
	N         uint64 `json:",omitempty"`
}

// child is the process whose machine loses power.
type child struct {
	dir   string // of the disk
	notes *os.File
	store *kvstate.Store
	plan  plan
	end   time.Time
}

func runChild(dir string, p plan) error {
	ctx := context.Background()
	notes, err := os.OpenFile(filepath.Join(dir, power.Notes), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer notes.Close()
	home := filepath.Join(dir, "home")
	m, err := embed.Join(ctx, embed.Options{Dir: home, Durability: p.Durability, AllowNetwork: true})
	if err != nil {
		return err
	}
	js, err := jetstream.New(m.Conn())
	if err != nil {
		return err
	}
	store, err := kvstate.Open(ctx, js, &kvstate.Options{Runner: m.Runner(), Alive: m.Alive, Mark: filepath.Join(home, "marks"), Group: p.Loops > 1})
	if err != nil {
		return err
	}
	c := &child{dir: dir, notes: notes, store: store, plan: p, end: time.Now().Add(p.Work)}
	err = c.work(ctx)
	return errors.Join(err, store.Close(), m.Close())
}

// say notes something before anything else happens.
func (c *child) say(s said) {
	data, err := json.Marshal(s)
	if err == nil {
		_, err = c.notes.Write(data)
	}
	if err != nil {
		panic(err)
	}
}

func (c *child) over() bool { return time.Now().After(c.end) }

// work does everything at once that a store is used for.
func (c *child) work(ctx context.Context) error {
	if c.plan.Loops > 0 {
		return c.counted(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for n, do := range []func(context.Context, *rand.Rand, int) error{c.commits, c.commits, c.large, c.records, c.engine} {
		all.Go(func() {
			if err := do(ctx, rand.New(rand.NewPCG(c.plan.Seed, uint64(n))), n); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// commits creates loops and commits small and middling iterations to them, until
// they settle.
func (c *child) commits(ctx context.Context, r *rand.Rand, worker int) error {
	for n := 0; !c.over() && ctx.Err() == nil; n++ {
		id := loops.ID(fmt.Sprintf("plain-%d-%d", worker, n))
		if err := c.oneLoop(ctx, r, id, 1+r.IntN(30), 8<<10); err != nil {
			return err
		}
	}
	return nil
}

// large commits what fills blocks, and what goes to the object store.
func (c *child) large(ctx context.Context, r *rand.Rand, _ int) error {
	for n := 0; !c.over() && ctx.Err() == nil; n++ {
		id := loops.ID(fmt.Sprintf("large-%d", n))
		if err := c.oneLoop(ctx, r, id, 6, 900<<10); err != nil {
			return err
		}
		data := noise(r, 1+r.IntN(700<<10))
		ref, err := c.store.PutBlob(ctx, id, []byte(data))
		if err != nil {
			return err
		}
		c.say(said{What: "blob", ID: id, Ref: ref})
	}
	return nil
}

func (c *child) oneLoop(ctx context.Context, r *rand.Rand, id loops.ID, iterations, most int) error {
	s, err := c.store.Create(ctx, newLoop(id))
	for i := 0; err == nil; i++ {
		c.say(said{What: "commit", ID: id, Rev: s.Rev, Iteration: s.Iteration})
		if i == iterations {
			return nil
		}
		c.rest()
		s, err = c.store.Commit(ctx, iterate(s, noise(r, 1+r.IntN(most)), i == iterations-1))
	}
	return err
}

// records counts in a record and binds request ids.
func (c *child) records(ctx context.Context, r *rand.Rand, _ int) error {
	for n := uint64(1); !c.over() && ctx.Err() == nil; n++ {
		key := fmt.Sprintf("count.%d", r.IntN(3))
		var now uint64
		err := c.store.Update(ctx, key, func(old []byte) ([]byte, error) {
			now = 1
			if len(old) == 8 {
				now = binary.BigEndian.Uint64(old) + 1
			}
			return binary.BigEndian.AppendUint64(nil, now), nil
		})
		if err != nil {
			return err
		}
		c.say(said{What: "record", Key: key, N: now})
		id := loops.ID(fmt.Sprintf("bound-%d", n))
		if _, err := c.store.Reserve(ctx, string("request-"+id), id); err != nil {
			return err
		}
		c.rest()
		c.say(said{What: "request", Key: string("request-" + id), ID: id})
	}
	return nil
}

// rest keeps a long run from making a huge store.
func (c *child) rest() {
	if c.plan.Pause > 0 {
		<-time.After(c.plan.Pause)
	}
}

const maxStarts = 12

// engine has loops worked on, each with a cap on its starts, and steers them.
func (c *child) engine(ctx context.Context, r *rand.Rand, _ int) error {
	started := func(s said) { c.say(s); c.rest() }
	e := newEngine(c.store, started, func(s loops.State, it loops.Iteration) {
		c.say(said{What: "iteration", ID: s.ID, Rev: s.Rev, Iteration: it.Iteration})
	})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	var err error
	for n := 0; !c.over() && ctx.Err() == nil && err == nil; n++ {
		var out loops.Outcome
		out, err = e.Start(ctx, loops.StartRequest{Spec: capped(fmt.Sprintf("engine-%d", n)), RequestID: fmt.Sprint("start-", n)})
		if err != nil {
			break
		}
		c.say(said{What: "request-done", ID: out.ID, Rev: out.Rev})
		for range r.IntN(4) {
			steered, problem := e.Do(ctx, out.ID, loops.Request{Action: loops.SteerIt, Message: "a little to the left"})
			if problem != nil {
				break // it has settled
			}
			c.say(said{What: "request-done", ID: out.ID, Rev: steered.Rev})
		}
		for s := range e.Watch(ctx, out.ID) {
			if s.Status.Settled() {
				break
			}
		}
	}
	cancel()
	return errors.Join(err, <-ended)
}

// counted has a number of loops worked on side by side, and nothing else.
func (c *child) counted(ctx context.Context) error {
	body := loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
		c.say(said{What: "started", ID: t.Loop, Iteration: t.Iteration, N: uint64(t.Ledger.Starts)})
		return loops.Result{Output: fmt.Sprintf("%s did %d", t.Loop, t.Iteration)}, nil
	})
	e := loops.New(c.store, loops.Parts{Handlers: map[string]loops.Body{"count": body}}, &loops.Options{Workers: c.plan.Loops})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	var all sync.WaitGroup
	errs := make([]error, c.plan.Loops)
	for n := range errs {
		all.Go(func() {
			spec := capped(fmt.Sprint("counted-", n))
			spec.Limits.MaxIterations, spec.Stall = loops.Count(c.plan.Each), &loops.Stall{}
			out, err := e.Start(ctx, loops.StartRequest{Spec: spec})
			if err == nil {
				_, _, err = e.Wait(ctx, out.ID, 0, loops.ForSettled, time.Minute, nil)
			}
			errs[n] = err
		})
	}
	all.Wait()
	cancel()
	return errors.Join(append(errs, <-ended)...)
}

// capped is a loop that ends only at its cap.
func capped(name string) loops.Spec {
	return loops.Spec{Name: name, Goal: "count", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "count"},
		Limits: loops.Limits{MaxIterations: maxStarts, MaxPasses: 1000}}
}

// newEngine returns an engine whose bodies say that they start before they do.
func newEngine(store loops.Store, say func(said), committed func(loops.State, loops.Iteration)) *loops.Engine {
	body := loops.BodyFunc(func(_ context.Context, t loops.Turn) (loops.Result, error) {
		say(said{What: "started", ID: t.Loop, Iteration: t.Iteration, N: uint64(t.Ledger.Starts)})
		return loops.Result{Output: fmt.Sprintf("%s did %d at start %d", t.Loop, t.Iteration, t.Ledger.Starts)}, nil
	})
	return loops.New(store, loops.Parts{Handlers: map[string]loops.Body{"count": body}}, &loops.Options{OnIteration: committed})
}

func newLoop(id loops.ID) loops.State {
	now := time.Now().UTC()
	return loops.State{
		ID: id, Status: loops.Paused, Limits: loops.DefaultLimits(), UpdatedAt: now,
		Origin: loops.Origin{Spec: loops.Spec{Name: "test", Goal: "be stored"}, Source: loops.SourceLibrary, CreatedAt: now},
	}
}

// iterate returns s after one more iteration.
func iterate(s loops.State, output string, last bool) loops.State {
	s.Iteration++
	s.Pass = s.Iteration
	s.Output = loops.Text{Text: output, Size: int64(len(output))}
	s.Cursor++
	now := time.Now().UTC()
	s.New = loops.Delta{
		Iteration: &loops.Iteration{Iteration: s.Iteration, Pass: s.Pass, OK: true, Done: true, Output: s.Output, StartedAt: now, EndedAt: now},
		Events:    []loops.Event{{Cursor: s.Cursor, At: now, Type: loops.EventIteration, Text: "one more"}},
	}
	if last {
		s.Status, s.Stop = loops.Completed, &loops.Stop{Reason: loops.GoalClaimed}
	}
	return s
}

// noise returns n bytes of text that does not compress well.
func noise(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%x ", r.Uint64())
	}
	return b.String()[:n]
}
