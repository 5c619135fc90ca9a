package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/model"
)

// The built-in tools.
const (
	toolFinish   = "finish"
	toolAsk      = "ask"
	toolNote     = "note"
	toolReadMore = "read_more"
)

var builtIn = []model.Tool{
	{Name: toolFinish, Description: "Ends this pass: you claim that the attempt is complete and hand in its result. Whether the goal is met is then checked from evidence.",
		Schema: json.RawMessage(`{"type":"object","properties":{"result":{"anyOf":[{"type":"string"},{"type":"object"}],"description":"What the goal asks for: the text itself, or an object when the goal asks for JSON"},` +
			`"summary":{"type":"string","description":"What you did, what you checked and what is open, in a few sentences; you have it in the next pass"}},"required":["result"]}`)},
	{Name: toolAsk, Description: "Asks the person who started the loop. The loop waits for the answer. Only for what a person has to decide and you can't find out.",
		Schema: json.RawMessage(`{"type":"object","properties":{"question":{"type":"string","description":"One question with what the person needs to answer it"}},"required":["question"]}`)},
	{Name: toolNote, Description: "Replaces your note, up to 8 KB, which is carried over to later passes: facts found, what is done, what failed, what comes next.",
		Schema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","description":"The whole note; empty text deletes it"}},"required":["text"]}`)},
}

var readMore = model.Tool{Name: toolReadMore, Description: "Gives the next part of a tool result that was cut.",
	Schema: json.RawMessage(`{"type":"object","properties":{"handle":{"type":"string","description":"As the cut result names it, such as r3"},` +
		`"offset":{"type":"integer","description":"The byte to begin with"}},"required":["handle"]}`)}

// note replaces the carried note.
func (w *work) note(args map[string]json.RawMessage, s *state) {
	text, ok := textOf(args["text"])
	if !ok {
		s.done("Not kept: note needs text, a string.", true)
		return
	}
	short := shortened(clean(text), maxNote)
	w.mem.Note = held{Text: short}
	if len(short) < len(text) {
		s.done(fmt.Sprintf("The note is kept, cut to %d bytes from %d: write it shorter.", maxNote, len(text)), false)
		return
	}
	s.done("The note is kept.", false)
}

// readMore gives a part of a text that was cut.
func (w *work) readMore(ctx context.Context, args map[string]json.RawMessage, s *state) {
	handle, _ := textOf(args["handle"])
	ref := w.mem.Handles.find(handle)
	if ref == "" {
		s.done(fmt.Sprintf("There is no text with the handle %q any more. Call the tool again.", shortened(handle, 40)), true)
		return
	}
	offset, ok := numberOf(args["offset"])
	if !ok {
		s.done("offset must be a whole number of bytes, 0 or more.", true)
		return
	}
	data, err := w.turn.Fetch(ctx, ref)
	if err != nil {
		s.done(fmt.Sprintf("The text could not be read: %s", err), true)
		return
	}
	text := string(data)
	if offset >= len(text) {
		s.done(fmt.Sprintf("The text has %d bytes; there is nothing at offset %d.", len(text), offset), true)
		return
	}
	part, end := partOf(text, offset, w.resultLimit())
	rest := "This is its end."
	if end < len(text) {
		rest = fmt.Sprintf("Go on with offset %d.", end)
	}
	s.done(fmt.Sprintf("%s\n[Bytes %d to %d of %d. %s]", dataText(part), offset, end, len(text), rest), false)
}

// askQuestions asks a person what the calls of ask say, all at once, or gives
// them the answer.
func (w *work) askQuestions(list []model.ToolCall, at []int) *loops.Ask {
	var questions []string
	var open []*state
	for _, i := range at {
		s := &w.mem.Answer.Calls[i]
		args, problem := arguments(list[i])
		question, _ := textOf(args["question"])
		switch question = strings.TrimSpace(question); {
		case s.At == atQuestion && w.reply != "":
			s.done(strings.TrimSpace(answerText(w.reply)), false)
		case problem != "":
			s.done(problem, true)
		case question == "":
			s.done("Nobody was asked: ask needs question, a string.", true)
		default:
			open, questions = append(open, s), append(questions, question)
		}
	}
	for _, s := range open {
		s.At = atQuestion
	}
	if len(questions) > 1 {
		for i := range questions {
			questions[i] = fmt.Sprintf("%d. %s", i+1, questions[i])
		}
	}
	if len(questions) == 0 {
		return nil
	}
	return &loops.Ask{Prompt: strings.Join(questions, "\n")}
}

// claim ends the pass with the first call of finish, unless the model had not
// seen yet what another call of the same answer came to.
func (w *work) claim(list []model.ToolCall, at []int, asked bool) *loops.Result {
	failed := slices.ContainsFunc(w.mem.Answer.Calls, func(s state) bool { return s.At == atDone && s.Error })
	var result *loops.Result
	for _, i := range at {
		s := &w.mem.Answer.Calls[i]
		args, problem := arguments(list[i])
		output, ok := outputOf(args["result"])
		switch {
		case result != nil:
			s.done("The pass had ended already.", true)
		case problem != "":
			s.done(problem, true)
		case !ok:
			s.done("Not finished: finish needs result, a text or an object that is not empty.", true)
		case asked:
			s.done("Not finished: you asked a person in the same turn. Call finish when you have taken the answer into account.", true)
		case failed:
			s.done("Not finished: another call of the same turn failed. Look at its result, then call finish again.", true)
		default:
			s.done("The pass has ended with this result.", false)
			summary, _ := textOf(args["summary"])
			w.mem.Summary = held{Text: shortened(clean(summary), maxNote)}
			result = &loops.Result{Output: output, Done: true}
		}
	}
	return result
}

// outputOf is the result of finish: a text as it is, anything else as JSON.
func outputOf(raw json.RawMessage) (string, bool) {
	if text, ok := textOf(raw); ok {
		return text, strings.TrimSpace(text) != ""
	}
	if len(raw) == 0 || string(raw) == "null" {
		return "", false
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return "", false
	}
	return compact.String(), true
}

func textOf(raw json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(raw, &text) != nil || text == nil {
		return "", false
	}
	return *text, true
}

// numberOf reads a count that some models write as text; left out it is 0.
func numberOf(raw json.RawMessage) (int, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, true
	}
	digits := string(raw)
	if text, ok := textOf(raw); ok {
		digits = text
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil || n < 0 || n > 1<<40 || n != float64(int(n)) {
		return 0, false
	}
	return int(n), true
}

// handles are the short names of cut results.
type handles struct {
	Given int      `json:"given,omitempty"`
	Refs  []string `json:"refs,omitempty"` // of the newest ones
}

// maxHandles bounds the cut results that can be read on.
const maxHandles = 64

func (h *handles) add(ref string) string {
	h.Given++
	h.Refs = append(h.Refs, ref)
	h.Refs = slices.Clone(h.Refs[max(0, len(h.Refs)-maxHandles):])
	return "r" + strconv.Itoa(h.Given)
}

func (h *handles) find(handle string) string {
	n, err := strconv.Atoi(strings.TrimPrefix(handle, "r"))
	if i := n - 1 - h.Given + len(h.Refs); err == nil && i >= 0 && i < len(h.Refs) {
		return h.Refs[i]
	}
	return ""
}
