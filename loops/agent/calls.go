package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// answer is the last answer of the model, until all that it asks for is done.
type answer struct {
	Iteration int     `json:"iteration"`         // whose model call it was
	CutOff    bool    `json:"cut_off,omitempty"` // at the limit of its length
	Calls     []state `json:"calls,omitempty"`   // in the order of its calls
}

// state is how far a call is.
type state struct {
	At     string `json:"at,omitempty"`
	Tries  int    `json:"tries,omitempty"` // starts of the tool
	Result held   `json:"result,omitzero"`
	Error  bool   `json:"error,omitempty"` // the result is one
}

// Where a call can be. The zero value has not begun.
const (
	atAllow    = "allow"    // a person was asked whether it may run
	atAgain    = "again"    // a person was asked whether it may run once more
	atQuestion = "question" // a person was asked the question that it is
	atAllowed  = "allowed"  // a person approved, and it has not run since
	atStarted  = "started"  // it may have run
	atDone     = "done"
)

// waits reports whether a person's answer belongs to one of the calls.
func (a *answer) waits() bool {
	return a != nil && slices.ContainsFunc(a.Calls, func(s state) bool { return s.At == atAllow || s.At == atAgain || s.At == atQuestion })
}

// done gives a call its result.
func (s *state) done(text string, failed bool) {
	s.At, s.Result, s.Error = atDone, held{Text: text}, failed
}

// answerCalls brings the open calls to their results, in the order that the
// package's doc tells. It returns the end of the start when there is one: a
// question to a person, or the claim to be finished.
func (w *work) answerCalls(ctx context.Context) (*loops.Result, error) {
	list := w.mem.last().Calls()
	states := w.mem.Answer.Calls
	if w.mem.Answer.CutOff {
		for i := range states {
			states[i].done("Not called: your answer was cut off at the limit of its length, and what it asked for may be incomplete. Make smaller calls, fewer at a time.", true)
		}
	}
	var questions, claims []int
	for i, c := range list {
		switch s := &states[i]; {
		case s.At == atDone:
		case c.Name == toolAsk:
			questions = append(questions, i)
		case c.Name == toolFinish:
			claims = append(claims, i)
		default:
			if ask, err := w.answerCall(ctx, c, s); ask != nil || err != nil {
				return w.asking(ask), err
			}
		}
	}
	if ask := w.askQuestions(list, questions); ask != nil {
		return w.asking(ask), nil
	}
	result := w.claim(list, claims, len(questions) > 0)
	w.conclude(ctx, list)
	return result, nil
}

// asking is the end of a start that waits for a person.
func (w *work) asking(ask *loops.Ask) *loops.Result {
	if ask == nil {
		return nil
	}
	return &loops.Result{Output: w.account(), Ask: ask}
}

// conclude puts the results into the conversation.
func (w *work) conclude(ctx context.Context, list []model.ToolCall) {
	e := entry{Message: model.Message{Role: model.User}, Refs: map[int]string{}}
	for i, c := range list {
		s := w.mem.Answer.Calls[i]
		if s.Result.Ref == "" && len(s.Result.Text) > inlineText {
			s.Result.Ref = w.keep.put(ctx, s.Result.Text)
		}
		if s.Result.Ref != "" {
			e.Refs[i] = s.Result.Ref
		}
		e.Blocks = append(e.Blocks, model.Block{Result: &model.ToolResult{ID: c.ID, Name: c.Name, Text: s.Result.Text, Error: s.Error}})
	}
	w.mem.Tail = append(w.mem.Tail, e)
	w.mem.Answer = nil
}

// answerCall brings one call to its result, or to a question.
func (w *work) answerCall(ctx context.Context, c model.ToolCall, s *state) (*loops.Ask, error) {
	args, problem := arguments(c)
	tool, known := w.tools[c.Name]
	switch {
	case problem != "":
		s.done(problem, true)
	case c.Name == toolNote:
		w.note(args, s)
	case c.Name == toolReadMore && w.session != nil:
		w.readMore(ctx, args, s)
	case !known && s.At == atStarted:
		s.done(fmt.Sprintf("%s is gone. It was called before, and the outcome of that is not known.", c.Name), true)
	case !known:
		s.done(fmt.Sprintf("There is no tool %q. Call one of those that are listed.", shortened(c.Name, 100)), true)
	default:
		return w.useTool(ctx, tool, given(c), s)
	}
	return nil, nil
}

// arguments checks that the arguments of a call are an object. None are an empty
// one.
func arguments(c model.ToolCall) (args map[string]json.RawMessage, problem string) {
	if text, ok := textOf(c.Args); ok {
		return nil, fmt.Sprintf("Not called: the arguments are not valid JSON: %s", shortened(text, 200))
	}
	if json.Unmarshal(given(c), &args) != nil {
		return nil, "Not called: the arguments must be a JSON object."
	}
	return args, ""
}

// given is the arguments of a call as an object.
func given(c model.ToolCall) json.RawMessage {
	if len(c.Args) == 0 || string(c.Args) == "null" {
		return json.RawMessage("{}")
	}
	return c.Args
}
