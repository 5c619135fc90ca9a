package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Utterance is one thing that was said in an iteration.
type Utterance struct {
	Iteration int    `json:"iteration"`
	Role      string `json:"role"`
	Text      string `json:"text"`
	Tool      string `json:"tool,omitempty"` // assistant: the tool that it calls, Text its arguments; tool: the one whose result Text is; verdict: the condition that decided
}

// Who speaks: Utterance.Role.
const (
	FromUser      = "user"      // what the worker was told: goal, note, feedback, guidance
	FromAssistant = "assistant" // what the worker said, and the tools that it called
	FromTool      = "tool"      // what a tool gave back
	FromVerdict   = "verdict"   // what the stop conditions came to
	FromError     = "error"     // why an iteration failed
)

// Talker is implemented by a Body whose memory holds a conversation.
type Talker interface {
	// Conversation returns what memory holds of it, oldest first; nothing when
	// the memory is another body's. fetch returns what Turn.Keep stored.
	Conversation(ctx context.Context, memory json.RawMessage, fetch func(ctx context.Context, ref string) ([]byte, error)) ([]Utterance, error)
}

// Transcript yields what was said in a loop from the given iteration on, oldest
// first: the conversation of an agent; of other bodies what the worker was told,
// as far as the journal has it, and what it handed in; in both cases the errors
// and verdicts. An error ends it. What a conversation refers to and the store has
// no more is one utterance that says so.
func (e *Engine) Transcript(ctx context.Context, id ID, from int) iter.Seq2[Utterance, error] {
	return func(yield func(Utterance, error) bool) {
		l, err := e.History(ctx, id)
		if err != nil {
			yield(Utterance{}, err)
			return
		}
		t := &transcript{e: e, ctx: ctx, l: l, known: -1}
		for _, it := range l.Iterations {
			if it.Iteration < from {
				continue
			}
			said, err := t.iteration(it)
			if err != nil {
				yield(Utterance{}, err)
				return
			}
			for _, u := range said {
				u.Iteration = it.Iteration
				if !yield(u, nil) {
					return
				}
			}
		}
	}
}

// transcript reads the iterations of one loop in order.
type transcript struct {
	e   *Engine
	ctx context.Context
	l   Loop

	known  int         // the iteration whose conversation is in before; -1: none is
	before []Utterance // an agent's conversation as that iteration left it
}

// iteration returns what was said in it.
func (t *transcript) iteration(it Iteration) ([]Utterance, error) {
	said, err := t.work(it)
	if err != nil {
		return nil, err
	}
	if !it.OK {
		said = append(said, Utterance{Role: FromError, Text: it.Error})
	}
	if v := it.Verdict; v != nil {
		word := map[bool]string{true: "met", false: "not met"}[v.Met]
		said = append(said, Utterance{Role: FromVerdict, Tool: v.Kind, Text: strings.TrimSuffix(paragraphs(word+": "+v.Reason, v.Feedback), ": ")})
	}
	return said, nil
}

func (t *transcript) work(it Iteration) ([]Utterance, error) {
	if talker, ok := t.e.body(t.l.Origin.Spec.Body).(Talker); ok {
		if said, found, err := t.talk(talker, it); found || err != nil {
			return said, err
		}
	}
	told, err := t.told(it)
	if err != nil || !it.OK {
		return told, err
	}
	whole, err := t.e.Output(t.ctx, t.l.ID, it.Output)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		whole, err = it.Output.Text, nil
	}
	return append(told, Utterance{Role: FromAssistant, Text: whole}), err
}

// talk returns what an iteration added to an agent's conversation. found is false
// when the agent has none there.
func (t *transcript) talk(talker Talker, it Iteration) (said []Utterance, found bool, err error) {
	if it.Memory == nil {
		return nil, false, nil
	}
	if t.known != it.Iteration-1 {
		if t.before, err = t.conversation(talker, t.l.MemoryAt(it.Iteration-1)); err != nil {
			return nil, false, err
		}
	}
	now, err := t.conversation(talker, it.Memory)
	if err != nil || len(now) == 0 {
		return nil, false, err
	}
	if it.Iteration == 1 { // that is not part of what the agent keeps
		said = append(said, Utterance{Role: FromUser, Text: strings.TrimSpace(t.l.goalTold())})
	}
	said = append(said, added(t.before, now)...)
	t.known, t.before = it.Iteration, now
	return said, true, nil
}

func (t *transcript) conversation(talker Talker, memory json.RawMessage) ([]Utterance, error) {
	if memory == nil {
		return nil, nil
	}
	all, err := talker.Conversation(t.ctx, memory, func(ctx context.Context, ref string) ([]byte, error) {
		data, err := t.e.store.Blob(ctx, t.l.ID, ref)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		return data, err
	})
	if errors.Is(err, errGone) {
		return []Utterance{{Role: FromError, Text: "this part of the conversation can't be read: " + err.Error()}}, nil
	}
	return all, err
}

// errGone marks what no repetition of a call brings back.
var errGone = errors.New("it is not in the store any more")

// added is what now has and before has not, in order: where a conversation was
// replaced by its summary, too.
func added(before, now []Utterance) []Utterance {
	seen := map[Utterance]int{}
	for _, u := range before {
		seen[u]++
	}
	var fresh []Utterance
	for _, u := range now {
		if seen[u] > 0 {
			seen[u]--
			continue
		}
		fresh = append(fresh, u)
	}
	return fresh
}

// told is what the worker was told for an iteration, without what was left of
// the limits then, which the journal does not have.
func (t *transcript) told(it Iteration) ([]Utterance, error) {
	s, err := t.l.at(it.Iteration - 1)
	if err != nil {
		return nil, err
	}
	s.Pass = it.Pass
	var said []Utterance
	b := s.Origin.Spec.Body
	if own := b.Prompt + b.Stdin; own != "" {
		text, err := expand(own, s)
		if err != nil {
			text = own
		}
		said = append(said, Utterance{Role: FromUser, Text: clipEnds(text, MaxPromptSize)})
	} else {
		said = append(said, Utterance{Role: FromUser, Text: strings.TrimSpace(string(s.promptFeedback(s.promptTexts(nil, s.Goal(), s.expandedContext()), 0)))})
	}
	return append(said, t.guidance(it)...), nil
}

// guidance is the steering that the starts of an iteration had, as its events
// tell it.
func (t *transcript) guidance(it Iteration) []Utterance {
	var since time.Time
	if before, ok := t.l.iteration(it.Iteration - 1); ok {
		since = before.EndedAt
	}
	var said []Utterance
	for _, ev := range t.l.Events {
		if ev.Type == EventSteerApplied && ev.At.Before(it.EndedAt) && !ev.At.Before(since) {
			_, text, _ := strings.Cut(ev.Text, ": ")
			said = append(said, Utterance{Role: FromUser, Text: "Guidance: " + text})
		}
	}
	return said
}

// goalTold is the goal and its context as a worker is told them.
func (l Loop) goalTold() string {
	return Marked("Goal:", "goal", l.Goal()) + Marked("Context:", "context", l.expandedContext())
}
