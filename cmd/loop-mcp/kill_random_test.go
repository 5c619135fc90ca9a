package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// spenders are loops with random prices, sizes and limits, and the processes that
// work on them and are killed again and again.
type spenders struct {
	*outside
	b       *box
	random  *rand.Rand
	ids     []string
	caps    []caps
	daily   int64 // what all may spend in a day, in micro-dollars; 0: no such limit
	day     int   // that the daily limit was set on
	told    []ledger
	again   []int // runs of write that a person approved once more, by job
	status  []string
	alive   []process
	gen     int
	meddled int
}

const spendingLoops = 4

func newSpenders(t *testing.T, seed uint64) *spenders {
	s := &spenders{b: newBox(t), random: rand.New(rand.NewPCG(seed, 3))}
	var jobs []*job
	for range spendingLoops {
		jobs = append(jobs, s.randomJob())
	}
	s.outside = newOutside(t, seed, jobs...)
	var most int64
	for _, j := range jobs {
		s.caps = append(s.caps, s.randomCaps(j))
		most += s.caps[len(s.caps)-1].cost
	}
	if s.random.IntN(2) == 0 {
		s.daily, s.day = 1+s.random.Int64N(most), time.Now().UTC().YearDay()
	}
	s.configure(s.b, 400+s.random.IntN(8000), "[]", s.daily)
	s.b.generation(0)
	for i, c := range s.caps {
		s.b.want(0, []string{"start", s.spendingLoop(s.b, i, c.yaml())})
		s.ids = append(s.ids, s.b.only(fmt.Sprintf("job-%02d", i)))
	}
	s.told, s.again, s.status = make([]ledger, len(jobs)), make([]int, len(jobs)), make([]string, len(jobs))
	return s
}

func (s *spenders) randomJob() *job {
	price := func() rates {
		in := 1 + s.random.Int64N(20_000_000)
		if s.random.IntN(2) == 0 { // what it says costs more than what it hears
			in = 1 + in/100
		}
		return rates{in, 1 + s.random.Int64N(in), 1 + s.random.Int64N(60_000_000)}
	}
	seed := s.random.Uint64()
	return &job{worker: price(), judge: price(), dense: max(1, s.random.Int64N(4)), drafts: s.random.IntN(5), padding: 1 + s.random.IntN(3000), trouble: 6,
		script: func(pass, turn int) []string { // the same whenever it is asked
			random := rand.New(rand.NewPCG(seed, uint64(100*pass+turn)))
			if random.IntN(4) == 0 || turn > 12 {
				return [][]string{nil, {"finish"}}[random.IntN(2)]
			}
			var calls []string
			for range 1 + random.IntN(3) {
				calls = append(calls, []string{"tools__look", "tools__write"}[random.IntN(2)])
			}
			return calls
		}}
}

// randomCaps are enough for a few answers, or for all.
func (s *spenders) randomCaps(j *job) caps {
	answers := 1 + s.random.Int64N(25)
	in := 2000 + 12_000/j.dense
	return caps{cost: answers * (in*j.worker.input + 500*j.worker.output) / 1_000_000, tokens: 20_000 + answers*in*s.random.Int64N(5), tools: 1 + s.random.Int64N(40)}
}

// process is one that works on the loops.
type process struct {
	c   *client
	gen int
}

// life lets one or two processes work on the loops until one of them is killed,
// in the middle of the request to the outside that comes as number target from
// now, or until all loops have settled. A process that was not killed lives on.
func (s *spenders) life(target int) {
	s.t.Helper()
	for len(s.alive) < 1+s.random.IntN(2) {
		s.gen++
		s.b.generation(s.gen)
		s.alive = append(s.alive, process{s.b.connect(), s.gen})
	}
	died, spare := s.killAt(target)
	defer s.watch(nil)
	for looks := 0; !s.settled(); looks++ {
		if looks > 10_000 {
			s.t.Fatalf("no end: the loops are %v", s.status)
		}
		at := s.random.IntN(len(s.alive))
		ok := s.look(s.alive[at].c, s.random.IntN(len(s.ids)))
		select {
		case gen := <-died:
			s.bury(gen)
			return
		default:
		}
		if ok {
			continue
		}
		select { // its killer is about to say so
		case gen := <-died:
			s.bury(gen)
			return
		case <-time.After(time.Minute):
			s.t.Fatalf("process %d is gone, and nobody killed it: %s", s.alive[at].gen, s.alive[at].c.stderr.text())
		}
	}
	spare()
	select {
	case gen := <-died:
		s.bury(gen)
	default:
	}
}

// killAt has a process killed at the request to the outside that comes as number
// target from now; 0: never. The channel tells which one. After spare nobody is
// killed any more.
func (s *spenders) killAt(target int) (died chan int, spare func()) {
	died = make(chan int, 1)
	var once sync.Once
	spare = func() { once.Do(func() {}) }
	if target == 0 {
		return died, spare
	}
	alive := slices.Clone(s.alive)
	own, wait, late := s.random.IntN(3) > 0, s.random.IntN(2) == 0, s.random.IntN(6)
	s.mu.Lock()
	from := s.passed
	s.mu.Unlock()
	s.watch(func(ctx context.Context, p point) {
		if p.n-from != target {
			return
		}
		victim := alive[0]
		for _, other := range alive {
			if (other.gen == p.gen) == own { // the one that asks, or one beside it
				victim = other
			}
		}
		kill := func() {
			for range late { // the program goes on meanwhile
				if r, err := http.Get(s.server.URL); err == nil {
					r.Body.Close()
				}
			}
			once.Do(func() {
				_ = victim.c.cmd.Process.Kill()
				died <- victim.gen
			})
		}
		if !wait { // the request goes on
			go kill()
			return
		}
		if kill(); victim.gen == p.gen {
			<-ctx.Done()
		}
	})
	return died, spare
}

