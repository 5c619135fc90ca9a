package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
	"example.com/loop-mcp/loops/modelcall"
)

// work is one start.
type work struct {
	turn    loops.Turn
	spec    loops.BodySpec
	models  []model.Model
	session Session // nil: no tools but the built-in ones
	tools   map[string]Tool
	keep    keeper
	mem     *memory
	reply   string // of a person, to what a call waits for

	prefix model.Request // what every request begins with
}

// open reads what a start needs.
func (b *Body) open(ctx context.Context, t loops.Turn) (*work, error) {
	w := &work{turn: t, keep: keeper{t, &b.cache}}
	if err := json.Unmarshal(t.Config, &w.spec); err != nil {
		return nil, loops.Permanent(fmt.Errorf("read the body's fields: %w", err))
	}
	var err error
	if w.models, err = b.Book.Open(w.spec.Model, t.Models[w.spec.Model]); err != nil {
		return nil, loops.Permanent(fmt.Errorf("open the model %q: %w", w.spec.Model, err))
	}
	if len(w.models) == 0 {
		return nil, loops.Permanent(fmt.Errorf("the model %q stands for nothing", w.spec.Model))
	}
	if err := w.openTools(ctx, b.Tools); err != nil {
		return nil, err
	}
	if w.mem, err = decodeMemory(ctx, t.Memory, w.keep); err != nil {
		return nil, err
	}
	w.reply = w.mem.turnTo(t, w.spec)
	w.begin()
	return w, nil
}

// openTools opens the session and lists its tools, the built-in ones last.
func (w *work) openTools(ctx context.Context, box Toolbox) error {
	if len(w.spec.Tools) > 0 {
		if box == nil {
			return loops.Permanent(errors.New("the body has tools and no MCP servers are configured here"))
		}
		session, err := box.Open(ctx, w.turn.Loop, w.turn.Dir, w.spec.Tools)
		switch {
		case errors.Is(err, loops.ErrInvalid): // a pattern; another start meets the same
			return loops.Permanent(err)
		case err != nil: // a server, which may come up
			return loops.Transient(err, 0)
		}
		w.session, w.tools = session, map[string]Tool{}
		for _, t := range session.Tools() {
			w.tools[t.Name] = t
			w.prefix.Tools = append(w.prefix.Tools, model.Tool{Name: t.Name, Description: t.Description, Schema: t.Schema})
		}
		w.prefix.Tools = append(w.prefix.Tools, readMore)
	}
	w.prefix.Tools = append(w.prefix.Tools, builtIn...)
	return nil
}

// begin makes the part of requests that stays the same, and forgets what was
// counted for another one.
func (w *work) begin() {
	w.prefix.System, w.prefix.CacheKey = system(w.spec), string(w.turn.Loop)
	parts := []string{w.prefix.System}
	for _, t := range w.prefix.Tools {
		parts = append(parts, t.Name, t.Description, string(t.Schema))
	}
	if hash := hashOf(strings.Join(parts, "\x00")); w.mem.Prefix != hash {
		w.mem.Prefix, w.mem.Known, w.mem.Base = hash, modelcall.Known{}, modelcall.Known{}
	}
	first := w.mem.Prompt.Text
	if first == "" {
		first = opening(w.turn)
	}
	w.prefix.Messages = []model.Message{{Role: model.User, Blocks: []model.Block{{Text: first}}, Cache: true}}
}

// run brings the start to its end: what is left of the last answer first, and
// then, unless this iteration has had its answer, one call of the model.
func (w *work) run(ctx context.Context) (*loops.Result, error) {
	if w.mem.Answer != nil {
		answered := w.mem.Answer.Iteration == w.turn.Iteration
		result, err := w.act(ctx)
		if result != nil || err != nil || answered {
			return w.orMore(result), err
		}
	}
	if err := w.think(ctx); err != nil {
		return nil, err
	}
	result, err := w.act(ctx)
	return w.orMore(result), err
}

// orMore is the result of an iteration after which the pass goes on, unless
// there is another one.
func (w *work) orMore(result *loops.Result) *loops.Result {
	if result == nil {
		return &loops.Result{Output: w.account()}
	}
	return result
}

// act does what the last answer asks for. No result means that the pass goes on.
func (w *work) act(ctx context.Context) (*loops.Result, error) {
	if len(w.mem.Answer.Calls) > 0 {
		return w.answerCalls(ctx)
	}
	text, cutOff := strings.TrimSpace(w.mem.last().Text()), w.mem.Answer.CutOff
	w.mem.Answer = nil
	whole := w.mem.Partial.Text + text
	if cutOff {
		w.mem.Partial = held{Text: whole}
		w.mem.add(model.User, model.Block{Text: "Your answer was cut off at the limit of its length. What you wrote is kept. Go on exactly where it stopped, in smaller parts; the parts are joined."})
		return nil, nil
	}
	w.mem.Partial, w.mem.Summary = held{}, held{}
	return &loops.Result{Output: whole, Done: true}, nil
}

// account is the output of an iteration that is not the last of its pass: what
// the model said, or which tools it called.
func (w *work) account() string {
	entries := w.mem.entries()
	for _, e := range slices.Backward(entries) {

		if e.Role != model.Assistant {
			continue
		}
		if text := strings.TrimSpace(e.Text()); text != "" {
			return text
		}
		var names []string
		for _, c := range e.Calls() {
			names = append(names, c.Name)
		}
		return "Called " + strings.Join(names, ", ") + "."
	}
	return ""
}
