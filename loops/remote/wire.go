package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
)

// Version is the number of the wire that this package speaks.
const Version = 1

// The times of the wire.
const (
	beatEvery  = 3 * time.Second  // between two heartbeats
	fenceAfter = 10 * time.Second // without an answer: the handler ends its body
	lostAfter  = 15 * time.Second // without a message: the caller gives the start up
)

// Text is a text of any characters. It is read as it is, where other texts of
// the wire may hold no control characters.
type Text string

// UnmarshalJSON reads a JSON string.
func (t *Text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil {
		return fmt.Errorf("must be a text, got %s", clip(string(data), 60))
	}
	*t = Text(s)
	return nil
}

// Verbatim makes [loops.Decode] read any characters.
func (*Text) Verbatim() {}

// Any is any JSON, kept as it is. nil is left out.
type Any json.RawMessage

// UnmarshalJSON keeps the JSON.
func (a *Any) UnmarshalJSON(data []byte) error {
	*a = append((*a)[:0:0], data...)
	return nil
}

// MarshalJSON returns the JSON.
func (a Any) MarshalJSON() ([]byte, error) { return json.RawMessage(a).MarshalJSON() }

// Verbatim makes [loops.Decode] read any characters.
func (*Any) Verbatim() {}

// Offer is published for whoever serves a handler: a start is to be done.
type Offer struct {
	V       int      `json:"v" jsonschema_description:"Version of the wire: 1"`
	Key     string   `json:"key" jsonschema_description:"The start: the loop's id, a dot, and the number of the start. The same key is the same start: use it where work must not be done twice"`
	Loop    loops.ID `json:"loop" jsonschema_description:"The loop's id"`
	Handler string   `json:"handler" jsonschema_description:"The handler's name"`
	Runner  string   `json:"runner,omitempty" jsonschema_description:"Name of the process that works on the loop, among those that share the store"`
}

// Call is what a handler is given for one start: a [loops.Turn] as JSON.
type Call struct {
	V       int      `json:"v" jsonschema_description:"Version of the wire: 1"`
	Key     string   `json:"key" jsonschema_description:"The start: the loop's id, a dot, and the number of the start. The same key is the same start: use it where work must not be done twice"`
	Handler string   `json:"handler" jsonschema_description:"The handler's name"`
	Loop    loops.ID `json:"loop" jsonschema_description:"The loop's id"`

	Start     int    `json:"start" jsonschema_description:"Number of the start, from 1"`
	Iteration int    `json:"iteration" jsonschema_description:"Number of the iteration that it works on, from 1"`
	Pass      int    `json:"pass" jsonschema_description:"Number of the pass, from 1"`
	Epoch     uint64 `json:"epoch" jsonschema_description:"Goes up when a settled loop is moved again"`
	Attempt   int    `json:"attempt" jsonschema_description:"1, or more for a start that repeats one of this iteration after a transient fault; one that was cut off does not count"`

	Goal     Text           `json:"goal" jsonschema_description:"What must be true at the end"`
	Context  Text           `json:"context,omitempty" jsonschema_description:"What the loop file says beside the goal"`
	Prompt   Text           `json:"prompt,omitempty" jsonschema_description:"Goal, context, feedback, steering and what is left, as one brief for a model"`
	Feedback Text           `json:"feedback,omitempty" jsonschema_description:"Of the last pass: what is missing"`
	Steer    Text           `json:"steer,omitempty" jsonschema_description:"What a person said meanwhile"`
	Answer   Text           `json:"answer,omitempty" jsonschema_description:"A person's answer to the last ask"`
	Output   Text           `json:"output,omitempty" jsonschema_description:"Of the last iteration"`
	Memory   Any            `json:"memory,omitempty" jsonschema_description:"What the handler kept with its last result, or saved in a start that was cut off; any JSON"`
	With     Any            `json:"with,omitempty" jsonschema_description:"Settings from the loop file (body.with), templates expanded; any JSON"`
	Inputs   map[string]any `json:"inputs,omitempty" jsonschema_description:"The loop's inputs, typed"`

	Usage    loops.Ledger `json:"usage" jsonschema_description:"What the loop has spent, this start included"`
	Limits   loops.Limits `json:"limits" jsonschema_description:"The loop's limits"`
	Deadline time.Time    `json:"deadline" jsonschema_description:"When the start is ended at the latest, as the limits are now"`

	Source loops.Source      `json:"source" jsonschema_description:"The door through which the loop came in"`
	Dir    string            `json:"dir,omitempty" jsonschema_description:"Folder that relative paths refer to, on the machine where the loop was started"`
	Models map[string]string `json:"models,omitempty" jsonschema_description:"Pinned models by their name in the loop file"`

	Large map[string]int `json:"large,omitempty" jsonschema_description:"Fields that are too large for this message, with their bytes: ask for them with fetch"`
}

