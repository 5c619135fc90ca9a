package mcpserver

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
)

// The sizes of the texts in a question, in bytes of JSON.
const (
	maxAsked  = 4000 // what the loop asks
	maxResult = 2000 // the output it is about
	maxWhy    = 500  // of the agent
)

// Question is what the person at a client is asked about a loop that stands at
// s: a form with flat fields, which every client that can ask at all can show.
// ok is false when the loop asks nobody.
func Question(s loops.State) (q mcp.ElicitationParams, ok bool) { return question(s, "") }

// question is Question with what the agent wants, which the person shall know.
func question(s loops.State, wish string) (q mcp.ElicitationParams, ok bool) {
	if !asks(s) {
		return q, false
	}
	verb, fields := "asks", answerFields
	if s.Attention.Kind == loops.AttentionApproval {
		verb, fields = "asks for a decision", decisionFields
	}
	output, _ := clipMiddle(resultOf(s).Text, maxResult)
	return form(fields,
		fmt.Sprintf("Loop %s %s:", s.ID, verb), quoted(clip(s.Attention.Prompt, maxAsked)),
		titled("Its output so far:", output), about(s), wish), true
}

// limitsQuestion asks whether the limits may be changed.
func limitsQuestion(s loops.State, change loops.Limits, wish string) mcp.ElicitationParams {
	return form(decisionFields,
		fmt.Sprintf("May the limits of loop %s be changed?", s.ID), quoted(s.Limits.Changes(s.Limits.Merge(change))), about(s), wish)
}

// asks reports whether a loop waits for a person.
func asks(s loops.State) bool {
	return s.Status == loops.NeedsInput && s.Attention != nil &&
		(s.Attention.Kind == loops.AttentionQuestion || s.Attention.Kind == loops.AttentionApproval)
}

func answerFields() map[string]any {
	return map[string]any{
		"type": "object", "required": []string{"answer"},
		"properties": map[string]any{
			"answer": map[string]any{"type": "string", "title": "Answer", "minLength": 1},
		},
	}
}

// decisionFields has no default: a decision is not to be made by closing a form.
func decisionFields() map[string]any {
	return map[string]any{
		"type": "object", "required": []string{"decision"},
		"properties": map[string]any{
			"decision": map[string]any{"type": "string", "title": "Decision", "enum": []string{string(loops.Approve), string(loops.Deny)}},
			"message":  map[string]any{"type": "string", "title": "Message", "description": "A remark; with deny what is wrong or missing"},
		},
	}
}

func form(fields func() map[string]any, paragraphs ...string) mcp.ElicitationParams {
	var shown []string
	for _, p := range paragraphs {
		if p != "" {
			shown = append(shown, p)
		}
	}
	return mcp.ElicitationParams{Message: strings.Join(shown, "\n\n"), RequestedSchema: fields()}
}

func titled(title, text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return title + "\n" + quoted(text)
}

// about says what the loop is for and what it has cost.
func about(s loops.State) string {
	spent := fmt.Sprintf("$%.2f of at most $%.2f", s.Ledger.CostUSD.Dollars(), s.Limits.MaxCostUSD.Dollars())
	if s.Ledger.CostUSD == 0 && s.Enforcements().MaxCostUSD == loops.NotMetered {
		spent = "not metered"
	}
	return fmt.Sprintf("Goal: %s\nCost: %s. Iteration %d, pass %d.", line(s.Goal()), spent, s.Iteration, s.Pass)
}

// line is a text from a loop or a client within a sentence of ours.
func line(text string) string {
	return clip(strings.Join(strings.Fields(printable(text)), " "), maxLine)
}

// quoted marks each line as somebody else's words: what a worker wrote must not
// look like a sentence of this server.
func quoted(text string) string {
	return "> " + strings.ReplaceAll(strings.TrimSpace(printable(text)), "\n", "\n> ")
}

// printable drops what could steer a terminal or reorder what is read; line
// breaks and tabs stay.
func printable(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\u2028' || r == '\u2029' || r == '\r':
			return '\n'
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
}

// errNobody is why a person's answer is none: they closed the question.
var errNobody = errors.New("they closed the question without an answer")

// Reply reads what a person answered to [Question] about the loop at s as a
// request to it. Everything but a plain answer is an error that says what it was:
// declined and cancelled mean that nobody is there, and decide nothing.
func Reply(s loops.State, result *mcp.ElicitationResult) (loops.Request, error) {
	if !asks(s) {
		return loops.Request{}, errors.New("the loop asks nothing any more")
	}
	r, err := decision(s.Attention.Kind, result)
	r.AttentionID = s.Attention.ID
	return r, err
}

// decision reads the answer to a question of that kind.
func decision(kind string, result *mcp.ElicitationResult) (loops.Request, error) {
	r := loops.Request{By: "person"}
	switch {
	case result == nil || result.Action == mcp.ElicitationResponseActionDecline || result.Action == mcp.ElicitationResponseActionCancel:
		return r, errNobody
	case result.Action != mcp.ElicitationResponseActionAccept:
		return r, errors.New("the client's form came back in no way that a form can")
	}
	fields, _ := result.Content.(map[string]any)
	if kind == loops.AttentionQuestion {
		r.Action = loops.AnswerIt
		text, ok := fields["answer"].(string)
		if r.Message = text; !ok || strings.TrimSpace(text) == "" {
			return r, errors.New("the client's form came back without an answer")
		}
		return r, tooLong(text)
	}
	choice, _ := fields["decision"].(string)
	if r.Action = loops.Action(choice); r.Action != loops.Approve && r.Action != loops.Deny {
		return r, errors.New("the client's form came back without a decision (approve or deny)")
	}
	text, ok := fields["message"].(string)
	if !ok && fields["message"] != nil {
		return r, errors.New("the client's form came back with a message that is no text")
	}
	r.Message = strings.TrimSpace(text)
	return r, tooLong(text)
}

func tooLong(text string) error {
	if len(text) > loops.MaxGoalSize {
		return fmt.Errorf("the client's form came back with %d bytes of text, at most %d are allowed", len(text), loops.MaxGoalSize)
	}
	return nil
}
