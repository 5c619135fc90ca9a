package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

// book has one model for every name.
type book struct{ models []model.Model }

func (b book) Open(name, id string) ([]model.Model, error) {
	if name == "unknown" {
		return nil, errors.New(`there is no model "unknown"; configured are: smart`)
	}
	return b.models, nil
}

func (b book) Resolve(name, _ string) (loops.ModelRef, error) {
	if _, err := b.Open(name, ""); err != nil {
		return loops.ModelRef{}, err
	}
	return loops.ModelRef{Name: "smart", ID: b.models[0].Info().ID, Priced: b.models[0].Info().Price != nil}, nil
}

// box is a toolbox with scripted tools. It counts what ran.
type box struct {
	tools []agent.Tool
	run   func(ctx context.Context, name string, args json.RawMessage) (agent.Outcome, error)

	opens []error // what the first calls of Open return

	mu     sync.Mutex
	ran    []string
	rested []loops.Status
	ended  int
}

func (b *box) Check(patterns []string) error {
	if slices.Contains(patterns, "nope__*") {
		return errors.New(`no MCP server "nope" is configured`)
	}
	return nil
}

func (b *box) Open(context.Context, loops.ID, string, []string) (agent.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.opens) == 0 {
		return b, nil
	}
	err := b.opens[0]
	b.opens = b.opens[1:]
	return nil, err
}

func (b *box) Tools() []agent.Tool { return b.tools }

func (b *box) Rest(_ loops.ID, status loops.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rested = append(b.rested, status)
}

func (b *box) EndLeftovers(loops.ID, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended++
}

func (b *box) Call(ctx context.Context, name string, args json.RawMessage) (agent.Outcome, error) {
	b.mu.Lock()
	b.ran = append(b.ran, name+string(args))
	b.mu.Unlock()
	if b.run == nil {
		return agent.Outcome{Text: "did " + name}, nil
	}
	return b.run(ctx, name, args)
}

func (b *box) runs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ran)
}

// usualTools are one that may be repeated, one that may not, one that needs
// approval.
func usualTools() []agent.Tool {
	schema := json.RawMessage(`{"type":"object"}`)
	return []agent.Tool{
		{Name: "files__delete", Description: "Deletes a file.", Schema: schema, Destructive: true, Approve: true},
		{Name: "files__read", Description: "Reads a file.", Schema: schema, ReadOnly: true},
		{Name: "files__write", Description: "Writes a file.", Schema: schema, Price: 1000},
	}
}

// price is $1 a million tokens in and $2 out.
func price() *model.Price {
	return &model.Price{Tiers: []model.Tier{{Rates: model.Rates{Input: 1_000_000, CacheRead: 1_000_000, CacheWrite: 1_000_000, Output: 2_000_000}}}}
}

// world is a store, an engine that works on it, a scripted model and tools.
type world struct {
	*loops.Engine
	t     *testing.T
	store *loopstest.Memory
	model *loopstest.Model
	box   *box
	stop  func()
}

func contains(text string) loops.StopCondition {
	return loops.StopFunc(func(_ context.Context, e loops.Evidence) (loops.Verdict, error) {
		return loops.Verdict{Met: strings.Contains(e.Output, text), Reason: "looked for " + text, Feedback: "say " + text}, nil
	})
}

func partsOf(b *box, models ...model.Model) loops.Parts {
	body := &agent.Body{Book: book{models}}
	if b != nil {
		body.Tools = b
	}
	return loops.Parts{Bodies: map[string]loops.Body{"agent": body}, Models: book{models},
		Stops: map[string]loops.StopCondition{"contains": contains("ok")}}
}

// live works on the loops of store until the test ends or stop is called.
func live(t *testing.T, store loops.Store, parts loops.Parts) *world {
	t.Helper()
	e := loops.New(store, parts, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	w := &world{Engine: e, t: t}
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// story runs a test in virtual time with a scripted model and the usual tools.
func story(t *testing.T, replies []loopstest.Reply, tell func(w *world)) {
	t.Helper()
	storyWith(t, model.Info{Price: price()}, replies, tell)
}

func storyWith(t *testing.T, info model.Info, replies []loopstest.Reply, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, b, store := loopstest.NewModel(info, replies...), &box{tools: usualTools()}, loopstest.NewMemory()
		w := live(t, store, partsOf(b, m))
		w.store, w.model, w.box = store, m, b
		tell(w)
	})
}