// The values of Message.Type.
const (
	TypeAccept    = "accept"
	TypeBusy      = "busy"
	TypeHeartbeat = "heartbeat"
	TypeEmit      = "emit"
	TypeSave      = "save"
	TypeFetch     = "fetch"
	TypePart      = "part"
	TypeResult    = "result"
)

// Message is what a handler says about its start. Which fields go with which type
// is told at each; others are refused.
type Message struct {
	V    int    `json:"v,omitempty" jsonschema_description:"Version of the wire: 1"`
	Type string `json:"type" jsonschema:"enum=accept,enum=busy,enum=heartbeat,enum=emit,enum=save,enum=fetch,enum=part,enum=result" jsonschema_description:"What kind of message it is"`
	Key  string `json:"key,omitempty" jsonschema_description:"The start, as in the offer"`
	By   string `json:"by,omitempty" jsonschema_description:"A random word, the same in all messages from accept to result"`

	Control string `json:"control,omitempty" jsonschema_description:"accept: a subject to which this handler listens for a cancel; left out: it learns of one from the answer to its next heartbeat"`
	Runner  string `json:"runner,omitempty" jsonschema_description:"accept: name of the handler's process among those that share the store"`

	Text Text   `json:"text,omitempty" jsonschema_description:"emit: live text; part: the piece; busy: why"`
	Tool string `json:"tool,omitempty" jsonschema_description:"emit: name of a tool that is being used"`

	Field  string `json:"field,omitempty" jsonschema_description:"fetch: a field of the call's large; part: output or memory"`
	Offset int    `json:"offset,omitempty" jsonschema_description:"fetch, part: bytes before this piece"`

	Output Text           `json:"output,omitempty" jsonschema_description:"result: the output; left out when it was sent in parts"`
	Memory Any            `json:"memory,omitempty" jsonschema_description:"save, result: any JSON; left out of a result: what was there stays, or the parts count"`
	Done   *bool          `json:"done,omitempty" jsonschema_description:"result: this attempt is finished; left out: true"`
	Score  *float64       `json:"score,omitempty" jsonschema_description:"result: how good the output is"`
	Usage  *Usage         `json:"usage,omitempty" jsonschema_description:"result: what the start spent; also beside an error"`
	Ask    *Ask           `json:"ask,omitempty" jsonschema_description:"result: the loop waits for a person"`
	Error  *Failure       `json:"error,omitempty" jsonschema_description:"result: the start failed"`
	Parts  map[string]int `json:"parts,omitempty" jsonschema_description:"save, result: fields that were sent in parts before, with their bytes"`
}

// Usage is what a start spent. Units: tokens, dollars, calls.
type Usage struct {
	InputTokens  int64     `json:"input_tokens,omitempty" jsonschema_description:"Tokens that went in"`
	OutputTokens int64     `json:"output_tokens,omitempty" jsonschema_description:"Tokens that came out"`
	TotalTokens  int64     `json:"total_tokens,omitempty" jsonschema_description:"All tokens; left out: the sum"`
	CostUSD      loops.USD `json:"cost_usd,omitempty" jsonschema_description:"Dollars"`
	ToolCalls    int64     `json:"tool_calls,omitempty" jsonschema_description:"Calls of tools"`
}

// Ask is a question to a person, or a request for approval.
type Ask struct {
	Approval bool `json:"approval,omitempty" jsonschema_description:"Approve or deny, instead of an answer in words"`
	Prompt   Text `json:"prompt" jsonschema_description:"What the person is asked"`
}

// Failure says why a start failed and what follows.
type Failure struct {
	Message    Text    `json:"message" jsonschema_description:"Why; part of the next feedback"`
	Kind       string  `json:"kind,omitempty" jsonschema:"enum=failed,enum=permanent,enum=transient,enum=rate_limited,enum=cut_off" jsonschema_description:"failed (default): a failed iteration; permanent: the loop fails; transient: the start is repeated after a back-off; rate_limited: the same start goes on later; cut_off: as after a crash"`
	RetryAfter float64 `json:"retry_after_seconds,omitempty" jsonschema_description:"transient, rate_limited: not before that many seconds have passed"`
	Provider   bool    `json:"provider,omitempty" jsonschema_description:"It is the failure of a model's provider"`
}

