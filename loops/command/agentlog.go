package command

import (
	"encoding/json"
	"strings"

	"example.com/loop-mcp/loops"
)

// agentLog makes live text of the events that a coding agent prints, one JSON
// object a line: its words and the names of its tools. The first event tells
// which agent it is; until then, and for what it does not know, lines stay as
// they are.
type agentLog struct {
	emit  func(loops.Live)
	speak dialect
	tries int             // lines that did not tell which agent it is
	quiet bool            // the event at hand has shown nothing yet
	open  bool            // the text so far does not end a line
	ended bool            // and what comes next is not its continuation
	told  bool            // there was text
	begun map[string]bool // calls whose tool has been named
	parts bool            // Claude Code: text comes in deltas, too
}

// dialect handles an event of one agent and reports whether it knows it.
type dialect func(a *agentLog, e *agentEvent) bool

// agentEvent is the part of the agents' events that is shown.
type agentEvent struct {
	Type     string          `json:"type"`
	Subtype  string          `json:"subtype"`
	Session  string          `json:"session_id"`
	OpenCode string          `json:"sessionID"`
	Thread   string          `json:"thread_id"`
	Role     string          `json:"role"`
	Content  json.RawMessage `json:"content"`
	Message  json.RawMessage `json:"message"`
	Event    json.RawMessage `json:"event"`
	Item     json.RawMessage `json:"item"`
	Part     json.RawMessage `json:"part"`
	Error    json.RawMessage `json:"error"`
	Tool     string          `json:"tool_name"`
	Result   string          `json:"result"`
	IsError  bool            `json:"is_error"`
}

// maxTries is how many JSON lines are looked at to find out which agent it is.
const maxTries = 20

// read handles a line and reports whether there is nothing left to show of it.
// What it knows and does not show is a heartbeat, and so is an event of a known
// agent that was cut.
func (a *agentLog) read(line []byte, cut bool) bool {
	if a.speak == nil && a.tries >= maxTries {
		return false // reading more would only slow the program down
	}
	a.quiet = true
	if cut && a.speak != nil {
		a.say(loops.Live{})
		return true
	}
	var e agentEvent
	if json.Unmarshal(line, &e) != nil {
		a.tries++
		return false
	}
	if a.speak == nil {
		a.tries++
		a.speak = dialectOf(&e)
	}
	if a.speak == nil || !a.speak(a, &e) {
		return false
	}
	if a.quiet {
		a.say(loops.Live{})
	}
	return true
}

func (a *agentLog) say(l loops.Live) {
	a.quiet = false
	a.emit(l)
}

// dialectOf recognises the agent whose first event e is.
func dialectOf(e *agentEvent) dialect {
	switch {
	case e.Type == "thread.started" && e.Thread != "":
		return codexLive
	case e.OpenCode != "" && (e.Part != nil || e.Error != nil):
		return openCodeLive
	case e.Type == "init" && e.Session != "":
		return geminiLive
	case e.Session != "" && (e.Type == "system" || e.Type == "result"):
		return claudeLive
	}
	return nil
}

// delta shows a piece of a text that may go on.
func (a *agentLog) delta(text string) {
	if text == "" {
		return
	}
	if a.open && a.ended {
		text = "\n" + text
	}
	a.open, a.ended, a.told = !strings.HasSuffix(text, "\n"), false, true
	for text = Plain(text); text != ""; {
		n := utf8Border(text, livePiece)
		a.say(loops.Live{Text: text[:n]})
		text = text[n:]
	}
}

// whole shows a text that is complete.
func (a *agentLog) whole(text string) {
	if text = strings.TrimRight(text, "\r\n"); text == "" {
		return
	}
	a.ended = true
	a.delta(text + "\n")
}

// tool shows the name of a tool, once for each call.
func (a *agentLog) tool(call, name string) {
	if name == "" || a.begun[call] {
		return
	}
	if a.begun == nil || len(a.begun) > 100 {
		a.begun = map[string]bool{}
	}
	if call != "" {
		a.begun[call] = true
	}
	a.open, a.ended = false, true // a tool stands on a line of its own
	a.say(loops.Live{Tool: strings.TrimSpace(Plain(name))})
}

// problem shows the text of an error, whatever form it has.
func (a *agentLog) problem(raw json.RawMessage) {
	var e struct {
		Name    string `json:"name"`
		Message string `json:"message"`
		Data    struct {
			Message string `json:"message"`
		} `json:"data"`
	}
	var text string
	if json.Unmarshal(raw, &text) != nil && json.Unmarshal(raw, &e) == nil {
		for _, one := range []string{e.Message, e.Data.Message, e.Name} {
			if text == "" {
				text = one
			}
		}
	}
	if text = strings.TrimSpace(text); text != "" {
		a.whole("error: " + clip(text, liveLine))
	}
}
