package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// errUnanswered is what the sender of a message gets that is lost on the way there
// or back.
var errUnanswered = errors.New("no answer")

// message is a commit under way.
type message struct {
	from  *process
	state loops.State
	reply chan answer // nil: its sender has given it up
}

type answer struct {
	state loops.State
	err   error
}

func (m *message) answer(s loops.State, err error) {
	if m.reply != nil {
		m.reply <- answer{s, err}
		m.reply = nil
	}
}

func (m *message) String() string {
	return fmt.Sprintf("commit of %s at revision %d: %s", m.from.name, m.state.Rev, m.state.Status)
}

// start is a body that is under way.
type start struct {
	of    *process
	turn  loops.Turn
	reply chan result
}

// world is the loop, its store, the wire and the processes.
type world struct {
	store *loopstest.Memory // as the server sees it
	id    loops.ID

	mu       sync.Mutex
	wire     []*message
	bodies   []*start
	started  map[int]string   // process by number of the start
	ended    map[int]result   // by number of the start
	promised map[int]*process // starts that ended well, and whose result nothing may cost
	problems []string
}

func (w *world) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// process is an engine with its view of the store.
type process struct {
	*loopstest.Memory // as the server sees it
	w                 *world
	name              string
	ready             *loopstest.Memory // as this process sees it
	engine            *loops.Engine
	stop              context.CancelFunc
	ended             chan error

	mu     sync.Mutex
	dead   bool // none of its calls gets anywhere
	lost   bool // others take it for dead
	told   bool // to stop
	zombie chan struct{}
}

// start begins a process. A client has no workers.
func (w *world) begin(name string, works bool) *process {
	p := &process{Memory: w.store, w: w, name: name, ready: w.store.As(name), ended: make(chan error, 1), zombie: make(chan struct{})}
	p.engine = loops.New(p, loops.Parts{Handlers: map[string]loops.Body{"work": loops.BodyFunc(p.body)}}, nil)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	if !works {
		p.ended <- nil
		return p
	}
	go func() { p.ended <- p.engine.Run(ctx) }()
	return p
}

// Runner implements [loops.Store].
func (p *process) Runner() string { return p.name }

// Ready implements [loops.Store].
func (p *process) Ready(ctx context.Context) (loops.ID, uint64, error) {
	id, rev, err := p.ready.Ready(ctx)
	if errors.Is(err, loops.ErrClosed) && !p.is(&p.dead) { // taken for dead: it sees nothing new and does not know why
		<-ctx.Done()
	}
	return id, rev, err
}

// Requeue implements [loops.Store].
func (p *process) Requeue(id loops.ID) { p.ready.Requeue(id) }

// Watch implements [loops.Store].
func (p *process) Watch(ctx context.Context, id loops.ID, after uint64) iter.Seq2[loops.Head, error] {
	return p.Memory.Watch(ctx, id, after)
}

// Load implements [loops.Store].
func (p *process) Load(ctx context.Context, id loops.ID) (loops.State, error) {
	if p.is(&p.dead) {
		return loops.State{}, loops.ErrClosed
	}
	return p.Memory.Load(ctx, id)
}

// Commit implements [loops.Store].
func (p *process) Commit(ctx context.Context, s loops.State) (loops.State, error) {
	if p.is(&p.dead) {
		return loops.State{}, loops.ErrClosed
	}
	m := &message{from: p, state: s, reply: make(chan answer, 1)}
	reply := m.reply
	p.w.mu.Lock()
	p.w.wire = append(p.w.wire, m)
	p.w.mu.Unlock()
	select {
	case a := <-reply:
		return a.state, a.err
	case <-ctx.Done():
		return loops.State{}, ctx.Err()
	}
}

func (p *process) is(flag *bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *flag
}

func (p *process) set(flag *bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*flag = true
}

// body waits until the scheduler says how it ends. It checks that its start was
// charged before, and never ran elsewhere.
func (p *process) body(ctx context.Context, t loops.Turn) (loops.Result, error) {
	if p.is(&p.dead) {
		return loops.Result{}, loops.ErrClosed
	}
	s, err := p.w.store.Load(context.Background(), t.Loop)
	n := t.Ledger.Starts
	b := &start{of: p, turn: t, reply: make(chan result, 1)}
	p.w.mu.Lock()
	switch before, twice := p.w.started[n]; {
	case err != nil:
		p.w.problems = append(p.w.problems, err.Error())
	case twice:
		p.w.problems = append(p.w.problems, fmt.Sprintf("start %d ran in %s and in %s", n, before, p.name))
	case s.Ledger.Starts < n:
		p.w.problems = append(p.w.problems, fmt.Sprintf("start %d runs, %d are charged", n, s.Ledger.Starts))
	}
	p.w.started[n] = p.name
	p.w.bodies = append(p.w.bodies, b)
	p.w.mu.Unlock()
	how := cut
	select {
	case how = <-b.reply:
	case <-ctx.Done():
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.bodies = slices.DeleteFunc(p.w.bodies, func(other *start) bool { return other == b })
	p.w.ended[n] = how
	r := loops.Result{Output: fmt.Sprint("of start ", n), Usage: loops.Usage{TotalTokens: 1}}
	switch how {
	case more, done:
		r.Done = how == done
		p.w.promised[n] = p
		return r, nil
	case transient:
		return r, loops.Transient(errors.New("busy"), 0)
	case permanent:
		return r, loops.Permanent(errors.New("broken"))
	case cut:
		return r, ctx.Err()
	default:
		return r, errors.New("failed")
	}
}