// bury waits for the end of a process that was killed.
func (s *spenders) bury(gen int) {
	i := slices.IndexFunc(s.alive, func(p process) bool { return p.gen == gen })
	_ = s.alive[i].c.cmd.Wait()
	s.alive = slices.Delete(s.alive, i, i+1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed[gen] = true
}

func (s *spenders) settled() bool {
	for _, status := range s.status {
		if status != "completed" && status != "capped" {
			return false
		}
	}
	return true
}

// look asks the server about a loop and moves it on when it waits for somebody.
// It returns false when the server is gone.
func (s *spenders) look(c *client, i int) bool {
	s.t.Helper()
	tool, args := "loop_wait", map[string]any{"wait_seconds": 1, "for": "attention"}
	if s.random.IntN(2) == 0 {
		tool, args = "loop_inspect", map[string]any{}
	}
	snapshot, problem, ok := s.ask(c, i, tool, args)
	if !ok {
		return false
	}
	if problem != "" {
		s.t.Fatalf("a loop that was acknowledged is lost: %s", problem)
	}
	now := ledgerOf(snapshot)
	if now.below(s.told[i]) {
		s.t.Fatalf("%s: the ledger went back from %+v to %+v", s.ids[i], s.told[i], now)
	}
	s.told[i], s.status[i] = now, fmt.Sprint(snapshot["status"])
	if s.status[i] == "failed" {
		s.t.Fatalf("%s failed: %v", s.ids[i], snapshot["stop"])
	}
	return s.move(c, i, snapshot)
}

// move decides what a loop asks, resumes it, or lets a person meddle. What is
// refused because the loop has moved meanwhile changes nothing.
func (s *spenders) move(c *client, i int, snapshot map[string]any) (ok bool) {
	s.t.Helper()
	tool, args := "loop_continue", map[string]any{}
	switch status := s.status[i]; {
	case status == "needs_input":
		tool, args["decision"] = "loop_approve", []string{"approve", "deny"}[s.random.IntN(2)]
		owed, _ := snapshot["attention"].(map[string]any)
		args["attention_id"] = owed["id"]
		if args["decision"] == "approve" { // counts also when the server dies before it answers
			s.again[i]++
		}
	case status == "paused": // by the line below, or because the judge could not be asked
		args["action"] = "resume"
	case s.meddled < 20 && status == "running" && s.random.IntN(10) == 0:
		s.meddled++
		tool, args["reason"] = "loop_pause", "a person had a doubt"
	case s.meddled < 20 && status == "running" && s.random.IntN(10) == 0:
		s.meddled++
		args["action"], args["message"] = "steer", fmt.Sprint("remember the number ", s.meddled)
	case s.meddled < 20 && status == "capped" && s.random.IntN(8) == 0:
		s.meddled++
		s.caps[i] = caps{s.caps[i].cost * 2, s.caps[i].tokens * 2, s.caps[i].tools * 2} // counts also when it is refused or lost
		tool, args["decision"] = "loop_approve", "set_limits"
		args["limits"] = map[string]any{"max_cost_usd": float64(s.caps[i].cost) / 1e6, "max_total_tokens": s.caps[i].tokens, "max_tool_calls": s.caps[i].tools}
	default:
		return true
	}
	_, _, ok = s.ask(c, i, tool, args)
	s.status[i] = "" // to be seen
	return ok
}

// ask calls a tool about a loop. ok is false when the server is gone.
func (s *spenders) ask(c *client, i int, tool string, args map[string]any) (snapshot map[string]any, problem string, ok bool) {
	args["loop_id"] = s.ids[i]
	result, err := c.exchange("tools/call", map[string]any{"name": tool, "arguments": args})
	if err != nil {
		return nil, "", false
	}
	snapshot, problem = answerOf(result)
	return snapshot, problem, true
}

// TestBilledNeverExceedsTheCap kills programs at random instants, whatever
// models cost, whatever they answer and wherever the limits are. Nothing is paid
// twice, the ledger never goes down, and what the provider has billed stays
// within the limits.
func TestBilledNeverExceedsTheCap(t *testing.T) {
	cut, ends, met, events := 0, map[string]int{}, map[string]int{}, 0
	for first, seed := *seed, *seed; cut < *kills; seed++ {
		if seed > first+10+uint64(*kills) {
			t.Fatalf("only %d kills met loops that were not settled", cut)
		}
		t.Logf("seed %d", seed)
		s := newSpenders(t, seed)
		for lives := 0; !s.settled() && lives < *kills; lives++ {
			s.life(1 + s.random.IntN(25))
		}
		s.life(0)
		for _, p := range s.alive {
			p.c.close()
		}
		for i := range s.ids {
			s.audit(i, s.caps[i], s.told[i], s.again[i])
			ends[s.status[i]]++
		}
		if billed := s.billed(); s.daily > 0 && billed > s.daily && s.day == time.Now().UTC().YearDay() {
			t.Errorf("billed are %s of a daily %s", micros(billed), micros(s.daily))
		}
		for i, e := range s.events {
			if s.killed[e.gen] && s.last(i) {
				met[e.kind+e.tool]++
			}
		}
		if cut, events = cut+len(s.killed), events+len(s.events); t.Failed() {
			t.Fatalf("seed %d, %d kills", seed, len(s.killed))
		}
	}
	t.Logf("%d kills; loops were cut off in or after %v; ended: %v; %d answers and runs", cut, met, ends, events)
}
