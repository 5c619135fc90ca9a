package loops

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Meter accounts for calls that cost something, while a start or a judgement is
// under way. What a call may cost at most is set aside durably before it is
// made, and replaced by what it did cost afterwards. When a crash comes between
// the two, what was set aside counts as spent: nobody knows better. Safe for
// concurrent use.
//
// A body that uses the meter reports in [Result.Usage] only what did not go
// through it; the same holds for a condition and [Verdict.Usage].
type Meter interface {
	// Reserve sets aside what c may cost. A limit that leaves no room for even
	// the smallest useful call gives a [*CapError], which the body returns.
	Reserve(ctx context.Context, c Call) (Grant, error)
	// Settle says what the call came to. What saved holds, unless nil, is
	// stored in the same step, as by Save. It works after ctx has ended.
	Settle(ctx context.Context, g Grant, s Spent, saved json.RawMessage) error
}

// Call is one paid call of a model, or a call of a tool.
type Call struct {
	Role  string // RoleWorker, RoleJudge, RoleCompaction or RoleTool
	Model string // whose call it is, for the usage view: a model's id or a tool's name

	Input     int64 // tokens that go in, at most
	Output    int64 // tokens wanted out, at most
	MinOutput int64 // with fewer the call is of no use

	InputRate, OutputRate USD // for a million tokens, at most
	Fixed                 USD // beside its tokens
	ToolCalls             int64

	Saved json.RawMessage // unless nil, stored in the same step, as by Save
}

// The roles in which a loop spends.
const (
	RoleWorker     = "worker"
	RoleJudge      = "judge"
	RoleCompaction = "compaction"
	RoleTool       = "tool"
	RoleChild      = "child" // a loop started below the body; Model is its id
)

// Grant is what was set aside for a call.
type Grant struct {
	ID     string
	Output int64 // tokens out: the call must not ask for more
}

// Spent is what a call came to.
type Spent struct {
	Usage
	Unknown bool // the outcome is not known: what was set aside counts as spent
	// Soon says that the caller's very next step stores something anyway: a
	// Reserve, a Save, or the end of its run. Then the settlement waits for that,
	// which spares a commit. A crash in between is as one before the answer came.
	Soon bool
}

// CapError says which limit leaves no room for a call. A body or a condition
// that returns it ends the loop's movement: capped.
type CapError struct {
	Reason StopReason
	Detail string

	limit int64 // the value of the limit when the call was refused
}

// Error returns the detail, which names the limit.
func (e *CapError) Error() string { return e.Detail }

// Reserved is what is set aside for a call under way.
type Reserved struct {
	ID    string `json:"id"`
	Role  string `json:"role"`
	Model string `json:"model,omitempty"`
	Path  string `json:"path,omitempty"` // the condition that makes the call
	Usage Usage  `json:"usage"`
}

