package mcpserver

import (
	"encoding/json"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/mark3labs/mcp-go/mcp"
)

// maxQuestion bounds what a person is shown in a form, in bytes of JSON.
const maxQuestion = 4 << 10

// inputRequest asks the person at the client for what the loop waits for. It is
// the same as long as the loop waits: clients compare.
func inputRequest(s loops.State) mcp.InputRequest {
	prompt, _ := clipMiddle(s.Attention.Prompt, maxQuestion)
	p := mcp.ElicitationParams{Mode: mcp.ElicitationModeForm, Message: string(s.ID) + " asks: " + prompt}
	if s.Attention.Kind == loops.AttentionQuestion {
		p.RequestedSchema = form("answer", map[string]any{
			"answer": map[string]any{"type": "string", "title": "Answer", "minLength": 1},
		})
		return mcp.NewElicitationInputRequest(p)
	}
	p.RequestedSchema = form("decision", map[string]any{
		"decision": map[string]any{"type": "string", "title": "Decision", "enum": []string{string(loops.Approve), string(loops.Deny)}},
		"message":  map[string]any{"type": "string", "title": "Message", "description": "When denied: what is wrong"},
	})
	if output := resultOf(s).Text; output != "" {
		output, _ = clipMiddle(output, maxQuestion)
		p.Message += "\n\nThe output:\n" + output
	}
	return mcp.NewElicitationInputRequest(p)
}

func form(required string, properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "required": []string{required}}
}

// decision is a person's response as a request to the loop. decided is false
// when there was nobody: the loop goes on waiting.
func decision(s loops.State, raw json.RawMessage) (r loops.Request, decided bool, err error) {
	at := "inputResponses." + s.Attention.ID
	var response struct {
		Action  mcp.ElicitationResponseAction `json:"action"`
		Content struct {
			Answer   string `json:"answer"`
			Decision string `json:"decision"`
			Message  string `json:"message"`
		} `json:"content"`
	}
	if err := json.Unmarshal(raw, &response); err != nil {
		return r, false, &tasks.ParamError{Param: at, Problem: "can't be read: " + err.Error()}
	}
	switch response.Action {
	case mcp.ElicitationResponseActionDecline, mcp.ElicitationResponseActionCancel:
		return r, false, nil
	case mcp.ElicitationResponseActionAccept:
	default:
		return r, false, &tasks.ParamError{Param: at + ".action", Problem: "must be accept, decline or cancel"}
	}
	r = loops.Request{AttentionID: s.Attention.ID, By: "person"}
	switch c := response.Content; {
	case s.Attention.Kind == loops.AttentionQuestion && strings.TrimSpace(c.Answer) == "":
		return r, false, &tasks.ParamError{Param: at + ".content.answer", Problem: "is missing: the person's answer"}
	case s.Attention.Kind == loops.AttentionQuestion:
		r.Action, r.Message = loops.AnswerIt, c.Answer
	case c.Decision != string(loops.Approve) && c.Decision != string(loops.Deny):
		return r, false, &tasks.ParamError{Param: at + ".content.decision", Problem: "must be approve or deny, as the person decided"}
	default:
		r.Action, r.Message = loops.Action(c.Decision), c.Message
	}
	return r, true, nil
}
