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

const (
	usualWindow   = 128 << 10 // tokens, of a model that does not say
	bytesPerToken = 3         // a low guess, for what no provider has counted yet
	summaryTokens = 8 << 10
	minRoom       = 1 << 10 // tokens for an answer, however full the window is
	keptRounds    = 2       // of tools, verbatim after a compaction
	maxArchive    = 20
)

const summaryText = `The conversation is about to be replaced by a summary of it, because the model's window is nearly full. Write this summary now. Do not call a tool. Leave out nothing that the work needs: exact names, paths, numbers, commands, error texts. Use these headings:

## Guidance
What the person asked for beside the goal: steering, answers, decisions; word for word where it is short.
## State
What is done and proven, and how.
## Files and data
What you read, wrote or found, with the facts that matter.
## What failed
What was tried and did not work, and why.
## Next steps
What comes next, in order.`

func (w *work) window() int64 {
	if n := w.models[0].Info().ContextWindow; n > 0 {
		return n
	}
	return usualWindow
}

// estimate is about how many tokens a request has: what the provider counted,
// and a guess for the rest.
func (w *work) estimate(r model.Request) int64 {
	size, k := modelcall.Size(r), w.mem.Known
	if k.Bytes > 0 && k.Bytes <= size {
		return k.Tokens + (size-k.Bytes)/bytesPerToken
	}
	return size / bytesPerToken
}

// room is how long the answer may be in what the request leaves of the window;
// 0 when that is no matter.
func (w *work) room(r model.Request) int64 {
	if w.models[0].Info().ContextWindow <= 0 {
		return 0
	}
	return max(minRoom, w.window()-w.estimate(r))
}

// crowded reports whether the window is nearly full.
func (w *work) crowded() bool {
	spare := w.window() / 5
	if w.window() > 200_000 {
		spare = 20_000
	}
	return w.window()-w.estimate(w.request()) <= spare && w.canCompact()
}

// canCompact reports whether there is something to leave out.
func (w *work) canCompact() bool { return w.keepFrom(w.window()*bytesPerToken/2) > 1 }

// keepFrom is the entry from which on the conversation stays: the last rounds of
// tools, as many as fit into limit bytes, and the user's last message in any
// case.
func (w *work) keepFrom(limit int64) int {
	entries := w.mem.entries()
	from, rounds, size := len(entries), 0, int64(0)
	for i := len(entries) - 1; i >= 0 && rounds < keptRounds; i-- {
		size += modelcall.Size(model.Request{Messages: []model.Message{entries[i].Message}})
		first := from == len(entries)
		switch e := entries[i]; {
		case !first && size > limit:
			return from
		case len(e.Calls()) > 0:
			rounds++
			from = i
		case first && !hasResults(e):
			from = i
		}
	}
	return from
}

func hasResults(e entry) bool { return len(e.Blocks) > 0 && e.Blocks[0].Result != nil }

// compact replaces the older part of the conversation by a summary that the
// model writes. tooLong says that the provider did not take the conversation as
// it is.
func (w *work) compact(ctx context.Context, tooLong bool) error {
	r := w.request()
	limit := w.window() * bytesPerToken / 2
	if tooLong {
		limit = min(limit, modelcall.Size(r)/4)
	}
	from := w.keepFrom(limit)
	known := w.mem.Known
	r.Messages = ordered(r.Messages, summaryText)
	if tooLong || w.estimate(r)+summaryTokens > w.window() {
		r.Messages, known = shrunk(r.Messages, min(2*limit, w.window()*bytesPerToken*7/10)), modelcall.Known{}
	}
	r.MaxTok = min(summaryTokens, w.room(r))
	var broken error
	answer, info, err := modelcall.Do(ctx, w.turn.Meter, modelcall.Call{
		Role: loops.RoleCompaction, Models: w.models, Request: r, Live: w.quiet, Known: &known, Soon: true, // the next call is set aside
		Saved: func(a model.Answer) (saved json.RawMessage) {
			if noSummary(a) != nil {
				return nil
			}
			w.replace(ctx, a.Message.Text(), from)
			saved, broken = w.mem.encode(ctx, w.keep)
			return saved
		},
	})
	if err == nil {
		err = errors.Join(named(noSummary(answer), info), broken)
	}
	return err
}

