package linear_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"example.com/loop-mcp/internal/kepttest"
	"example.com/loop-mcp/loops"
)

var (
	histories = flag.Int("histories", 20, "how many histories to check")
	seed      = flag.Uint64("seed", 0, "of what the clients do and when a process is killed; 0: a new one")
)

const (
	clients   = 8
	calls     = 14 // of each client
	processes = 3
)

// history is what happened to one loop.
type history struct {
	name    string
	id      loops.ID
	created view
	began   time.Time

	mu      sync.Mutex
	ops     []porcupine.Operation
	newest  view          // that any client saw
	answers int           // so far
	after   int           // answers until reached is closed
	reached chan struct{} // nil: nobody waits
}

// cluster is the processes. A client uses whichever has its place.
type cluster struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	fresh *sync.Cond // a process was replaced
	all   [processes]*process
	kills int
	hosts int // of the killed
}

func newCluster(t *testing.T, stale bool) *cluster {
	c := &cluster{t: t, dir: kepttest.Dir(t)}
	c.fresh = sync.NewCond(&c.mu)
	for i := range c.all {
		c.all[i] = begin(t, c.dir, stale && i == 0)
	}
	t.Cleanup(func() {
		for _, p := range c.all {
			p.kill()
		}
	})
	return c
}

func (c *cluster) at(i int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[i]
}

// next waits until another process has the place of p.
func (c *cluster) next(i int, p *process) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.all[i] == p {
		c.fresh.Wait()
	}
	return c.all[i]
}

// replace kills the process in a place and begins another one.
func (c *cluster) replace(i int) {
	old := c.at(i)
	old.kill()
	fresh := begin(c.t, c.dir, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[i] = fresh
	c.fresh.Broadcast()
	c.kills++
	if old.host {
		c.hosts++
	}
}

// record has the clients at one loop, and kills a process in the middle.
func (c *cluster) record(name string, r *rand.Rand, kill bool) *history {
	h := &history{name: name, began: time.Now(), after: 1 + r.IntN(clients*calls/2), reached: make(chan struct{})}
	first, ok := c.at(1).call(wire{Call: call{ID: name, Max: 3 + r.IntN(8)}})
	if !ok || first.Reply.Problem != "" {
		c.t.Fatalf("start: %+v", first)
	}
	h.id, h.created, h.newest = first.Loop, first.Reply.View, first.Reply.View
	var all sync.WaitGroup
	for i := range clients {
		r := rand.New(rand.NewPCG(r.Uint64(), uint64(i)))
		all.Go(func() { c.client(h, i, r) })
	}
	victim := r.IntN(processes)
	if kill {
		<-h.reached
		c.replace(victim)
	}
	all.Wait()
	return h
}

// client makes its calls, one after another. One that is not answered is sent
// again, once.
func (c *cluster) client(h *history, i int, r *rand.Rand) {
	for n := range calls {
		one := h.choose(fmt.Sprintf("%s-%d-%d", h.name, i, n), r)
		place := r.IntN(processes)
		p := c.at(place)
		answered, gone := c.send(h, i, p, one)
		if gone {
			p = c.next(place, p)
		}
		if !answered {
			c.send(h, i, p, one)
		}
	}
}

// choose makes a call that is likely to be possible.
func (h *history) choose(id string, r *rand.Rand) call {
	h.mu.Lock()
	now := h.newest
	h.mu.Unlock()
	switch n := r.IntN(100); {
	case n < 25:
		return call{ID: id, Action: loops.Submit, Attention: fmt.Sprint("it-", now.Iterations+1)}
	case n < 40:
		return call{ID: id, Action: loops.SteerIt}
	case n < 50:
		return call{ID: id, Action: loops.PauseIt}
	case n < 65:
		return call{ID: id, Action: loops.ResumeIt}
	case n < 75:
		return call{ID: id, Action: loops.SetLimits, Max: now.Starts + r.IntN(5)}
	case n < 88:
		return call{ID: id, Action: inspect}
	case n < 99:
		return call{ID: id, Action: list, Attention: h.name}
	}
	return call{ID: id, Action: loops.CancelIt}
}

// send makes a call and notes it. It reports whether it was answered, and whether
// the process is gone.
func (c *cluster) send(h *history, client int, p *process, one call) (answered, gone bool) {
	op := porcupine.Operation{ClientId: client, Input: one, Call: int64(time.Since(h.began))}
	answer, ok := p.call(wire{Loop: h.id, Call: one})
	op.Return = int64(time.Since(h.began))
	r := answer.Reply
	gone = !ok
	if ok = ok && r.Problem == ""; !ok {
		r = reply{Unknown: true}
		op.Return = math.MaxInt64
	}
	op.Output = r
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	if ok {
		if h.answers++; h.answers == h.after {
			close(h.reached)
		}
	}
	if r.View.Rev > h.newest.Rev {
		h.newest = r.View
	}
	return ok, gone
}

// check looks for an order of the calls that one loop could have had.
func (h *history) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(sequential(h.created), h.known(), time.Minute)
}

