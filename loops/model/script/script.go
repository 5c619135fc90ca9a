// Package script is a model that answers from a list instead of thinking: it
// tries out loop files without a provider, a key or a bill.
//
// Which answer is given depends on the request alone, so that a loop that goes
// on in another process, or repeats a call after a crash, meets the same model.
package script

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops/model"
)

// Script is what the model says. The first turn that fits a request answers it.
type Script struct {
	Turns []Turn `json:"turns"`
}

// Turn is one answer and when it is given.
type Turn struct {
	When   []string        `json:"when"`   // texts that are all part of the request
	Unless []string        `json:"unless"` // texts of which none is
	Say    string          `json:"say"`
	JSON   json.RawMessage `json:"json"` // instead of say, for a request that wants a structure
	Calls  []Call          `json:"calls"`
}

// Call is a tool that the turn asks for.
type Call struct {
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// Check says what is wrong with the script.
func (s Script) Check() error {
	var problems []error
	if len(s.Turns) == 0 {
		problems = append(problems, errors.New("turns: is empty; a script needs at least one answer"))
	}
	for i, t := range s.Turns {
		if t.Say == "" && t.JSON == nil && len(t.Calls) == 0 {
			problems = append(problems, fmt.Errorf("turns[%d]: needs say, json or calls", i))
		}
		if t.Say != "" && t.JSON != nil {
			problems = append(problems, fmt.Errorf("turns[%d]: has both say and json", i))
		}
		for j, c := range t.Calls {
			if c.Name == "" {
				problems = append(problems, fmt.Errorf("turns[%d].calls[%d].name: is missing", i, j))
			}
		}
	}
	return errors.Join(problems...)
}

// Model answers from a script. It implements [model.Model].
type Model struct {
	info   model.Info
	script Script
}

// New returns the model that info describes.
func New(info model.Info, s Script) (*Model, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	info.Wire = "script"
	return &Model{info: info, script: s}, nil
}

// Info implements [model.Model].
func (m *Model) Info() model.Info { return m.info }

// Generate implements [model.Model]. Text goes to live a word at a time.
func (m *Model) Generate(ctx context.Context, r model.Request, live func(model.Live)) (model.Answer, error) {
	if err := ctx.Err(); err != nil {
		return model.Answer{}, &model.Error{Kind: model.Network, Model: m.info.ID, Unbilled: true, Err: err}
	}
	request := text(r)
	i := slices.IndexFunc(m.script.Turns, func(t Turn) bool { return t.fits(request) })
	if i < 0 {
		return model.Answer{}, &model.Error{Kind: model.BadRequest, Model: m.info.ID, Unbilled: true, Err: errors.New("no turn of the script fits the request")}
	}
	a := m.script.Turns[i].answer(i, len(r.Messages))
	a.Model = m.info.Model
	a.Usage = model.Usage{Input: tokens(request), Output: tokens(a.Message.Text()) + int64(16*len(a.Message.Calls()))}
	if r.MaxTok > 0 && a.Usage.Output > r.MaxTok {
		words := a.Message.Text()
		a.Message = model.Text(model.Assistant, strings.ToValidUTF8(words[:min(int64(len(words)), 4*r.MaxTok)], ""))
		a.Stop, a.Usage.Output = model.StopLength, r.MaxTok
	}
	if live != nil {
		for word := range strings.SplitAfterSeq(a.Message.Text(), " ") {
			live(model.Live{Text: word})
		}
		for _, c := range a.Message.Calls() {
			live(model.Live{Tool: c.Name})
		}
	}
	return a, nil
}

func (t Turn) fits(request string) bool {
	inside := func(part string) bool { return strings.Contains(request, part) }
	outside := func(part string) bool { return !inside(part) }
	return !slices.ContainsFunc(t.When, outside) && !slices.ContainsFunc(t.Unless, inside)
}

// answer is the turn as a message. Ids of calls differ from message to message.
func (t Turn) answer(turn, messages int) model.Answer {
	a := model.Answer{Message: model.Message{Role: model.Assistant}, Stop: model.StopEnd}
	say := t.Say
	if t.JSON != nil {
		say = string(t.JSON)
	}
	if say != "" {
		a.Message.Blocks = append(a.Message.Blocks, model.Block{Text: say})
	}
	for i, c := range t.Calls {
		args := c.Args
		if args == nil {
			args = json.RawMessage("{}")
		}
		a.Message.Blocks = append(a.Message.Blocks, model.Block{Call: &model.ToolCall{ID: fmt.Sprintf("call_%d_%d_%d", messages, turn, i), Name: c.Name, Args: args}})
		a.Stop = model.StopTools
	}
	return a
}

// text is all that a request says.
func text(r model.Request) string {
	var all strings.Builder
	all.WriteString(r.System)
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			all.WriteString("\n" + b.Text)
			if b.Call != nil {
				all.WriteString("\n" + b.Call.Name + " " + string(b.Call.Args))
			}
			if b.Result != nil {
				all.WriteString("\n" + b.Result.Text)
			}
		}
	}
	return all.String()
}

// tokens is about what a tokenizer makes of a text.
func tokens(text string) int64 { return int64(len(text)+3) / 4 }
