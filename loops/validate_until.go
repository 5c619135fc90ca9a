package loops

import (
	"regexp"
	"strings"
)

const untilExample = `for example {"any": [{"kind": "command", "run": ["go", "test", "./..."]}]}`

func (v *validator) until() {
	u := v.spec.Until
	switch {
	case u == nil:
		return
	case len(u.Any) > 0 && len(u.All) > 0:
		v.add("until", "has both any and all: write one of them, and the other as a member of it")
	case len(u.Any)+len(u.All) == 0:
		v.add("until", "needs any or all with at least one condition, %s", untilExample)
		return
	}
	v.group("until.any", u.Any, true)
	v.group("until.all", u.All, true)
	if u.CheckFirst && !checkable(u.Any) && !checkable(u.All) {
		v.add("until.check_first", "has nothing to ask before the first pass: no condition is a predicate or a command")
	}
}

// checkable reports whether a group holds a condition that can be asked before
// anything ran.
func checkable(group []Condition) bool {
	for _, c := range group {
		if c.Kind == StopPredicate || c.Kind == StopCommand || checkable(c.Any) || checkable(c.All) {
			return true
		}
		if c.Not != nil && checkable([]Condition{*c.Not}) {
			return true
		}
	}
	return false
}

// group checks the members of any or all. Only the outer group may hold groups.
func (v *validator) group(at string, members []Condition, outer bool) {
	if len(members) > maxConditions {
		v.add(at, "has %s, at most %d are allowed", countOf(len(members), "condition"), maxConditions)
		return
	}
	for i, c := range members {
		v.member(itemPath(at, i), c, outer)
	}
}

func (v *validator) member(at string, c Condition, groups bool) {
	forms := 0
	for _, set := range []bool{c.Kind != "", c.Not != nil, c.Any != nil, c.All != nil} {
		if set {
			forms++
		}
	}
	switch {
	case forms > 1:
		v.add(at, "must be exactly one of a kind, not, any and all")
	case c.Not != nil:
		v.alone(at, "not", c)
		if c.Not.Kind == StopJudge {
			v.add(at+".not.kind", "must not be judge: what the host does not believe would count as met; ask the judge the opposite instead")
		}
		v.negated(at+".not", *c.Not)
	case c.Any != nil || c.All != nil:
		v.nested(at, c, groups)
	default:
		v.condition(at, c)
	}
}

// negated checks the condition below not, which is a plain one.
func (v *validator) negated(at string, c Condition) {
	if c.Not != nil || c.Any != nil || c.All != nil {
		v.add(at, "must be a condition with a kind; groups and not can't be negated")
		return
	}
	v.condition(at, c)
}

func (v *validator) nested(at string, c Condition, groups bool) {
	key, members := "any", c.Any
	if c.All != nil {
		key, members = "all", c.All
	}
	v.alone(at, key, c)
	switch {
	case !groups:
		v.add(at+"."+key, "is nested too deep: only the first level of until may hold a group")
	case len(members) == 0:
		v.add(at+"."+key, "needs at least one condition")
	default:
		v.group(at+"."+key, members, false)
	}
}

// alone reports fields of a condition beside not, any or all.
func (v *validator) alone(at, key string, c Condition) {
	seen := map[string]bool{}
	for _, fields := range conditionFields(c) {
		for _, f := range fields {
			if f.set && !seen[f.key] {
				v.add(fieldPath(at, f.key), "can't stand beside %s", key)
			}
			seen[f.key] = seen[f.key] || f.set
		}
	}
}

// conditionFields lists which fields belong to which kind, and are set.
func conditionFields(c Condition) map[string][]ownField {
	return map[string][]ownField{
		StopPredicate: {{"expression", c.Expression != ""}},
		StopCommand:   {{"run", len(c.Run) > 0}, {"cwd", c.Cwd != ""}, {"timeout", c.Timeout != 0}, {"exit", c.Exit != 0}},
		StopHuman:     {{"question", c.Question != ""}},
		StopJudge: {{"question", c.Question != ""}, {"criteria", len(c.Criteria) > 0}, {"evidence", len(c.Evidence) > 0},
			{"model", c.Model != ""}, {"votes", c.Votes != 0}, {"cwd", c.Cwd != ""}},
		StopClaim: {},
	}
}

