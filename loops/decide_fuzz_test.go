package loops

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// player plays a loop by what the bytes of a fuzz input say: outcomes,
// verdicts, requests, crashes and clocks that jump, also backwards.
type player struct {
	t       *testing.T
	data    []byte
	s       State
	now     time.Time
	last    State
	claims  int
	cursor  uint64
	numbers []int
	child   Drawn
}

func (p *player) byte() byte {
	if len(p.data) == 0 {
		return 0
	}
	b := p.data[0]
	p.data = p.data[1:]
	return b
}

func (p *player) text() string {
	return []string{"", "a", "b", strings.Repeat("<\x01é", 1000), "c"}[int(p.byte())%5]
}

func (p *player) spec() func(*Spec) {
	kinds, flags := p.byte(), p.byte()
	return func(s *Spec) {
		leaf := func(n byte) Condition {
			return Condition{Kind: []string{StopPredicate, StopCommand, StopHuman, StopClaim, "own", StopJudge}[n%6], Question: "good?"}
		}
		members := []Condition{leaf(kinds), leaf(kinds >> 2), {Not: new(leaf(kinds >> 4))}}
		s.Until = &Until{All: members[:1+kinds%3], CheckFirst: flags&1 != 0}
		if flags&2 != 0 {
			s.Until = &Until{Any: []Condition{members[0], {All: members[1:]}}, CheckFirst: flags&1 != 0}
		}
		if flags&4 != 0 {
			clientBody(s)
		}
		if flags&8 != 0 {
			s.Delay, s.AnswerTimeout = Duration(time.Minute), Duration(time.Hour)
		}
		if flags&16 != 0 {
			s.Retry.OnCrash, s.Result = OnCrashAsk, ResultBest
		}
		if flags&32 != 0 {
			s.Protect = []string{"*_test.go"}
		}
		s.Stall = &Stall{Passes: Count(flags >> 6)}
		s.Limits = Limits{MaxIterations: Count(1 + kinds%7), MaxPasses: Count(1 + flags%5), MaxDuration: Duration(10 * time.Hour), MaxActive: Duration(time.Hour),
			MaxTotalTokens: Count(200 + 10*int(kinds)), MaxCostUSD: USD(100 + 10*int(flags)), MaxToolCalls: Count(1 + flags%9)}
	}
}

func (p *player) outcome() outcome {
	kind := p.byte()
	o := outcome{active: time.Duration(p.byte()) * time.Second}
	o.it.Usage = Usage{InputTokens: int64(p.byte()), CostUSD: USD(p.byte()), ToolCalls: int64(p.byte() % 8)}
	switch kind % 9 {
	case 0:
		o.it.Error = clip(p.text(), maxErrorText)
	case 1:
		o.it.Error, o.transient, o.after = "busy", true, time.Duration(p.byte())*time.Minute
	case 2:
		o.it.Error, o.permanent = "broken", p.byte()%16 == 0
		o.provider = p.byte()%2 == 0
	case 3:
		o.it.Error, o.limited, o.provider, o.after = "overloaded", true, true, time.Duration(p.byte())*time.Minute
	case 4:
		o.it.Error, o.capped = "no room", p.capped()
	default:
		score := float64(kind)
		o.it = Iteration{OK: true, Done: kind%2 == 0, Output: Text{Text: p.text()}, Score: &score, Usage: o.it.Usage, Memory: json.RawMessage(`{"n":1}`)}
		if kind > 230 {
			o.ask = &Ask{Approval: kind%2 == 0, Prompt: p.text()}
		}
	}
	return o
}

// capped is a refusal by a limit, the loop's own or one outside. The limit may
// have been raised or lowered since.
func (p *player) capped() *CapError {
	reason := []StopReason{CapTokens, CapCost, CapToolCalls, CapParent, CapDailyCost}[int(p.byte())%5]
	e := &CapError{Reason: reason, Detail: string(reason) + ": too little is left"}
	if limit, own := p.s.Limits.of(reason); own {
		e.limit = limit - int64(p.byte()%3) + 1
	}
	return e
}

