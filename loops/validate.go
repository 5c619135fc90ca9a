package loops

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Validate reports what is wrong with the spec, every problem at once, as
// joined [FieldError]s. Kinds are the built-in ones. Whether a loop has a way
// to end is decided at its start: see [Engine.Start].
func (s Spec) Validate() error { return s.validateKinds(nil, nil) }

// validateKinds is [Spec.Validate] where more kinds of body and of stop
// condition exist. The fields of such a kind are its own affair.
func (s Spec) validateKinds(bodies, stops []string) error {
	v := &validator{
		spec:   s,
		bodies: withKinds([]string{BodyAgent, BodyClient, BodyCommand, BodyHandler}, bodies),
		stops:  withKinds([]string{StopPredicate, StopCommand, StopJudge, StopHuman, StopClaim}, stops),
	}
	v.words()
	v.inputs()
	v.body()
	v.protect()
	v.until()
	v.limits()
	v.policies()
	return v.err()
}

// withKinds adds kinds to the built-in ones, each once.
func withKinds(builtIn, more []string) []string {
	for _, kind := range slices.Sorted(slices.Values(more)) {
		if !slices.Contains(builtIn, kind) {
			builtIn = append(builtIn, kind)
		}
	}
	return builtIn
}

// The sizes of lists and short texts.
const (
	maxListItems      = 1000
	maxConditions     = 50
	maxExpressionSize = 4 << 10
)

type validator struct {
	problems
	spec   Spec
	bodies []string // known kinds
	stops  []string
}

var loopName = regexp.MustCompile(`\A[a-z][a-z0-9-]*\z`) // of at most 63 bytes: a bound in the expression makes it slow to compile

// words checks name, description, goal and context.
func (v *validator) words() {
	if name := v.spec.Name; name != "" && (len(name) > 63 || !loopName.MatchString(name)) {
		v.add("name", "must be 1 to 63 lower-case letters, digits and hyphens and begin with a letter, got %q", shown(name))
	}
	v.text("description", v.spec.Description, MaxGoalSize)
	if strings.TrimSpace(v.spec.Goal) == "" {
		v.add("goal", "is missing: say what must be true at the end")
	}
	v.template("goal", v.spec.Goal, MaxGoalSize, scopeSettings)
	v.template("context", v.spec.Context, MaxGoalSize, scopeSettings)
}

// text checks the size and the characters of a text.
func (v *validator) text(field, text string, limit int) bool {
	if len(text) > limit {
		v.add(field, "is %d bytes, at most %d are allowed", len(text), limit)
		return false
	}
	if problem := textProblem(text); problem != "" {
		v.add(field, "%s", problem)
		return false
	}
	return true
}

// template checks a text in which names may stand.
func (v *validator) template(field, text string, limit int, scope templateScope) {
	if !v.text(field, text, limit) {
		return
	}
	if err := checkTemplate(text, scope, v.spec.Inputs); err != nil {
		v.add(field, "%s", err)
	}
}

// plain checks a text in which templates are not expanded, and says so when
// somebody expects it.
func (v *validator) plain(field, text string, limit int) {
	if !v.text(field, text, limit) {
		return
	}
	if parts, err := parseTemplate(text); err == nil {
		for _, p := range parts {
			if p.name != "" {
				v.add(field, "{{ %s }} is not expanded here", shown(p.name))
				return
			}
		}
	}
}

// word checks a choice between few words; left out is fine.
func (v *validator) word(field, word string, known []string) {
	if word == "" || slices.Contains(known, word) {
		return
	}
	v.add(field, "must be %s, got %q%s", oneOf(known), shown(word), DidYouMean(word, known))
}

// ownField is a field that only some kind has.
type ownField struct {
	key string
	set bool
}

// foreign reports fields that belong to other kinds than the part's own. shown
// is how the part's kind is called in the message.
func (v *validator) foreign(at, part, kind, shown string, own map[string][]ownField) {
	mine := map[string]bool{}
	for _, f := range own[kind] {
		mine[f.key] = true
	}
	for _, other := range slices.Sorted(maps.Keys(own)) {
		for _, f := range own[other] {
			if f.set && !mine[f.key] {
				v.add(fieldPath(at, f.key), "belongs to the kind %s, this %s is %s", kindsWith(own, f.key), part, shown)
				mine[f.key] = true // once
			}
		}
	}
}

// kindsWith names the kinds that have a field.
func kindsWith(own map[string][]ownField, key string) string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(own)) {
		if slices.ContainsFunc(own[kind], func(f ownField) bool { return f.key == key }) {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " or ")
}

// argv checks a command line without a shell.
func (v *validator) argv(field string, run []string, example string) {
	if len(run) == 0 {
		v.add(field, `is missing: a list of program and arguments, for example %s; no shell is used`, example)
		return
	}
	if len(run) > maxListItems {
		v.add(field, "has %d items, at most %d are allowed", len(run), maxListItems)
		return
	}
	if strings.TrimSpace(run[0]) == "" {
		v.add(itemPath(field, 0), "must name a program, got an empty text")
	}
	for i, arg := range run {
		v.template(itemPath(field, i), arg, maxArgument, scopeSettings)
	}
}

func (v *validator) protect() {
	if len(v.spec.Protect) > maxListItems {
		v.add("protect", "has %d items, at most %d are allowed", len(v.spec.Protect), maxListItems)
		return
	}
	for i, pattern := range v.spec.Protect {
		field := itemPath("protect", i)
		if err := checkPattern(pattern); err != nil {
			v.add(field, "%s", err)
			continue
		}
		v.plain(field, pattern, maxExpressionSize)
	}
}

// limits checks what a Go program may have set; JSON is checked by [Decode].
func (v *validator) limits() {
	limits := fieldsByKey(v.spec.Limits)
	for _, name := range limitNames {
		v.notNegative("limits."+name, limits(name))
	}
}

func (v *validator) notNegative(field string, value any) {
	below := false
	switch n := value.(type) {
	case Count:
		below = n < 0
	case Duration:
		below = n < 0
	case USD:
		below = n < 0
	}
	if below {
		v.add(field, "must not be negative, got %s", jsonText(value))
	}
}

// policies checks delay, retry, stall, answer_timeout and result.
func (v *validator) policies() {
	s := v.spec
	v.notNegative("delay", s.Delay)
	v.notNegative("answer_timeout", s.AnswerTimeout)
	v.notNegative("retry.max_attempts", s.Retry.MaxAttempts)
	v.notNegative("retry.initial", s.Retry.Initial)
	v.notNegative("retry.max", s.Retry.Max)
	if s.Retry.Max > 0 && s.Retry.Initial > s.Retry.Max {
		v.add("retry.initial", "must not be longer than retry.max, got %s and %s", s.Retry.Initial, s.Retry.Max)
	}
	v.word("retry.on_crash", s.Retry.OnCrash, []string{OnCrashRerun, OnCrashAsk})
	if s.Stall != nil {
		v.notNegative("stall.passes", s.Stall.Passes)
	}
	v.word("result", s.Result, []string{ResultLast, ResultBest})
}

// kind checks that a kind is known. example shows how one is written.
func (v *validator) kind(field, kind string, known []string) bool {
	if slices.Contains(known, kind) {
		return true
	}
	if kind == "" {
		v.add(field, "is missing: %s", oneOf(known))
		return false
	}
	v.add(field, "must be %s, got %q%s", oneOf(known), shown(kind), DidYouMean(kind, known))
	return false
}

func countOf(n int, word string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", word)
	}
	if strings.HasSuffix(word, "s") {
		word += "e"
	}
	return fmt.Sprintf("%d %ss", n, word)
}