// ModelUsage is what one model, tool or child spent in one role.
type ModelUsage struct {
	Role         string `json:"role"`
	Model        string `json:"model"` // empty: what a body or a client reported as a whole
	Calls        int64  `json:"calls"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	CostUSD      USD    `json:"cost_usd"`
}

// Drawn is what a child loop has taken from its parent's ledger.
type Drawn struct {
	Spent Usage `json:"spent"`          // part of the parent's ledger; never falls
	Aside Usage `json:"aside,omitzero"` // what the child may come to beyond that
	// At says which change of the child this is: twice its State.Changes, and one
	// more for a change that was about to be stored.
	At uint64 `json:"at,omitempty"`
}

// Shortage is a limit that left too little room for a call. It holds until the
// limit is raised.
type Shortage struct {
	Reason StopReason `json:"reason"`
	Limit  int64      `json:"limit"` // its value then
}

// room is what limits leave for a call.
type room struct {
	usage  Usage      // TotalTokens, CostUSD and ToolCalls count
	reason StopReason // why there is no more; empty: the loop's own limits
	detail string
}

// judgeShare is the part of the budget that only the judge may spend: one
// fifth, so that work that was paid for can still be judged.
const judgeShare = 5

// heldBack is what must stay for the judge of limit, of which it has spent some.
func heldBack(limit, spent int64) int64 { return max(0, limit/judgeShare-spent) }

// aside is what calls under way may still cost, those of children included.
func (s *State) aside() Usage {
	var sum Usage
	for _, r := range s.Reserved {
		sum = sum.Plus(r.Usage)
	}
	for _, d := range s.Children {
		sum = sum.Plus(d.Aside)
	}
	return sum
}

// Plus adds up two reports. Sums stop at the largest number.
func (u Usage) Plus(v Usage) Usage {
	return Usage{
		InputTokens: addUp(u.InputTokens, v.InputTokens), OutputTokens: addUp(u.OutputTokens, v.OutputTokens),
		TotalTokens: addUp(u.Total(), v.Total()), CostUSD: USD(addUp(int64(u.CostUSD), int64(v.CostUSD))), ToolCalls: addUp(u.ToolCalls, v.ToolCalls),
	}
}

// free is what the limits of s leave for a call in a role.
func (s State) free(role string) Usage {
	used := s.Ledger.Usage.Plus(s.aside())
	left := Usage{
		TotalTokens: int64(s.Limits.MaxTotalTokens) - used.TotalTokens,
		CostUSD:     s.Limits.MaxCostUSD - used.CostUSD,
		ToolCalls:   int64(s.Limits.MaxToolCalls) - used.ToolCalls,
	}
	if role != RoleJudge && s.Origin.Spec.hasJudge() {
		judged := s.spentBy(RoleJudge)
		left.TotalTokens -= heldBack(int64(s.Limits.MaxTotalTokens), judged.TotalTokens)
		left.CostUSD -= USD(heldBack(int64(s.Limits.MaxCostUSD), int64(judged.CostUSD)))
	}
	return left
}

// spentBy is what a role has spent and set aside.
func (s State) spentBy(role string) Usage {
	var sum Usage
	for _, m := range s.ByModel {
		if m.Role == role {
			sum = sum.Plus(Usage{InputTokens: m.InputTokens, OutputTokens: m.OutputTokens, CostUSD: m.CostUSD})
		}
	}
	for _, r := range s.Reserved {
		if r.Role == role {
			sum = sum.Plus(r.Usage)
		}
	}
	return sum
}

func (s Spec) hasJudge() bool {
	return slices.ContainsFunc(s.until().leaves(), func(l leaf) bool { return l.cond.Kind == StopJudge })
}

// reserve sets aside what a call may cost, its output clipped to what is left
// here and in every outer room. A *CapError leaves s unchanged.
func (s State) reserve(c Call, path string, outer []room) (State, Grant, error) {
	rooms := append([]room{{usage: s.free(c.Role)}}, outer...)
	fixed := addUp(costOf(c.Input, c.InputRate), int64(c.Fixed))
	output := c.Output
	for _, r := range rooms {
		switch {
		case c.ToolCalls > r.usage.ToolCalls:
			return s, Grant{}, s.short(c, r, CapToolCalls)
		case c.Input+c.Output > 0 && addUp(c.Input, min(c.Output, c.MinOutput)) > r.usage.TotalTokens:
			return s, Grant{}, s.short(c, r, CapTokens)
		case addUp(fixed, costOf(min(c.Output, c.MinOutput), c.OutputRate)) > max(0, int64(r.usage.CostUSD)):
			return s, Grant{}, s.short(c, r, CapCost)
		}
		if c.Output > 0 {
			output = min(output, r.usage.TotalTokens-c.Input, affordable(int64(r.usage.CostUSD)-fixed, c.OutputRate))
		}
	}
	s.Grants++
	g := Grant{ID: fmt.Sprintf("g%d", s.Grants), Output: output}
	set := Reserved{ID: g.ID, Role: c.Role, Model: c.Model, Path: path, Usage: Usage{
		InputTokens: c.Input, OutputTokens: output, TotalTokens: addUp(c.Input, output),
		CostUSD: USD(addUp(fixed, costOf(output, c.OutputRate))), ToolCalls: c.ToolCalls}}
	s.Reserved = append(slices.Clip(s.Reserved), set)
	return s, g, nil
}

// short says which limit is too small for c.
func (s State) short(c Call, r room, reason StopReason) error {
	if r.reason != "" {
		return &CapError{Reason: r.reason, Detail: r.detail}
	}
	used, l := s.Ledger.Usage.Plus(s.aside()), s.Limits
	var text string
	switch reason {
	case CapToolCalls:
		text = fmt.Sprintf("%d of %d used", used.ToolCalls, l.MaxToolCalls)
	case CapTokens:
		text = fmt.Sprintf("%d of %d used; the next call of %s needs up to %d and at least %d for its answer", used.TotalTokens, l.MaxTotalTokens, c.Model, c.Input, min(c.Output, c.MinOutput))
		if held := heldBack(int64(l.MaxTotalTokens), s.spentBy(RoleJudge).TotalTokens); c.Role != RoleJudge && s.Origin.Spec.hasJudge() {
			text += fmt.Sprintf("; %d are held back for the judge", held)
		}
	default: // CapCost
		need := USD(addUp(addUp(costOf(c.Input, c.InputRate), int64(c.Fixed)), costOf(min(c.Output, c.MinOutput), c.OutputRate)))
		text = fmt.Sprintf("%s of %s used; the next call of %s may cost %s or more", used.CostUSD, l.MaxCostUSD, c.Model, need)
		if held := USD(heldBack(int64(l.MaxCostUSD), int64(s.spentBy(RoleJudge).CostUSD))); c.Role != RoleJudge && s.Origin.Spec.hasJudge() {
			text += fmt.Sprintf("; %s are held back for the judge", held)
		}
	}
	limit, _ := l.of(reason)
	return &CapError{Reason: reason, Detail: limitOf[reason] + ": " + text, limit: limit}
}

// costOf is tokens at a rate for a million of them, rounded up.
func costOf(tokens int64, rate USD) int64 {
	if tokens <= 0 || rate <= 0 {
		return 0
	}
	if tokens > (math.MaxInt64-999_999)/int64(rate) {
		return math.MaxInt64
	}
	return (tokens*int64(rate) + 999_999) / 1_000_000
}

// affordable is how many tokens an amount buys.
func affordable(amount int64, rate USD) int64 {
	switch {
	case rate <= 0:
		return math.MaxInt64
	case amount <= 0:
		return 0
	case amount > math.MaxInt64/1_000_000:
		return amount / int64(rate) * 1_000_000
	}
	return amount * 1_000_000 / int64(rate)
}

// settleCall replaces what was set aside by what the call came to. ok is false
// when nothing is set aside under that id.
func (s State) settleCall(id string, sp Spent) (State, bool) {
	i := slices.IndexFunc(s.Reserved, func(r Reserved) bool { return r.ID == id })
	if i < 0 {
		return s, false
	}
	r := s.Reserved[i]
	s.Reserved = slices.Delete(slices.Clone(s.Reserved), i, i+1)
	if sp.Unknown {
		sp.Usage = r.Usage
	}
	s.spend(r.Role, r.Model, sp.Usage)
	if r.Path == "" {
		s.Metered = s.Metered.Plus(sp.Usage)
	} else if s.Owed != nil {
		owed := *s.Owed
		owed.Metered = maps.Clone(owed.Metered)
		if owed.Metered == nil {
			owed.Metered = map[string]Usage{}
		}
		owed.Metered[r.Path] = owed.Metered[r.Path].Plus(sp.Usage)
		s.Owed = &owed
	}
	return s, true
}

// writeOff counts what is set aside for calls that nobody will settle any more
// as spent.
func (s State) writeOff() State {
	s.writeOffAll()
	return s
}

// writeOffAll is writeOff in place.
func (s *State) writeOffAll() {
	for len(s.Reserved) > 0 {
		s.writeOffOne(s.Reserved[0].ID)
	}
}

//go:noinline
func (s *State) writeOffOne(id string) { *s, _ = s.settleCall(id, Spent{Unknown: true}) }

// spend adds what one call, or a whole run, reported: to the sum and to the row
// of its model.
func (s *State) spend(role, model string, u Usage) {
	if u == (Usage{}) && model == "" {
		return
	}
	s.Ledger.spend(u)
	rows := slices.Clone(s.ByModel)
	i := slices.IndexFunc(rows, func(m ModelUsage) bool { return m.Role == role && m.Model == model })
	if i < 0 && len(rows) >= maxUsageRows { // a body may name models without end
		model = ""
		i = slices.IndexFunc(rows, func(m ModelUsage) bool { return m.Role == role && m.Model == model })
	}
	if i < 0 {
		i, rows = len(rows), append(rows, ModelUsage{Role: role, Model: model})
	}
	m := &rows[i]
	m.Calls++
	m.InputTokens, m.OutputTokens = addUp(m.InputTokens, u.InputTokens), addUp(m.OutputTokens, u.OutputTokens)
	m.CostUSD = USD(addUp(int64(m.CostUSD), int64(u.CostUSD)))
	s.ByModel = rows
}

// maxUsageRows bounds the rows of the usage view.
const maxUsageRows = 100

// drawn notes what a child has spent and set aside. Its sums never fall, and what
// it has set aside is only replaced by what it has later: a report that comes
// twice or late changes nothing. Of several changes that are about to be stored
// nobody knows which one will be.
func (s State) drawn(child ID, d Drawn) State {
	before, known := s.Children[child]
	switch {
	case known && d.At < before.At:
		return s
	case known && d.At == before.At:
		d.Aside = d.Aside.atLeast(before.total().beyond(d.Spent))
	}
	grown := d.Spent.beyond(before.Spent)
	s.Children = maps.Clone(s.Children)
	if s.Children == nil {
		s.Children = map[ID]Drawn{}
	}
	s.Children[child] = before.replaced(d)
	if grown != (Usage{}) {
		s.spend(RoleChild, string(child), grown)
		s.Metered = s.Metered.Plus(grown)
	}
	return s
}

// total is what is spent and set aside.
func (d Drawn) total() Usage { return d.Spent.Plus(d.Aside) }

// replaced is the total after d, of a later change. What was spent stays, also when
// the child does not know of it yet and has it still set aside: that counts once.
func (d Drawn) replaced(by Drawn) Drawn {
	spent := d.Spent.Plus(by.Spent.beyond(d.Spent))
	return Drawn{Spent: spent, Aside: by.total().beyond(spent), At: by.At}
}