// call sets something aside, settles it, or saves something, as a body or a
// condition at work does.
func (p *player) call() {
	path, role := "", RoleWorker
	if p.s.Owed != nil {
		l, more := p.s.Origin.Spec.until().next(p.s.Owed.Results, p.s.Owed.First)
		if !more {
			return
		}
		path, role = l.path, roleOf(l.cond.Kind)
	}
	if n := len(p.s.Reserved); n > 0 && p.byte()%4 != 0 {
		sp := Spent{Usage: Usage{InputTokens: int64(p.byte()) % 40, OutputTokens: int64(p.byte()) % 40, CostUSD: USD(p.byte() % 60)}, Unknown: p.byte()%4 == 0}
		r := p.s.Reserved[int(p.byte())%n]
		if u := r.Usage; sp.InputTokens > u.InputTokens || sp.OutputTokens > u.OutputTokens || sp.CostUSD > u.CostUSD {
			sp.Unknown = true // nothing costs more than was set aside
		}
		next, ok := p.s.settleCall(r.ID, sp)
		if !ok {
			p.t.Fatalf("nothing is set aside for %s", r.ID)
		}
		p.commit(next.saved(path, json.RawMessage(`{"saved":true}`)))
		return
	}
	c := Call{Role: role, Model: []string{"a", "b"}[p.byte()%2], Input: int64(p.byte() % 60), Output: int64(p.byte()), MinOutput: int64(p.byte() % 30),
		InputRate: USD(p.byte()) * 10_000, OutputRate: USD(p.byte()) * 10_000, Fixed: USD(p.byte() % 4), ToolCalls: int64(p.byte() % 2)}
	next, g, err := p.s.reserve(c, path, nil)
	if err != nil {
		return
	}
	if g.Output < min(c.Output, c.MinOutput) || g.Output > c.Output {
		p.t.Fatalf("%d tokens were granted of %+v", g.Output, c)
	}
	if f := next.free(role); f.TotalTokens < 0 && c.Input+c.Output > 0 || f.CostUSD < 0 && next.aside().CostUSD > p.s.aside().CostUSD || f.ToolCalls < 0 && c.ToolCalls > 0 {
		p.t.Fatalf("%+v was granted and leaves %+v", c, f)
	}
	p.commit(next)
}

// draw is what a loop below reports, at any time.
func (p *player) draw() {
	p.child.Spent = p.child.Spent.Plus(Usage{InputTokens: int64(p.byte() % 8), CostUSD: USD(p.byte() % 8), ToolCalls: int64(p.byte() % 2)})
	p.child.Aside = Usage{CostUSD: USD(p.byte() % 8)}
	p.allow(p.s.drawn("child-aaaa", p.child))
}

func (p *player) tick() {
	jump := time.Duration(p.byte()) * time.Second
	switch p.byte() % 8 {
	case 0:
		jump = -jump * 60
	case 1:
		jump *= 60
	}
	p.now = p.now.Add(jump)
}

func (p *player) play() {
	switch b := p.byte(); {
	case b < 60 || p.s.Status.Settled() || p.s.Status == Paused:
		p.request()
	case b < 64 && p.s.Origin.Spec.Body.Kind != BodyClient:
		p.draw()
	case b < 80 || p.s.Claim.Token == "":
		p.claims++
		if next, ok := claim(p.s, Claim{Owner: "r", Token: fmt.Sprint(p.claims)}, p.now); ok {
			p.commit(next)
		}
	case b < 90:
		p.commit(cutOff(p.s, []error{errActiveTime, errDurationTime, ErrShutdown}[b%3], outcome{active: time.Duration(b) * time.Minute}, p.now))
	case b < 150:
		p.call()
	case p.s.Owed != nil:
		p.conditions()
	default:
		p.commit(decide(p.s, p.outcome(), p.now))
	}
}

func (p *player) conditions() {
	if p.byte()%16 == 0 && len(p.s.Origin.Spec.Protect) > 0 && !p.s.Owed.First {
		p.commit(conclude(p.s, nil, []string{"a_test.go (changed)"}, time.Second, p.now))
		return
	}
	asked := map[string]Verdict{}
	if l, more := p.s.Origin.Spec.until().next(p.s.Owed.Results, p.s.Owed.First); more && l.cond.Kind != StopHuman {
		asked[l.path] = Verdict{Met: p.byte()%2 == 0, Reason: p.text(), Error: []string{"", "no such key"}[p.byte()%2], Usage: Usage{CostUSD: USD(p.byte())}}.bounded()
	}
	if f := p.fault(); f != nil {
		p.commit(unjudged(p.s, nil, *f, time.Second, p.now))
		return
	}
	p.commit(conclude(p.s, asked, nil, time.Duration(p.byte())*time.Second, p.now))
}

// fault is why a condition gives no verdict; nil: it gives one.
func (p *player) fault() *fault {
	f := &fault{kind: StopJudge, text: "the judge is away", after: time.Duration(p.byte()) * time.Second}
	switch p.byte() % 16 {
	case 0:
		f.permanent = true
	case 1:
		f.limited = true
	case 2:
		f.capped = p.capped()
	case 3, 4:
	default:
		return nil
	}
	return f
}