// Answer is what the caller says to a message.
type Answer struct {
	V      int    `json:"v" jsonschema_description:"Version of the wire: 1"`
	OK     bool   `json:"ok" jsonschema_description:"The message counts, or has counted before"`
	Error  string `json:"error,omitempty" jsonschema_description:"Why it does not"`
	Gone   bool   `json:"gone,omitempty" jsonschema_description:"The start is over or another handler's: stop; nobody takes the result"`
	Cancel string `json:"cancel,omitempty" jsonschema:"enum=graceful,enum=now" jsonschema_description:"End the work: graceful or now; then send a result all the same, for what was spent"`
	Reason string `json:"reason,omitempty" jsonschema:"enum=cancelled,enum=time,enum=shutdown,enum=lost" jsonschema_description:"Why the work is to end"`
	Call   *Call  `json:"call,omitempty" jsonschema_description:"To accept: the work"`
	Text   Text   `json:"text,omitempty" jsonschema_description:"To fetch: a piece of the field, from the offset on; empty: its end"`
}

// Control is what a caller says on the control subject of a handler.
type Control struct {
	V      int    `json:"v" jsonschema_description:"Version of the wire: 1"`
	Key    string `json:"key" jsonschema_description:"The start that is meant"`
	Cancel string `json:"cancel" jsonschema:"enum=graceful,enum=now" jsonschema_description:"End the work: graceful or now"`
	Reason string `json:"reason,omitempty" jsonschema:"enum=cancelled,enum=time,enum=shutdown,enum=lost" jsonschema_description:"Why"`
}

// Ping is the answer of a server to an empty message on loop.handler.ping.NAME.
type Ping struct {
	V    int `json:"v" jsonschema_description:"Version of the wire: 1"`
	Room int `json:"room" jsonschema_description:"How many starts more it would take now"`
}

// Check is published on loop.handler.check.NAME: whoever works on a start of
// that loop asks its caller, by a heartbeat, whether it is still wanted.
type Check struct {
	V    int      `json:"v" jsonschema_description:"Version of the wire: 1"`
	Loop loops.ID `json:"loop" jsonschema_description:"The loop's id"`
}

// Checked answers a [Check], if anything is done for that loop: at once with
// Checking true, and again when what is not wanted has ended.
type Checked struct {
	V        int  `json:"v" jsonschema_description:"Version of the wire: 1"`
	Checking bool `json:"checking" jsonschema_description:"More is to come"`
}

const maxName = 64

// CheckName says why a name can't be that of a handler elsewhere; nil: it can.
// It has 1 to 64 of letters, digits, _, - and dots between them.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName && !slices.Contains(strings.Split(name, "."), "")
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.')
	}
	if ok {
		return nil
	}
	return &loops.FieldError{Field: "name", Problem: fmt.Sprintf("a handler's name has 1 to %d letters, digits, _, - and dots between them, got %q", maxName, clip(name, 80))}
}

const queueGroup = "handlers"

func offerSubject(name string) string { return "loop.handler.offer." + name }
func pingSubject(name string) string  { return "loop.handler.ping." + name }
func checkSubject(name string) string { return "loop.handler.check." + name }

func keyOf(t loops.Turn) string { return fmt.Sprintf("%s.%d", t.Loop, t.Ledger.Starts) }

// fieldsOf are the fields that go with each type, beside v, type, key and by.
var fieldsOf = map[string][]string{
	TypeAccept:    {"control", "runner"},
	TypeBusy:      {"text"},
	TypeHeartbeat: {},
	TypeEmit:      {"text", "tool"},
	TypeSave:      {"memory", "parts"},
	TypeFetch:     {"field", "offset"},
	TypePart:      {"field", "offset", "text"},
	TypeResult:    {"output", "memory", "done", "score", "usage", "ask", "error", "parts"},
}

// ReadMessage reads a message and says all that is wrong with it as joined
// [loops.FieldError]s.
func ReadMessage(data []byte) (Message, error) {
	var m Message
	if err := loops.Decode(data, &m); err != nil {
		return Message{}, err
	}
	return m, m.check()
}

