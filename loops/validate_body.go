package loops

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// body checks the worker: its kind, the fields of that kind, and none of others.
func (v *validator) body() {
	b := v.spec.Body
	kind := orDefault(b.Kind, BodyClient)
	if !v.kind("body.kind", kind, v.bodies) {
		return
	}
	own := map[string][]ownField{
		BodyClient: {{"prompt", b.Prompt != ""}},
		BodyAgent: {{"prompt", b.Prompt != ""}, {"model", b.Model != ""}, {"system", b.System != ""},
			{"tools", len(b.Tools) > 0}, {"history", b.History != ""}},
		BodyCommand: {{"run", len(b.Run) > 0}, {"stdin", b.Stdin != ""}, {"cwd", b.Cwd != ""},
			{"env", len(b.Env) > 0}, {"usage", b.Usage != ""}, {"resume", len(b.Resume) > 0}},
		BodyHandler: {{"name", b.Name != ""}, {"with", len(b.With) > 0}},
	}
	if _, builtIn := own[kind]; builtIn {
		shownKind := kind
		if b.Kind == "" {
			shownKind = "client (kind is left out)"
		}
		v.foreign("body", "body", kind, shownKind, own)
	}
	v.bodyFields(kind)
}

// bodyFields checks the values; what is required depends on the kind.
func (v *validator) bodyFields(kind string) {
	b := v.spec.Body
	v.template("body.prompt", b.Prompt, MaxPromptSize, scopeText)
	v.template("body.stdin", b.Stdin, MaxPromptSize, scopeText)
	v.template("body.cwd", b.Cwd, maxArgument, scopeSettings)
	if kind == BodyCommand || len(b.Run) > 0 {
		v.argv("body.run", b.Run, `["claude", "-p"]`)
	}
	v.env(b.Env)
	v.word("body.usage", b.Usage, Usages())
	v.resume(b)
	if kind == BodyHandler && strings.TrimSpace(b.Name) == "" {
		v.add("body.name", "is missing: the name under which the handler is registered")
	}
	v.text("body.name", b.Name, maxExpressionSize)
	v.with()
	v.agent(b)
}

// resume checks the arguments that continue a session: somebody has to tell
// which one.
func (v *validator) resume(b BodySpec) {
	if len(b.Resume) == 0 {
		return
	}
	if len(b.Resume) > maxListItems {
		v.add("body.resume", "has %d items, at most %d are allowed", len(b.Resume), maxListItems)
		return
	}
	for i, arg := range b.Resume {
		v.template(itemPath("body.resume", i), arg, maxArgument, scopeSettings)
	}
	if !b.ReportsSession() && slices.Contains(Usages(), orDefault(b.Usage, UsageNone)) {
		v.add("body.resume", "needs the id of a session, which only reports of an agent's command line have: set body.usage to claude-json, codex-json, gemini-json or opencode-json")
	}
}

// agent checks the settings of an agent. Which models and tools exist is the
// program's affair.
func (v *validator) agent(b BodySpec) {
	v.modelName("body.model", b.Model)
	v.template("body.system", b.System, MaxPromptSize, scopeSettings)
	v.word("body.history", b.History, []string{HistoryFresh, HistoryAll})
	if len(b.Tools) > maxListItems {
		v.add("body.tools", "has %d items, at most %d are allowed", len(b.Tools), maxListItems)
		return
	}
	for i, pattern := range b.Tools {
		if field := itemPath("body.tools", i); strings.TrimLeft(pattern, "!") == "" {
			v.add(field, "must be a pattern such as files__*, got %q", shown(pattern))
		} else {
			v.plain(field, pattern, maxExpressionSize)
		}
	}
}

var modelAlias = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._/:@-]*\z`) // of at most 128 bytes

// modelName checks the shape of a model's name; empty means the usual one.
func (v *validator) modelName(field, name string) {
	if name != "" && (len(name) > 128 || !modelAlias.MatchString(name)) {
		v.add(field, "must be the name of a configured model such as smart, got %q", shown(name))
	}
}

// with checks a handler's settings: JSON, whose texts may hold templates.
func (v *validator) with() {
	raw := v.spec.Body.With
	if len(raw) == 0 {
		return
	}
	if len(raw) > MaxPromptSize {
		v.add("body.with", "is %d bytes, at most %d are allowed", len(raw), MaxPromptSize)
		return
	}
	value, err := anyJSON(raw)
	if err != nil {
		v.add("body.with", "must be JSON: %s", err)
		return
	}
	mapTexts(value, func(text string) string {
		v.template("body.with", text, MaxPromptSize, scopeText)
		return text
	})
}

var envName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)

// reservedEnv is set by the engine for every command; a spec that could set it
// could hide a worker from the loop that runs it.
var reservedEnv = []string{"LOOP_ID", "LOOP_ITERATION", "LOOP_MCP_PARENT"}

func (v *validator) env(env map[string]string) {
	if len(env) > maxListItems {
		v.add("body.env", "has %d variables, at most %d are allowed", len(env), maxListItems)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		field := fieldPath("body.env", name)
		switch {
		case !envName.MatchString(name):
			v.add(field, "is not the name of an environment variable: letters, digits and _, no digit first")
		case slices.Contains(reservedEnv, strings.ToUpper(name)):
			v.add(field, "is set by loop-mcp itself")
		}
		v.template(field, env[name], maxArgument, scopeSettings)
	}
}

var inputName = regexp.MustCompile(`\A[a-z][a-z0-9_]*\z`) // of at most 63 bytes

// inputs checks the declarations; the values given are checked at the start.
func (v *validator) inputs() {
	if len(v.spec.Inputs) > maxInputs {
		v.add("inputs", "are %d, at most %d are allowed", len(v.spec.Inputs), maxInputs)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Inputs)) {
		field := fieldPath("inputs", name)
		if len(name) > 63 || !inputName.MatchString(name) {
			v.add(field, "is not a name for an input: lower-case letters, digits and _, a letter first")
		}
		v.input(field, v.spec.Inputs[name])
	}
}

func (v *validator) input(field string, in Input) {
	if in.Type != "" && !slices.Contains(inputTypes, in.Type) {
		v.word(field+".type", in.Type, inputTypes)
		return
	}
	v.text(field+".help", in.Help, maxExpressionSize)
	if !v.inputPattern(field, in) || !v.inputChoices(field, in) || in.Default == nil {
		return
	}
	if in.Required {
		v.add(field+".required", "has no effect beside a default: leave one of them out")
	}
	if _, err := in.accept(in.Default); err != nil {
		v.add(field+".default", "%s", err)
	}
}

func (v *validator) inputPattern(field string, in Input) bool {
	if len(in.Pattern) > maxExpressionSize {
		v.add(field+".pattern", "is %d bytes, at most %d are allowed", len(in.Pattern), maxExpressionSize)
		return false
	}
	if _, err := wholePattern(in.Pattern); err != nil {
		v.add(field+".pattern", "is not a regular expression (RE2): %s", shown(err.Error()))
		return false
	}
	return true
}

func (v *validator) inputChoices(field string, in Input) bool {
	if len(in.Choices) > maxListItems {
		v.add(field+".choices", "has %d items, at most %d are allowed", len(in.Choices), maxListItems)
		return false
	}
	right := true
	for i, choice := range in.Choices {
		if _, err := in.text(choice); err != nil {
			v.add(itemPath(field+".choices", i), "%s", err)
			right = false
		}
	}
	return right
}