func replies(r ...loopstest.Reply) []loopstest.Reply { return r }

func use(tool, args string) loopstest.Reply { return loopstest.Uses(loopstest.Use(tool, args)) }

func finish(result string) loopstest.Reply {
	return use("finish", fmt.Sprintf(`{"result":%q}`, result))
}

func agentSpec(change func(*loops.Spec)) loops.Spec {
	s := loops.Spec{Name: "story", Goal: "say ok", Context: "be brief", Body: loops.BodySpec{Kind: loops.BodyAgent, Tools: []string{"files__*"}},
		Until: &loops.Until{All: []loops.Condition{{Kind: "contains"}}}, Limits: loops.Limits{MaxTotalTokens: 10_000_000, MaxCostUSD: 100 * loops.Dollar}}
	if change != nil {
		change(&s)
	}
	return s
}

func (w *world) start(change func(*loops.Spec)) loops.ID {
	w.t.Helper()
	out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: agentSpec(change), Dir: "/"})
	if err != nil {
		w.t.Fatalf("Start: %v", err)
	}
	return out.ID
}

func (w *world) wait(id loops.ID, what loops.WaitFor) loops.State {
	w.t.Helper()
	s, timedOut, err := w.Wait(w.t.Context(), id, 0, what, 1000*time.Hour, nil)
	if err != nil || timedOut {
		w.t.Fatalf("Wait: timed out %t, %v; %s", timedOut, err, s.Summary())
	}
	return s
}

func (w *world) settled(id loops.ID, status loops.Status, reason loops.StopReason) loops.State {
	w.t.Helper()
	s := w.wait(id, loops.ForSettled)
	if s.Status != status || s.Stop.Reason != reason {
		w.t.Fatalf("ended as %s (%s): %s; want %s (%s)", s.Status, s.Stop.Reason, s.Stop.Detail, status, reason)
	}
	return s
}

// asked waits until a person owes something.
func (w *world) asked(id loops.ID, kind, text string) loops.Attention {
	w.t.Helper()
	s := w.wait(id, loops.ForAttention)
	if s.Status != loops.NeedsInput || s.Attention.Kind != kind || !strings.Contains(s.Attention.Prompt, text) {
		w.t.Fatalf("%s, attention %+v; want %s with %q", s.Summary(), s.Attention, kind, text)
	}
	return *s.Attention
}

func (w *world) do(id loops.ID, r loops.Request) {
	w.t.Helper()
	if _, err := w.Do(w.t.Context(), id, r); err != nil {
		w.t.Fatalf("%s: %v", r.Action, err)
	}
}

// outputs are those of the committed iterations, errors included.
func (w *world) outputs(id loops.ID) string {
	w.t.Helper()
	l, err := w.History(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, it := range l.Iterations {
		all = append(all, it.Output.Text+it.Error)
	}
	return strings.Join(all, "|")
}

// shown is all that a request shows of the conversation, one line a block.
func shown(r model.Request) string {
	var b strings.Builder
	for _, m := range r.Messages {
		for _, block := range m.Blocks {
			switch {
			case block.Call != nil:
				fmt.Fprintf(&b, "%s calls %s%s\n", m.Role, block.Call.Name, block.Call.Args)
			case block.Result != nil:
				fmt.Fprintf(&b, "result of %s (error %t): %s\n", block.Result.Name, block.Result.Error, block.Result.Text)
			default:
				fmt.Fprintf(&b, "%s: %s\n", m.Role, block.Text)
			}
		}
	}
	return b.String()
}

// request is what the model was shown in call number n, from 1.
func (w *world) request(n int) string {
	w.t.Helper()
	all := w.model.Requests()
	if len(all) < n {
		w.t.Fatalf("the model was called %d times, not %d", len(all), n)
	}
	return shown(all[n-1])
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %.200q in\n%.4000s", part, text)
		}
	}
}

func hasNot(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%.200q is in\n%.4000s", part, text)
		}
	}
}
