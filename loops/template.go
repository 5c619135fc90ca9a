package loops

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Templates. A text may hold {{ name }}; the name stands for a value of the
// loop. There is no logic, and a value is never expanded again, so text from
// outside can't become a template. {{"{{"}} stands for the two braces
// themselves.

// templateScope says which names a field may use.
type templateScope int

const (
	// scopeSettings is for what decides where and how something runs, and for
	// goal and context: nothing that a body or a person wrote meanwhile.
	scopeSettings templateScope = iota
	// scopeText is for prompt, stdin, question and a handler's settings.
	scopeText
)

// maxArgument bounds one expanded argument, folder or variable; Linux takes at
// most 128 KiB for each.
const maxArgument = 64 << 10

var (
	settingsNames = []string{"loop_id", "iteration", "pass"}
	textNames     = []string{"goal", "context", "feedback", "steer", "output"}
	limitNames    = structFieldNames[Limits]()
	usageNames    = structFieldNames[Ledger]()
	leftNames     = withoutMax(limitNames)
)

// withoutMax turns the limits that are used up into the names of what is left.
func withoutMax(limits []string) []string {
	var names []string
	for _, l := range limits {
		if short, ok := strings.CutPrefix(l, "max_"); ok {
			names = append(names, short)
		}
	}
	return names
}

// templatePart is a piece of a template: text to keep, or a name.
type templatePart struct {
	text string
	name string
}

// parseTemplate splits text into its parts.
func parseTemplate(text string) ([]templatePart, error) {
	var parts []templatePart
	for {
		before, rest, found := strings.Cut(text, "{{")
		parts = append(parts, templatePart{text: before})
		if !found {
			return parts, nil
		}
		name, after, part, err := templateName(rest)
		if err != nil {
			return nil, err
		}
		if name != "" {
			part = templatePart{name: name}
		}
		parts = append(parts, part)
		text = after
	}
}

const literalHint = `; for the braces themselves write {{"{{"}}`

// templateName reads what follows "{{".
func templateName(rest string) (name, after string, literal templatePart, err error) {
	if trimmed := strings.TrimLeft(rest, " \t"); strings.HasPrefix(trimmed, `"{{"`) {
		end := strings.TrimLeft(trimmed[len(`"{{"`):], " \t")
		if after, ok := strings.CutPrefix(end, "}}"); ok {
			return "", after, templatePart{text: "{{"}, nil
		}
	}
	inside, after, closed := strings.Cut(rest, "}}")
	if !closed {
		return "", "", literal, fmt.Errorf("{{ %s is not closed by }}%s", shown(strings.TrimSpace(rest)), literalHint)
	}
	name = strings.TrimSpace(inside)
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !nameRune(r) }) {
		return "", "", literal, fmt.Errorf("{{%s}} is not a name%s", shown(inside), literalHint)
	}
	return name, after, literal, nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-'
}

// checkTemplate reports the first thing in text that can't be expanded in scope.
func checkTemplate(text string, scope templateScope, inputs map[string]Input) error {
	parts, err := parseTemplate(text)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.name == "" {
			continue
		}
		if err := checkTemplateName(p.name, scope, inputs); err != nil {
			return err
		}
	}
	return nil
}

func checkTemplateName(name string, scope templateScope, inputs map[string]Input) error {
	if knownName(name, scope, inputs) {
		return nil
	}
	if scope == scopeSettings && slices.Contains(textNames, name) {
		return fmt.Errorf("{{ %s }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are; put it in prompt or stdin", name)
	}
	if knownName(name, scopeText, inputs) {
		return fmt.Errorf("{{ %s }} is not allowed here, only inputs, loop_id, iteration, pass, limits and left are", name)
	}
	if near := DidYouMean(name, templateNames(scope, inputs)); near != "" {
		return fmt.Errorf("unknown name in {{ %s }}%s", shown(name), near)
	}
	if input, ok := strings.CutPrefix(name, "inputs."); ok {
		return fmt.Errorf("unknown name in {{ %s }}: no input %s is declared", shown(name), shown(input))
	}
	return fmt.Errorf("unknown name in {{ %s }}%s", shown(name), literalHint)
}

// knownName reports whether a name belongs to a scope. left.cost_usd and
// left.max_cost_usd are one.
func knownName(name string, scope templateScope, inputs map[string]Input) bool {
	group, key, dotted := strings.Cut(name, ".")
	switch {
	case !dotted:
		return slices.Contains(settingsNames, name) || scope == scopeText && slices.Contains(textNames, name)
	case group == "inputs":
		_, ok := inputs[key]
		return ok
	case group == "limits":
		return slices.Contains(limitNames, key)
	case group == "left":
		return slices.Contains(leftNames, strings.TrimPrefix(key, "max_"))
	case group == "usage":
		return scope == scopeText && slices.Contains(usageNames, key)
	}
	return false
}

// templateNames lists every name of a scope, for hints.
func templateNames(scope templateScope, inputs map[string]Input) []string {
	names := slices.Clone(settingsNames)
	for name := range inputs {
		names = append(names, "inputs."+name)
	}
	slices.Sort(names[len(settingsNames):])
	for _, l := range limitNames {
		names = append(names, "limits."+l)
	}
	for _, l := range leftNames {
		names = append(names, "left."+l)
	}
	if scope == scopeSettings {
		return names
	}
	for _, u := range usageNames {
		names = append(names, "usage."+u)
	}
	return append(names, textNames...)
}

// templateInputs lists the inputs that text refers to.
func templateInputs(text string) []string {
	parts, err := parseTemplate(text)
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range parts {
		if name, ok := strings.CutPrefix(p.name, "inputs."); ok {
			names = append(names, name)
		}
	}
	return names
}