func (m Message) check() error {
	own, known := fieldsOf[m.Type]
	if !known {
		return wrong("type", "must be accept, busy, heartbeat, emit, save, fetch, part or result, got %q", clip(m.Type, 40))
	}
	var problems []error
	for _, f := range m.given() {
		if !slices.Contains(own, f) {
			problems = append(problems, wrong(f, "does not go with the type %s", m.Type))
		}
	}
	if m.Offset < 0 {
		problems = append(problems, wrong("offset", "must not be negative, got %d", m.Offset))
	}
	for field, size := range m.Parts {
		if field != "output" && field != "memory" || size < 0 {
			problems = append(problems, wrong("parts."+clip(field, 40), "must be output or memory with its bytes"))
		}
	}
	if m.Type == TypePart && m.Field != "output" && m.Field != "memory" {
		problems = append(problems, wrong("field", "must be output or memory, got %q", clip(m.Field, 40)))
	}
	return errors.Join(append(problems, m.Usage.check(), m.Error.check(m), m.Ask.check())...)
}

// given are the fields that are there.
func (m Message) given() []string {
	var all []string
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"control", m.Control != ""}, {"runner", m.Runner != ""}, {"text", m.Text != ""}, {"tool", m.Tool != ""},
		{"field", m.Field != ""}, {"offset", m.Offset != 0}, {"output", m.Output != ""}, {"memory", m.Memory != nil},
		{"done", m.Done != nil}, {"score", m.Score != nil}, {"usage", m.Usage != nil}, {"ask", m.Ask != nil},
		{"error", m.Error != nil}, {"parts", len(m.Parts) > 0},
	} {
		if f.there {
			all = append(all, f.name)
		}
	}
	return all
}

// What one start can spend at most. More is a mistake in the report, and would
// make sums overflow.
const (
	maxTokens = int64(1e12)
	maxCalls  = int64(1e9)
	maxCost   = 1_000_000 * loops.Dollar
)

func (u *Usage) check() error {
	if u == nil {
		return nil
	}
	var problems []error
	for _, f := range []struct {
		name         string
		value, limit int64
	}{
		{"input_tokens", u.InputTokens, maxTokens}, {"output_tokens", u.OutputTokens, maxTokens}, {"total_tokens", u.TotalTokens, maxTokens},
		{"cost_usd", int64(u.CostUSD), int64(maxCost)}, {"tool_calls", u.ToolCalls, maxCalls},
	} {
		switch {
		case f.value < 0:
			problems = append(problems, wrong("usage."+f.name, "must not be negative, got %d", f.value))
		case f.value > f.limit:
			problems = append(problems, wrong("usage."+f.name, "is too large"))
		}
	}
	return errors.Join(problems...)
}

// maxRetryAfter is a year: what a handler asks to wait is no way to lose a loop.
const maxRetryAfter = 365 * 24 * 3600

func (f *Failure) check(m Message) error {
	if f == nil {
		return nil
	}
	var problems []error
	kinds := []string{"", loops.FaultFailed, loops.FaultPermanent, loops.FaultTransient, loops.FaultRateLimited, loops.FaultCutOff}
	if !slices.Contains(kinds, f.Kind) {
		problems = append(problems, wrong("error.kind", "must be failed, permanent, transient, rate_limited or cut_off, got %q", clip(f.Kind, 40)))
	}
	if !(f.RetryAfter >= 0 && f.RetryAfter <= maxRetryAfter) {
		problems = append(problems, wrong("error.retry_after_seconds", "must be 0 to %d, got %v", maxRetryAfter, f.RetryAfter))
	}
	if f.RetryAfter > 0 && f.Kind != loops.FaultTransient && f.Kind != loops.FaultRateLimited {
		problems = append(problems, wrong("error.retry_after_seconds", "goes with the kinds transient and rate_limited"))
	}
	if f.Message == "" {
		problems = append(problems, wrong("error.message", "is missing"))
	}
	if m.Ask != nil {
		problems = append(problems, wrong("ask", "does not go with an error"))
	}
	return errors.Join(problems...)
}

func (a *Ask) check() error {
	if a == nil || a.Prompt != "" {
		return nil
	}
	return wrong("ask.prompt", "is missing")
}

func wrong(field, format string, args ...any) error {
	return &loops.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && text[limit]&0xC0 == 0x80 {
		limit--
	}
	return text[:limit] + "…"
}