// known is the history with what the answer to a repeated call tells of the first
// one: it had happened, or it has not and never will. If it has all the same, there
// is no order of the calls that explains what others see.
func (h *history) known() (ops []porcupine.Operation) {
	repeated, times := map[string]porcupine.Operation{}, map[string]int{}
	for _, op := range h.ops {
		times[op.Input.(call).ID]++
		if !op.Output.(reply).Unknown {
			repeated[op.Input.(call).ID] = op
		}
	}
	for _, op := range h.ops {
		in, out := op.Input.(call), op.Output.(reply)
		again, answered := repeated[in.ID]
		switch {
		case out.Reused && times[in.ID] == 1:
			// The host was killed under it, and others wrote before it could look:
			// it happened, and the answer shows what came later.
			op.Output = reply{Happened: true}
			look := op
			look.Input, look.Output = call{Action: inspect}, reply{View: out.View}
			ops = append(ops, look)
		case out.Unknown && (in.Action == inspect || in.Action == list):
			continue
		case out.Unknown && answered && !again.Output.(reply).Reused:
			continue
		case out.Unknown && answered:
			op.Return = again.Return
			op.Output = reply{Happened: true}
		}
		ops = append(ops, op)
	}
	return ops
}

// unanswered counts the calls that may have happened or not.
func (h *history) unanswered() (n int) {
	for _, op := range h.ops {
		if op.Output.(reply).Unknown {
			n++
		}
	}
	return n
}

// TestOneLoopUnderManyClientsIsLinearizable: eight clients, three processes, one
// of them killed in the middle.
func TestOneLoopUnderManyClientsIsLinearizable(t *testing.T) {
	r := seeded(t)
	c := newCluster(t, false)
	ops, open, reused := 0, 0, 0
	for i := range *histories {
		h := c.record(fmt.Sprint("h", i), r, true)
		if got := h.check(); got != porcupine.Ok {
			t.Errorf("history %d: %s; it is in %s", i, got, h.keep(t))
		}
		ops += len(h.ops)
		open += h.unanswered()
		for _, op := range h.ops {
			if op.Output.(reply).Reused {
				reused++
			}
		}
	}
	t.Logf("%d histories, %d calls, %d unanswered, %d of those had happened; %d kills, %d of a host", *histories, ops, open, reused, c.kills, c.hosts)
	if open == 0 || c.hosts == 0 {
		t.Errorf("%d calls were cut off and %d hosts killed: the kills show nothing", open, c.hosts)
	}
}

// TestTheCheckerSeesAStaleRead: a process that answers inspect with what it saw
// first is found out.
func TestTheCheckerSeesAStaleRead(t *testing.T) {
	c, r := newCluster(t, true), seeded(t)
	for i := range 3 {
		if got := c.record(fmt.Sprint("stale", i), r, false).check(); got == porcupine.Illegal {
			return
		}
	}
	t.Error("three histories with stale reads were taken for good")
}

// TestTheCheckerSeesAnUpdateThatIsLost: two clients are told that they have handed
// in the same iteration, or what one of them did leaves no trace.
func TestTheCheckerSeesAnUpdateThatIsLost(t *testing.T) {
	c, r := newCluster(t, false), seeded(t)
	h := c.record("lost", r, false)
	if got := h.check(); got != porcupine.Ok {
		t.Fatalf("the history itself: %s", got)
	}
	done := slices.IndexFunc(h.ops, func(op porcupine.Operation) bool {
		in, out := op.Input.(call), op.Output.(reply)
		return in.Action == loops.Submit && out.Refused == ""
	})
	if done < 0 {
		t.Fatal("nothing was submitted")
	}
	twice := h.ops[done]
	in := twice.Input.(call)
	in.ID += "-again"
	twice.Input = in
	for name, ops := range map[string][]porcupine.Operation{
		"submitted twice": append(slices.Clone(h.ops), twice),
		"no trace":        slices.Delete(slices.Clone(h.ops), done, done+1),
	} {
		if got := porcupine.CheckOperationsTimeout(sequential(h.created), ops, time.Minute); got != porcupine.Illegal {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func seeded(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = rand.Uint64()>>1 + 1
	}
	t.Logf("seed %d (the same calls and kills again: -run '^%s$' -seed %d; the timing is the machine's)", n, t.Name(), n)
	return rand.New(rand.NewPCG(n, 1))
}

// keep writes a history to a file that stays.
func (h *history) keep(t *testing.T) string {
	f, err := os.CreateTemp("", "history-*.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s, created as %+v\n", h.name, h.created)
	for _, op := range h.ops {
		fmt.Fprintf(f, "client %d, %d to %d µs: %+v → %+v\n", op.ClientId, op.Call/1000, op.Return/1000, op.Input, op.Output)
	}
	return f.Name()
}