// noSummary says why an answer is none.
func noSummary(a model.Answer) error {
	if err := refusal(a); err != nil {
		return err
	}
	if strings.TrimSpace(a.Message.Text()) == "" {
		return errors.New("the model's window is nearly full, and it gave no summary of the conversation")
	}
	return nil
}

// quiet is a heartbeat: a summary is not shown.
func (w *work) quiet(loops.Live) { w.turn.Emit(loops.Live{}) }

// ordered adds what the model is to do to the user's last message.
func ordered(messages []model.Message, order string) []model.Message {
	last := &messages[len(messages)-1]
	if last.Role == model.User && len(messages) > 1 {
		last.Blocks = append(slices.Clip(last.Blocks), model.Block{Text: order})
		return messages
	}
	return append(messages, model.Text(model.User, order))
}

// replace puts the summary in the place of the entries before from. The whole
// conversation is kept beside the loop.
func (w *work) replace(ctx context.Context, summary string, from int) {
	entries := w.mem.entries()
	kept := slices.Clone(entries[from:])
	text := joined("The conversation up to here was replaced by your summary of it.",
		loops.Marked("Your summary:", "summary", clean(summary)),
		loops.Marked("Your note:", "note", w.mem.Note.Text),
		feedback(w.turn.Feedback))
	if data, err := json.Marshal(messagesOf(entries)); err == nil {
		if ref := w.keep.store(ctx, string(data)); ref != "" {
			w.mem.Archive = append(w.mem.Archive, ref)
			w.mem.Archive = slices.Clone(w.mem.Archive[max(0, len(w.mem.Archive)-maxArchive):])
			if w.session != nil {
				text += fmt.Sprintf("\n\n[%s with handle %q reads the conversation as it was.]", toolReadMore, w.mem.Handles.add(ref))
			}
		}
	}
	w.mem.Sealed, w.mem.old, w.mem.Known = nil, nil, w.mem.Base
	first := entry{Message: model.Text(model.User, text)}
	if len(kept) > 0 && kept[0].Role == model.User {
		first.Blocks = append(first.Blocks, kept[0].Blocks...)
		kept = kept[1:]
	}
	w.mem.Tail = append([]entry{first}, kept...)
}

func feedback(text string) string {
	if text == "" {
		return ""
	}
	return feedbackText("What the last attempt came to.", text)
}

func messagesOf(entries []entry) []model.Message {
	list := make([]model.Message, len(entries))
	for i, e := range entries {
		list[i] = e.Message
	}
	return list
}

// shrunk makes messages fit into limit bytes: first the results of tools give
// way, oldest first, then long texts, then whole turns after the first message.
func shrunk(messages []model.Message, limit int64) []model.Message {
	size := func() int64 { return modelcall.Size(model.Request{Messages: messages}) }
	for _, longest := range []int{2000, 300} {
		for i := 1; i < len(messages) && size() > limit; i++ {
			messages[i] = shortBlocks(messages[i], longest)
		}
	}
	for len(messages) > 2 && size() > limit {
		next := 2
		for next < len(messages)-1 && messages[next].Role != model.Assistant {
			next++
		}
		if next >= len(messages)-1 {
			break
		}
		messages = append(messages[:1:1], messages[next:]...)
	}
	return messages
}

// shortBlocks cuts the user's texts and results of a message.
func shortBlocks(m model.Message, longest int) model.Message {
	if m.Role != model.User {
		return m
	}
	m.Blocks = slices.Clone(m.Blocks)
	for i, b := range m.Blocks {
		if b.Result != nil {
			r := *b.Result
			r.Text = shortened(r.Text, longest)
			m.Blocks[i].Result = &r
		} else if b.Text != summaryText {
			m.Blocks[i].Text = shortened(b.Text, max(longest, 2000))
		}
	}
	return m
}
