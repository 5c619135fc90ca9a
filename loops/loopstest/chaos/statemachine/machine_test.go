package statemachine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// machine is the scheduler.
type machine struct {
	*rapid.T
	w         *world
	processes []*process
	client    *process
	began     int
	asked     int
	requests  sync.WaitGroup          // of the client, under way
	acked     map[string]loops.Action // requests that were acknowledged, by id
	cancelled bool
	seen      sightings
}

// TestEveryInterleavingFollowsTheModel is the claim protocol and the rules under
// lost, late and duplicate messages, crashes between any two steps, and workers
// that are taken for dead and go on.
func TestEveryInterleavingFollowsTheModel(t *testing.T) {
	seen := sightings{}
	rapid.Check(t, func(rt *rapid.T) {
		bubble(t, func() { play(rt, seen) })
	})
	t.Log(seen)
	for _, what := range []string{
		"delivered", "refused", "late", "lost", "answer lost", "repeated start", "late spending", "lost lease",
		"queued", "running", "waiting", "paused", "cancelling", "completed", "capped", "failed", "cancelled", "another epoch",
	} {
		if seen[what] == 0 && !t.Failed() {
			t.Errorf("the scheduler never came to: %s", what)
		}
	}
}

// sightings counts what the scheduler came to, so that a blind spot shows.
type sightings map[string]int

// bubble runs f in a synctest bubble and hands on its panic: that is how rapid
// fails and how it ends a case early.
func bubble(t *testing.T, f func()) {
	var failed any
	ok := t.Run("", func(t *testing.T) {
		synctest.Test(t, func(*testing.T) {
			defer func() { failed = recover() }()
			f()
		})
	})
	if failed != nil {
		panic(failed)
	}
	if !ok {
		panic("the bubble failed")
	}
}

func play(rt *rapid.T, seen sightings) {
	m := &machine{T: rt, seen: seen, acked: map[string]loops.Action{}}
	m.w = &world{store: loopstest.NewMemory(), started: map[int]string{}, ended: map[int]result{}, promised: map[int]*process{}}
	m.client = m.w.begin("client", false)
	defer m.endAll()
	out, err := m.client.engine.Start(context.Background(), loops.StartRequest{Spec: loops.Spec{Name: "model", Goal: "follow",
		Body:   loops.BodySpec{Kind: loops.BodyHandler, Name: "work"},
		Retry:  loops.Retry{MaxAttempts: maxAttempts},
		Limits: loops.Limits{MaxIterations: loops.Count(rapid.IntRange(1, 6).Draw(rt, "max_iterations")), MaxFailures: maxFailures, MaxPasses: 1000}}})
	if err != nil {
		rt.Fatal(err)
	}
	m.w.id = out.ID
	m.beginProcess()
	rt.Repeat(map[string]func(*rapid.T){
		"":                m.check,
		"deliver":         func(rt *rapid.T) { m.deliver(m.pick()) },
		"deliver again":   func(rt *rapid.T) { m.deliver(m.pick()) }, // twice as likely
		"deliver twice":   func(rt *rapid.T) { m.deliverTwice(m.pick()) },
		"lose":            func(rt *rapid.T) { m.lose(m.pick()) },
		"give up":         func(rt *rapid.T) { m.giveUp(m.pick()) },
		"lose the answer": func(rt *rapid.T) { m.loseAnswer(m.pick()) },
		"body ends":       m.endBody,
		"body ends well":  m.endBody,
		"request":         m.request,
		"process":         func(*rapid.T) { m.beginProcess() },
		"crash":           m.crash,
		"taken for dead":  m.loseLease,
		"stop":            m.stop,
		"time": func(rt *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{100 * time.Millisecond, 3 * time.Second, 15 * time.Second}).Draw(rt, "time"))
		},
	})
	m.finish()
}

func (m *machine) check(rt *rapid.T) {
	synctest.Wait()
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if len(m.w.problems) > 0 {
		rt.Fatal(strings.Join(m.w.problems, "\n"))
	}
}

func (m *machine) endBody(rt *rapid.T) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if len(m.w.bodies) == 0 {
		rt.Skip("no body runs")
	}
	b := m.w.bodies[rapid.IntRange(0, len(m.w.bodies)-1).Draw(rt, "body")]
	how := rapid.SampledFrom([]result{more, more, more, done, fails, transient, permanent}).Draw(rt, "how")
	select {
	case b.reply <- how:
	default: // it has been told
	}
}

// request sends one from the client, and notes when it is acknowledged.
func (m *machine) request(rt *rapid.T) {
	action := rapid.SampledFrom([]loops.Action{loops.SteerIt, loops.PauseIt, loops.ResumeIt, loops.ResumeIt, loops.SetLimits, loops.SetLimits, loops.Reopen, loops.CancelIt}).Draw(rt, "action")
	m.asked++
	r := loops.Request{Action: action, Message: fmt.Sprint("request ", m.asked), RequestID: fmt.Sprint("r", m.asked)}
	if action == loops.SetLimits {
		r.Limits.MaxIterations = loops.Count(rapid.IntRange(1, 20).Draw(rt, "max_iterations"))
	}
	m.requests.Go(func() {
		out, err := m.client.engine.Do(context.Background(), m.w.id, r)
		if err == nil && !out.AlreadySettled {
			m.w.mu.Lock()
			defer m.w.mu.Unlock()
			m.acked[r.RequestID] = action
			m.cancelled = m.cancelled || action == loops.CancelIt
		}
	})
}