func (p *player) request() {
	actions := []Action{Submit, AnswerIt, Approve, Deny, SteerIt, ResumeIt, Reopen, SetLimits, PauseIt, ResumeIt, SetLimits, CancelIt}
	r := Request{Action: actions[int(p.byte())%len(actions)], Message: p.text(), text: Text{Text: p.text()}}
	if a := p.s.Attention; a != nil && p.byte()%8 != 0 {
		r.AttentionID = a.ID
		if fits := map[string][]Action{AttentionIteration: {Submit}, AttentionQuestion: {AnswerIt}, AttentionApproval: {Approve, Deny}}[a.Kind]; p.byte()%2 == 0 {
			r.Action = fits[int(p.byte())%len(fits)]
		}
	}
	if r.Action == CancelIt && len(p.data) > 300 {
		return // late: nothing follows it
	}
	if r.Limits = (Limits{MaxPasses: Count(p.byte() % 20)}); p.byte()%4 != 0 { // else these stay
		r.Limits = Limits{MaxIterations: Count(p.byte() % 64), MaxPasses: r.Limits.MaxPasses, MaxActive: Duration(p.byte()) * Duration(10*time.Minute),
			MaxTotalTokens: Count(int(p.byte()) * 50), MaxCostUSD: USD(int(p.byte()) * 50), MaxToolCalls: Count(p.byte() % 64), MaxDuration: Duration(p.byte()) * Duration(time.Hour)}
	}
	if p.byte()%2 == 0 {
		r.Usage = &Usage{InputTokens: int64(p.byte() % 40), CostUSD: USD(p.byte() % 40)}
	}
	before := p.s
	out, err := apply(p.s, r, p.now)
	if err != nil {
		p.s = before
		return
	}
	if moved := before.Status.Settled() && !out.Reused && !out.AlreadySettled && out.Epoch != before.Epoch; moved && out.Epoch != before.Epoch+1 {
		p.t.Errorf("epoch %d → %d", before.Epoch, out.Epoch)
	}
	if before.Claim.Token != "" && out.State.Claim.Token != before.Claim.Token {
		p.t.Errorf("%s takes the loop from its worker, which will not find that out", r.Action)
	}
	p.allow(out.State)
}

// commit is what anything but a request brings: it never moves a settled loop.
func (p *player) commit(next State) {
	p.t.Helper()
	if p.s.Status.Settled() {
		p.t.Fatalf("a settled loop became %s without a request", next.Status)
	}
	if p.s.Status == Paused {
		p.t.Fatalf("a paused loop became %s without a request", next.Status)
	}
	p.allow(next)
}

func (p *player) allow(next State) {
	p.t.Helper()
	checkRules(p.t, next)
	checkLedger(p.t, p.s.Ledger, next.Ledger)
	if next.Ledger.Starts > p.s.Ledger.Starts+1 || next.Ledger.Starts > p.s.Ledger.Starts && int64(next.Ledger.Starts) > int64(next.Limits.MaxIterations) {
		p.t.Errorf("%d starts with max_iterations %d", next.Ledger.Starts, next.Limits.MaxIterations)
	}
	began := next.Status == Running && next.Phase == PhaseBody && (p.s.Status != Running || p.s.Phase != PhaseBody || next.New.Iteration != nil)
	if began && next.Ledger.Starts == p.s.Ledger.Starts && !p.s.Held {
		p.t.Error("a body runs that no start was charged for")
	}
	if next.Elapsed < p.s.Elapsed {
		p.t.Errorf("the loop's clock fell from %s to %s", p.s.Elapsed, next.Elapsed)
	}
	if next.Epoch < p.s.Epoch {
		p.t.Errorf("the epoch fell from %d to %d", p.s.Epoch, next.Epoch)
	}
	for _, e := range next.New.Events {
		if p.cursor++; e.Cursor != p.cursor || e.Text == "" && e.Type != EventCreated {
			p.t.Errorf("event %d is %+v", p.cursor, e)
		}
	}
	if next.Cursor != p.cursor {
		p.t.Errorf("cursor %d after event %d", next.Cursor, p.cursor)
	}
	if it := next.New.Iteration; it != nil {
		p.numbers = append(p.numbers, it.Iteration)
	}
	if next.Status == Completed && p.s.Status != Completed && (next.Verdict == nil || !next.Verdict.Met) {
		p.t.Errorf("completed without a verdict that it is met: %s", dump(next))
	}
	if p.t.Failed() {
		p.t.Fatalf("from %s at %s:\n%s\nto:\n%s", p.s.statusText(), p.now, dump(p.s), dump(next))
	}
	next.Origin = p.s.Origin
	p.last, p.s = p.s, stored(roundTrip(p.t, next))
}

// FuzzRules plays random lives of loops against what must hold in every state.
func FuzzRules(f *testing.F) {
	for seed := range 96 {
		data := make([]byte, 1500)
		x := uint32(seed*2654435761 + 1)
		for i := range data {
			x = x*1664525 + 1013904223
			data[i] = byte(x >> 24)
		}
		f.Add(data)
	}
	f.Fuzz(playLife)
}

// playLife plays the life that data tells.
func playLife(t *testing.T, data []byte) {
	p := &player{t: t, data: data, now: at(0)}
	first := newborn(p.spec())
	p.s = State{ID: first.ID, Origin: first.Origin}
	p.allow(first)
	for n := 0; len(p.data) > 0 && n < 400; n++ {
		p.tick()
		p.play()
	}
	for i, n := range p.numbers {
		if n != i+1 {
			t.Fatalf("iterations %v", p.numbers)
		}
	}
	if !slices.Contains(Statuses(), p.s.Status) {
		t.Errorf("status %q", p.s.Status)
	}
}
