package loops

import "encoding/json"

// Spec says what a loop is: the goal, who works on it, when it is met and the
// hard limits. Loop files and the tool loop_start share this shape. A loop's
// spec never changes once the loop is created; limits move only through
// [SetLimits].
//
// In Go the zero value of a field means "left out"; [Spec.Normalize] fills in
// the default. In JSON an explicit zero is an error where it makes no sense.
type Spec struct {
	Name          string           `json:"name,omitempty" jsonschema_description:"Short name of the loop and first part of its id: lower-case letters, digits and hyphens"`
	Description   string           `json:"description,omitempty" jsonschema_description:"What the loop is for, in one line for people"`
	Inputs        map[string]Input `json:"inputs,omitempty" jsonschema_description:"Values that whoever starts the loop fills in; used as {{ inputs.NAME }}"`
	Goal          string           `json:"goal" jsonschema_description:"What must be true at the end, in words"`
	Context       string           `json:"context,omitempty" jsonschema_description:"Background that the worker needs"`
	Body          BodySpec         `json:"body" jsonschema_description:"Who does the work"`
	Protect       []string         `json:"protect,omitempty" jsonschema_description:"Glob patterns of files that must not change: hashed at the start, no condition is met while one differs"`
	Until         *Until           `json:"until,omitempty" jsonschema_description:"When the goal is met: exactly one of any and all"`
	Limits        Limits           `json:"limits,omitzero" jsonschema_description:"Hard caps that the engine enforces"`
	Delay         Duration         `json:"delay,omitempty" jsonschema_description:"Pause between iterations, as text such as 1s; left out: none"`
	Retry         Retry            `json:"retry,omitzero" jsonschema_description:"What happens after a transient fault and after a crash"`
	Stall         *Stall           `json:"stall,omitempty" jsonschema_description:"When repeated passes without progress end the loop"`
	AnswerTimeout Duration         `json:"answer_timeout,omitempty" min:"1" jsonschema_description:"How long a question may wait for a person before the loop is blocked; left out: no limit but max_duration"`
	Result        string           `json:"result,omitempty" jsonschema_description:"Which output is the result: last, or best (the iteration with the highest score)"`
}

// Which output a loop hands back: Spec.Result.
const (
	ResultLast = "last"
	ResultBest = "best"
)

// Input declares one value that a loop file asks for.
type Input struct {
	Type     string `json:"type,omitempty" jsonschema_description:"string (default), text, number, integer, boolean, file or directory"`
	Default  any    `json:"default,omitempty" jsonschema_description:"Value when none is given"`
	Choices  []any  `json:"choices,omitempty" jsonschema_description:"The only values allowed"`
	Pattern  string `json:"pattern,omitempty" jsonschema_description:"Regular expression (RE2) that the whole value must match"`
	Required bool   `json:"required,omitempty" jsonschema_description:"A value must be given"`
	Help     string `json:"help,omitempty" jsonschema_description:"One line for people"`
}

// The types of an input.
const (
	InputString    = "string"
	InputText      = "text"
	InputNumber    = "number"
	InputInteger   = "integer"
	InputBoolean   = "boolean"
	InputFile      = "file"
	InputDirectory = "directory"
)

// The kinds of body. A body of another kind can be added through [Parts].
const (
	BodyClient  = "client"
	BodyCommand = "command"
	BodyHandler = "handler"
	BodyAgent   = "agent"
)

// BodySpec names the worker of a loop and its settings. Which fields belong to
// which kind is checked by [Spec.Validate].
type BodySpec struct {
	Kind string `json:"kind,omitempty" jsonschema_description:"agent, client, command or handler"`

	Prompt string `json:"prompt,omitempty" jsonschema_description:"client, agent: text of the brief; left out: goal, context, feedback, steering and what is left"`

	Model   string   `json:"model,omitempty" jsonschema_description:"agent: name of a configured model, such as smart"`
	System  string   `json:"system,omitempty" jsonschema_description:"agent: instructions that stay the same in every call"`
	Tools   []string `json:"tools,omitempty" jsonschema_description:"agent: patterns over the tools of the configured MCP servers, such as files__* or !files__write_file; left out: none"`
	History string   `json:"history,omitempty" jsonschema_description:"agent: fresh (default; each pass starts from goal, note and feedback) or all (one conversation)"`

	Run   []string          `json:"run,omitempty" jsonschema_description:"command: program and arguments, without a shell"`
	Stdin string            `json:"stdin,omitempty" jsonschema_description:"command: text for standard input; left out: goal, context, feedback, steering and what is left"`
	Cwd   string            `json:"cwd,omitempty" jsonschema_description:"command: working folder"`
	Env   map[string]string `json:"env,omitempty" jsonschema_description:"command: environment variables to add"`
	Usage string            `json:"usage,omitempty" jsonschema_description:"command: how it reports tokens and money: none, json, claude-json, codex-json, gemini-json or opencode-json"`

	Resume []string `json:"resume,omitempty" jsonschema_description:"command: arguments that go behind run, and the session's id behind them, as soon as a start has reported one (else every start begins a session of its own)"`

	Name string          `json:"name,omitempty" jsonschema_description:"handler: the registered name"`
	With json.RawMessage `json:"with,omitempty" jsonschema_description:"handler: settings for it, any JSON"`
}

// What an agent remembers from pass to pass: BodySpec.History.
const (
	HistoryFresh = "fresh"
	HistoryAll   = "all"
)