// expand fills in a text that may use every name, for the start that comes next.
func expand(text string, s State) (string, error) {
	return expandIn(text, s, scopeText, MaxPromptSize)
}

// isPlain reports whether there is nothing to expand, as in most texts.
func isPlain(text string, limit int) bool { return !strings.Contains(text, "{{") && len(text) <= limit }

func expandIn(text string, s State, scope templateScope, limit int) (string, error) {
	if isPlain(text, limit) {
		return text, nil
	}
	parts, err := parseTemplate(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range parts {
		value := p.text
		if p.name != "" {
			if err := checkTemplateName(p.name, scope, s.Origin.Spec.Inputs); err != nil {
				return "", err
			}
			value = templateValue(p.name, s)
		}
		if out.Len()+len(value) > limit {
			return "", fmt.Errorf("is more than %d bytes once its templates are expanded", limit)
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

// expander expands several fields and keeps the first error, with its field.
type expander struct {
	s   State
	err error
}

func (e *expander) field(field, text string, scope templateScope, limit int) string {
	if e.err != nil || !strings.Contains(text, "{{") {
		return text
	}
	out, err := expandIn(text, e.s, scope, limit)
	if err != nil {
		e.err = &FieldError{Field: field, Problem: err.Error()}
	}
	return out
}

func (e *expander) argv(field string, run []string) []string {
	run = slices.Clone(run)
	for i, arg := range run {
		run[i] = e.field(itemPath(field, i), arg, scopeSettings, maxArgument)
	}
	return run
}

// expandBody returns the body's settings for the start that comes next. Each
// element of run is expanded by itself: a value never becomes two arguments.
// The fields of its errors are relative to the body.
func expandBody(s State) (BodySpec, error) {
	e := &expander{s: s}
	b := s.Origin.Spec.Body
	b.Prompt = e.field("prompt", b.Prompt, scopeText, MaxPromptSize)
	b.Stdin = e.field("stdin", b.Stdin, scopeText, MaxPromptSize)
	b.System = e.field("system", b.System, scopeSettings, MaxPromptSize)
	b.Run = e.argv("run", b.Run)
	b.Resume = e.argv("resume", b.Resume)
	b.Cwd = e.field("cwd", b.Cwd, scopeSettings, maxArgument)
	if b.Env != nil {
		env := make(map[string]string, len(b.Env))
		for name, value := range b.Env {
			env[name] = e.field(fieldPath("env", name), value, scopeSettings, maxArgument)
		}
		b.Env = env
	}
	b.With = e.settings("with", b.With)
	return b, e.err
}

// settings expands every text value, not the keys, of a JSON value.
func (e *expander) settings(field string, raw json.RawMessage) json.RawMessage {
	if e.err != nil || !strings.Contains(string(raw), "{{") {
		return raw
	}
	value, err := anyJSON(raw)
	if err != nil {
		e.err = &FieldError{Field: field, Problem: err.Error()}
		return raw
	}
	value = mapTexts(value, func(text string) string { return e.field(field, text, scopeText, MaxPromptSize) })
	out, err := json.Marshal(value)
	if err != nil && e.err == nil {
		e.err = &FieldError{Field: field, Problem: err.Error()}
	}
	return out
}

// anyJSON reads JSON and keeps its numbers as they are written.
func anyJSON(raw json.RawMessage) (any, error) {
	var value any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return value, d.Decode(&value)
}

// mapTexts replaces every text in a JSON value.
func mapTexts(value any, change func(string) string) any {
	switch v := value.(type) {
	case string:
		return change(v)
	case []any:
		for i := range v {
			v[i] = mapTexts(v[i], change)
		}
	case map[string]any:
		for key := range v {
			v[key] = mapTexts(v[key], change)
		}
	}
	return value
}

// expandCondition returns the settings of a condition, its members included, in
// the same way.
func expandCondition(c Condition, s State) (Condition, error) {
	e := &expander{s: s}
	c = e.condition("", c)
	return c, e.err
}

func (e *expander) condition(at string, c Condition) Condition {
	c.Run = e.argv(fieldPath(at, "run"), c.Run)
	c.Cwd = e.field(fieldPath(at, "cwd"), c.Cwd, scopeSettings, maxArgument)
	c.Question = e.field(fieldPath(at, "question"), c.Question, c.questionScope(), MaxGoalSize)
	c.Criteria = slices.Clone(c.Criteria)
	for i := range c.Criteria {
		c.Criteria[i].Text = e.field(itemPath(fieldPath(at, "criteria"), i)+".text", c.Criteria[i].Text, scopeSettings, MaxGoalSize)
	}
	c.Evidence = slices.Clone(c.Evidence)
	for i, look := range c.Evidence {
		field := itemPath(fieldPath(at, "evidence"), i)
		c.Evidence[i].Run = e.argv(field+".run", look.Run)
		c.Evidence[i].Path = e.field(field+".path", look.Path, scopeSettings, maxArgument)
	}
	if c.Not != nil {
		inner := e.condition(fieldPath(at, "not"), *c.Not)
		c.Not = &inner
	}
	c.Any = e.members(fieldPath(at, "any"), c.Any)
	c.All = e.members(fieldPath(at, "all"), c.All)
	return c
}

// questionScope is what a question may name. A judge's is what it decides by, so
// nothing that a worker wrote can be part of it.
func (c Condition) questionScope() templateScope {
	if c.Kind == StopJudge {
		return scopeSettings
	}
	return scopeText
}

func (e *expander) members(at string, members []Condition) []Condition {
	members = slices.Clone(members)
	for i, m := range members {
		members[i] = e.condition(itemPath(at, i), m)
	}
	return members
}