func (m *machine) beginProcess() {
	if len(m.living()) >= 2 {
		m.Skip("two are enough")
	}
	m.began++
	m.processes = append(m.processes, m.w.begin(fmt.Sprint("worker-", m.began), true))
}

// living are the processes that are neither dead nor taken for it nor told to stop.
func (m *machine) living() (all []*process) {
	for _, p := range m.processes {
		if !p.is(&p.dead) && !p.is(&p.lost) && !p.is(&p.told) {
			all = append(all, p)
		}
	}
	return all
}

func (m *machine) pickProcess(rt *rapid.T) *process {
	all := m.living()
	if len(all) == 0 {
		rt.Skip("nobody lives")
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(rt, "process")]
}

// crash ends a process as SIGKILL does. What it has sent may still arrive.
func (m *machine) crash(rt *rapid.T) {
	p := m.pickProcess(rt)
	m.kill(p)
}

func (m *machine) kill(p *process) {
	p.set(&p.dead)
	m.w.store.Kill(p.name)
	m.w.mu.Lock()
	m.w.bodies = slices.DeleteFunc(m.w.bodies, func(b *start) bool { return b.of == p })
	for _, msg := range m.w.wire {
		if msg.from == p {
			msg.answer(loops.State{}, loops.ErrClosed)
		}
	}
	m.w.mu.Unlock()
	p.stop()
}

// loseLease has others take a process for dead that goes on.
func (m *machine) loseLease(rt *rapid.T) {
	p := m.pickProcess(rt)
	p.set(&p.lost)
	m.w.store.Kill(p.name)
}

// stop tells a process to end.
func (m *machine) stop(rt *rapid.T) {
	p := m.pickProcess(rt)
	p.set(&p.told)
	p.stop()
}

// finish lets everything arrive and the living processes work on: the loop comes
// to rest.
func (m *machine) finish() {
	living := m.living()
	for _, p := range m.processes {
		if !slices.Contains(living, p) {
			m.drain()
			m.kill(p)
		}
	}
	if len(living) == 0 {
		m.beginProcess()
	}
	var s loops.State
	for range 200 {
		m.drain()
		var err error
		if s, err = m.w.store.Load(context.Background(), m.w.id); err != nil {
			m.Fatal(err)
		}
		if s.Status.Settled() || s.Status == loops.Paused {
			break
		}
		time.Sleep(5 * time.Second)
	}
	m.check(m.T)
	if !s.Status.Settled() && s.Status != loops.Paused {
		m.Fatalf("the loop never comes to rest: %+v", modelOf(s))
	}
	m.journal(s)
}

// drain delivers all messages and ends all bodies well.
func (m *machine) drain() {
	for range 1000 {
		synctest.Wait()
		m.w.mu.Lock()
		var msg *message
		if len(m.w.wire) > 0 {
			msg = m.w.wire[0]
		}
		for _, b := range m.w.bodies {
			select {
			case b.reply <- done:
			default:
			}
		}
		idle := msg == nil && len(m.w.bodies) == 0
		m.w.mu.Unlock()
		if msg != nil {
			m.deliver(msg)
		} else if idle {
			return
		}
	}
	m.Fatal("messages and bodies without end")
}

// journal checks what is left behind.
func (m *machine) journal(s loops.State) {
	l, err := m.w.store.History(context.Background(), m.w.id)
	if err != nil {
		m.Fatal(err)
	}
	outputs, settles := map[string]bool{}, uint64(0)
	for i, it := range l.Iterations {
		if it.Iteration != i+1 {
			m.Errorf("iteration %d is in the place of %d", it.Iteration, i+1)
		}
		outputs[it.Output.Text] = true
	}
	if len(l.Iterations) != s.Iteration {
		m.Errorf("%d iterations in the journal, %d in the ledger", len(l.Iterations), s.Iteration)
	}
	for i, e := range l.Events {
		if e.Cursor != uint64(i+1) {
			m.Errorf("event %d is in the place of %d", e.Cursor, i+1)
		}
		if e.Type == loops.EventSettled {
			settles++
		}
	}
	if ends := s.Epoch - 1; settles < ends || settles > ends+1 || (settles == ends+1) != s.Status.Settled() {
		m.Errorf("%d terminal records in %d epochs, and the loop is %s", settles, s.Epoch, s.Status)
	}
	if len(m.w.started) > s.Ledger.Starts {
		m.Errorf("%d starts ran, %d are charged", len(m.w.started), s.Ledger.Starts)
	}
	for id, action := range m.acked {
		if !slices.ContainsFunc(s.Requests, func(h loops.Handled) bool { return h.ID == id }) && len(s.Requests) < 32 {
			m.Errorf("%s %s was acknowledged and is not there", action, id)
		}
	}
	if m.cancelled && s.Status != loops.Cancelled {
		m.Errorf("a cancel was acknowledged, and the loop is %s", s.Status)
	}
	for n, p := range m.w.promised {
		if out := fmt.Sprint("of start ", n); !outputs[out] && !p.is(&p.dead) && !p.is(&p.lost) && !p.is(&p.told) {
			m.Errorf("the result of start %d is lost, and %s was there all the time", n, p.name)
		}
	}
}

// endAll leaves nothing behind in the bubble.
func (m *machine) endAll() {
	for _, p := range append(m.processes, m.client) {
		m.kill(p)
		<-p.ended
	}
	for range 3 { // requests that wait for an answer
		m.w.mu.Lock()
		for _, msg := range m.w.wire {
			msg.answer(loops.State{}, loops.ErrClosed)
		}
		m.w.wire = nil
		m.w.mu.Unlock()
		synctest.Wait()
	}
	m.requests.Wait() // of which a message was lost: they give up in time
}