// How a command reports what it spent: BodySpec.Usage.
const (
	UsageNone         = "none"
	UsageJSON         = "json"
	UsageClaudeJSON   = "claude-json"
	UsageCodexJSON    = "codex-json"
	UsageGeminiJSON   = "gemini-json"
	UsageOpencodeJSON = "opencode-json"
)

// Usages returns the values of BodySpec.Usage.
func Usages() []string {
	return []string{UsageNone, UsageJSON, UsageClaudeJSON, UsageCodexJSON, UsageGeminiJSON, UsageOpencodeJSON}
}

// ReportsSession reports whether Usage is what the command line of an agent
// prints. Such a report names the agent's session, and the body keeps that in
// the memory, for itself.
func (b BodySpec) ReportsSession() bool {
	switch b.Usage {
	case UsageClaudeJSON, UsageCodexJSON, UsageGeminiJSON, UsageOpencodeJSON:
		return true
	}
	return false
}

// Until says when the goal is met. Exactly one of Any and All is set.
type Until struct {
	CheckFirst bool        `json:"check_first,omitempty" jsonschema_description:"Ask predicates and commands before the first pass: when they hold already, nothing is started"`
	Any        []Condition `json:"any,omitempty" jsonschema_description:"Met as soon as one of these is met"`
	All        []Condition `json:"all,omitempty" jsonschema_description:"Met when all of these are met"`
}

// The kinds of stop condition.
const (
	StopPredicate = "predicate"
	StopCommand   = "command"
	StopJudge     = "judge"
	StopHuman     = "human"
	StopClaim     = "claim"
)

// Condition is one member of [Until]: a condition (Kind and its fields), a
// negation (Not), or one nested Any or All. Groups do not nest deeper.
type Condition struct {
	Kind string `json:"kind,omitempty" jsonschema_description:"predicate, command, judge, human or claim"`

	Expression string `json:"expression,omitempty" jsonschema_description:"predicate: CEL expression that must be true; variables output, json, score, memory, iteration, pass, usage, limits, inputs, history, elapsed_seconds"`

	Run     []string `json:"run,omitempty" jsonschema_description:"command: program and arguments, without a shell"`
	Cwd     string   `json:"cwd,omitempty" jsonschema_description:"command, judge: working folder; left out: the body's"`
	Timeout Duration `json:"timeout,omitempty" min:"1" jsonschema_description:"command: how long it may take (10m)"`
	Exit    int      `json:"exit,omitempty" jsonschema_description:"command: the exit code that means met (0)"`

	Question string `json:"question,omitempty" jsonschema_description:"human: what the person is asked to approve; judge: what the model decides"`

	Criteria []Criterion `json:"criteria,omitempty" jsonschema_description:"judge: what must be met, one by one; left out: the question"`
	Evidence []Look      `json:"evidence,omitempty" jsonschema_description:"judge: what is shown to it; left out: the output alone"`
	Model    string      `json:"model,omitempty" jsonschema_description:"judge: name of a configured model"`
	Votes    Count       `json:"votes,omitempty" min:"1" jsonschema_description:"judge: how many times in a row it must say done (2)"`

	Not *Condition  `json:"not,omitempty" jsonschema_description:"Met when this condition is not"`
	Any []Condition `json:"any,omitempty" jsonschema_description:"A nested group: met when one of these is met"`
	All []Condition `json:"all,omitempty" jsonschema_description:"A nested group: met when all of these are met"`
}

// Criterion is one thing that a judge decides about.
type Criterion struct {
	ID   string `json:"id" jsonschema_description:"Short name: lower-case letters, digits, hyphens and underscores"`
	Text string `json:"text" jsonschema_description:"What must be true"`
}

// Look says where the host finds a piece of evidence for a judge.
type Look struct {
	Kind string   `json:"kind" jsonschema_description:"output, command or file"`
	Run  []string `json:"run,omitempty" jsonschema_description:"command: program and arguments, run by the host in the body's working folder"`
	Path string   `json:"path,omitempty" jsonschema_description:"file: its path, below the body's working folder unless absolute"`
}

// The kinds of evidence: Look.Kind.
const (
	LookOutput  = "output"
	LookCommand = "command"
	LookFile    = "file"
)

// Retry says how often a start is repeated after a transient fault (exit code
// 75, a timeout, [Transient]) and what follows a crash.
type Retry struct {
	MaxAttempts Count    `json:"max_attempts,omitempty" min:"1" jsonschema_description:"Starts per iteration, the first included (3)"`
	Initial     Duration `json:"initial,omitempty" min:"1" jsonschema_description:"First back-off (1s); it doubles"`
	Max         Duration `json:"max,omitempty" min:"1" jsonschema_description:"Longest back-off (1m)"`
	OnCrash     string   `json:"on_crash,omitempty" jsonschema_description:"rerun (default) or ask: what to do with a start that a crash cut off"`
}

// What follows a crash: Retry.OnCrash.
const (
	OnCrashRerun = "rerun"
	OnCrashAsk   = "ask"
)

// Stall says after how many passes without progress the worker is nudged; as
// many again, and the loop is stalled. Passes 0 is off. A nil *Stall means the
// default: 3 for client and agent, off for command and handler.
type Stall struct {
	Passes Count `json:"passes" jsonschema_description:"Passes with the same output, or the same evidence and verdict, before a nudge; 0 is off"`
}

// The sizes above which a text is refused by name. Units: bytes.
const (
	MaxGoalSize   = 64 << 10 // goal, context, a steer or an answer
	MaxPromptSize = 256 << 10
	MaxOutputSize = 64 << 20
	MaxMemorySize = 16 << 20
)