func (v *validator) condition(at string, c Condition) {
	if !v.kind(at+".kind", c.Kind, v.stops) {
		return
	}
	own := conditionFields(c)
	if _, builtIn := own[c.Kind]; builtIn {
		v.foreign(at, "condition", c.Kind, c.Kind, own)
	}
	switch c.Kind {
	case StopPredicate:
		v.predicate(at+".expression", c.Expression)
	case StopCommand:
		v.argv(at+".run", c.Run, `["go", "test", "./..."]`)
	case StopHuman:
		if strings.TrimSpace(c.Question) == "" {
			v.add(at+".question", "is missing: what the person is asked to approve")
		}
	}
	v.judge(at, c)
	if c.Kind != StopCommand && len(c.Run) > 0 {
		v.argv(at+".run", c.Run, "")
	}
	v.template(at+".cwd", c.Cwd, maxArgument, scopeSettings)
	v.template(at+".question", c.Question, MaxGoalSize, c.questionScope())
	v.notNegative(at+".timeout", c.Timeout)
	if c.Exit < 0 || c.Exit > 255 {
		v.add(at+".exit", "must be an exit code from 0 to 255, got %d", c.Exit)
	}
}

// maxCriteria bounds what one judge decides about.
const maxCriteria = 20

// maxVotes bounds how often a judge must repeat itself.
const maxVotes = 5

// judge checks the settings of a model's judgement.
func (v *validator) judge(at string, c Condition) {
	if c.Kind == StopJudge && strings.TrimSpace(c.Question) == "" && len(c.Criteria) == 0 {
		v.add(at, "needs a question or criteria: what the model is to decide")
	}
	v.modelName(at+".model", c.Model)
	if c.Votes < 0 || c.Votes > maxVotes {
		v.add(at+".votes", "must be between 1 and %d, got %d", maxVotes, c.Votes)
	}
	if len(c.Criteria) > maxCriteria {
		v.add(at+".criteria", "has %d items, at most %d are allowed", len(c.Criteria), maxCriteria)
		return
	}
	seen := map[string]bool{}
	for i, one := range c.Criteria {
		field := itemPath(at+".criteria", i)
		switch {
		case len(one.ID) > 40, !criterionID.MatchString(one.ID):
			v.add(field+".id", "must be lower-case letters, digits, - and _, a letter first, got %q", shown(one.ID))
		case seen[one.ID]:
			v.add(field+".id", "is there twice: %s", one.ID)
		}
		seen[one.ID] = true
		if strings.TrimSpace(one.Text) == "" {
			v.add(field+".text", "is missing: what must be true")
		}
		v.template(field+".text", one.Text, maxExpressionSize, scopeSettings)
	}
	v.looks(at, c.Evidence)
}

var criterionID = regexp.MustCompile(`\A[a-z][a-z0-9_-]*\z`) // of at most 40 bytes

// looks checks where a judge's evidence comes from.
func (v *validator) looks(at string, evidence []Look) {
	if len(evidence) > maxConditions {
		v.add(at+".evidence", "has %d items, at most %d are allowed", len(evidence), maxConditions)
		return
	}
	for i, e := range evidence {
		field := itemPath(at+".evidence", i)
		if !v.kind(field+".kind", e.Kind, []string{LookOutput, LookCommand, LookFile}) {
			continue
		}
		own := map[string][]ownField{LookOutput: {}, LookCommand: {{"run", len(e.Run) > 0}}, LookFile: {{"path", e.Path != ""}}}
		v.foreign(field, "evidence", e.Kind, e.Kind, own)
		switch e.Kind {
		case LookCommand:
			v.argv(field+".run", e.Run, `["go", "vet", "./..."]`)
		case LookFile:
			if strings.TrimSpace(e.Path) == "" {
				v.add(field+".path", "is missing: the file to show")
			}
			v.template(field+".path", e.Path, maxArgument, scopeSettings)
		}
	}
}

// predicate checks the size and the spelling of an expression; whether it is
// right CEL is checked by the part that runs it.
func (v *validator) predicate(field, expression string) {
	if strings.TrimSpace(expression) == "" {
		v.add(field, `is missing: a CEL expression that must be true, for example "score >= 80.0"`)
		return
	}
	v.plain(field, expression, maxExpressionSize)
}
