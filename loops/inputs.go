package loops

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var inputTypes = []string{InputString, InputText, InputNumber, InputInteger, InputBoolean, InputFile, InputDirectory}

// maxInputs bounds how many values a loop file asks for.
const maxInputs = 100

// maxExactWhole is the largest whole number that JSON readers agree on.
const maxExactWhole = 1 << 53

// resolveInputs checks the values given for a loop against the spec's inputs
// and returns them, with the defaults of those left out, as text. An input that
// is not required, has no default and is not given has no entry. Values may
// be JSON or Go values; numbers and booleans also texts ("5", "true"), as a
// command line gives them. Every problem is reported together, as FieldErrors
// named "inputs.X".
func resolveInputs(spec Spec, given map[string]any) (map[string]string, error) {
	var found problems
	values := map[string]string{}
	declared := slices.Sorted(maps.Keys(spec.Inputs))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if _, ok := spec.Inputs[name]; !ok && found.full() {
			found.add("", "")
		} else if !ok {
			found.add(fieldPath("inputs", name), "no input of that name is declared%s", inputHint(name, declared))
		}
	}
	for _, name := range declared {
		in, field := spec.Inputs[name], fieldPath("inputs", name)
		value, ok := given[name]
		if !ok || value == nil {
			value = in.Default
		}
		if value == nil {
			if in.Required {
				found.add(field, "is missing%s", inputHelp(in))
			}
			continue
		}
		text, err := in.accept(value)
		if err != nil {
			found.add(field, "%s", err)
			continue
		}
		values[name] = text
	}
	return values, found.err()
}

// CheckInputs returns the values given for a start of this spec in the types
// that it declares: string, int64, float64 or bool. Texts are taken for numbers
// and booleans, too ("5", "true"). What is wrong comes in the words of
// [Engine.Start], as joined [FieldError]s: an unknown or missing input, a value
// that the input does not allow, and for a source that is a tool or a trusted
// file one that would reach a command without choices or a pattern.
func (s Spec) CheckInputs(given map[string]any, source Source) (map[string]any, error) {
	values, err := resolveInputs(s, given)
	if err == nil && (source == SourceTool || source == SourceTrustedFile) {
		err = toolInputProblem(s, values)
	}
	if err != nil {
		return nil, err
	}
	typed := typedInputs(s.Inputs, values)
	maps.DeleteFunc(typed, func(name string, _ any) bool { return given[name] == nil })
	return typed, nil
}

// Texts returns the choices of an input as text, and true and false for a
// boolean. It is empty for an input that takes any value of its type.
func (in Input) Texts() []string {
	if len(in.Choices) == 0 && in.Type == InputBoolean {
		return []string{"true", "false"}
	}
	return in.choiceTexts()
}

func inputHint(name string, declared []string) string {
	if near := DidYouMean(name, declared); near != "" {
		return near
	}
	if len(declared) == 0 {
		return "; this loop takes none"
	}
	return "; declared are " + shown(strings.Join(declared, ", "))
}

func inputHelp(in Input) string {
	if in.Help == "" {
		return ""
	}
	return ": " + shown(oneLine(in.Help))
}

// accept returns the text form of a value that the input allows.
func (in Input) accept(value any) (string, error) {
	text, err := in.text(value)
	if err != nil {
		return "", err
	}
	if len(in.Choices) > 0 && !slices.Contains(in.choiceTexts(), text) {
		return "", fmt.Errorf("must be %s, got %q", oneOf(in.choiceTexts()), shown(text))
	}
	if in.Pattern == "" {
		return text, nil
	}
	whole, err := wholePattern(in.Pattern)
	if err != nil {
		return "", fmt.Errorf("its pattern is wrong: %w", err)
	}
	if !whole.MatchString(text) {
		return "", fmt.Errorf("must match the pattern %s, got %q", shown(in.Pattern), shown(text))
	}
	return text, nil
}

// wholePattern compiles a pattern that must match from end to end.
func wholePattern(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

func (in Input) choiceTexts() []string {
	var texts []string
	for _, c := range in.Choices {
		if text, err := in.text(c); err == nil {
			texts = append(texts, text)
		}
	}
	return texts
}

// text checks the type of a value and returns its text form.
func (in Input) text(value any) (string, error) {
	switch in.Type {
	case InputNumber:
		return numberText(value)
	case InputInteger:
		return integerText(value)
	case InputBoolean:
		return booleanText(value)
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("must be a text, got %s", valueText(value))
	}
	if problem := textProblem(text); problem != "" {
		return "", errors.New(problem)
	}
	if len(text) > MaxGoalSize {
		return "", fmt.Errorf("is %d bytes, at most %d are allowed", len(text), MaxGoalSize)
	}
	if in.Type != InputText && strings.ContainsAny(text, "\n\r") {
		return "", fmt.Errorf("must be one line, got %q; an input of type text takes several", shown(text))
	}
	if text == "" && (in.Type == InputFile || in.Type == InputDirectory) {
		return "", fmt.Errorf("must be the path of a %s, got an empty text", in.Type)
	}
	return text, nil
}

func numberText(value any) (string, error) {
	f, ok := numberOf(value)
	if !ok {
		return "", fmt.Errorf("must be a number, got %s", valueText(value))
	}
	return strconv.FormatFloat(f, 'f', -1, 64), nil
}

func integerText(value any) (string, error) {
	f, ok := numberOf(value)
	if !ok || f != math.Trunc(f) {
		return "", fmt.Errorf("must be a whole number, got %s", valueText(value))
	}
	if math.Abs(f) > maxExactWhole {
		return "", fmt.Errorf("is too large, got %s", valueText(value))
	}
	return strconv.FormatInt(int64(f), 10), nil
}

// numberOf takes any number of Go or JSON, and a number in text.
func numberOf(value any) (float64, bool) {
	v := reflect.ValueOf(value)
	var f float64
	switch {
	case v.CanInt():
		f = float64(v.Int())
	case v.CanUint():
		f = float64(v.Uint())
	case v.CanFloat():
		f = v.Float()
	case v.Kind() == reflect.String:
		n := json.Number(v.String())
		var err error
		if f, err = n.Float64(); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

func booleanText(value any) (string, error) {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case string:
		if v == "true" || v == "false" {
			return v, nil
		}
	}
	return "", fmt.Errorf("must be true or false, got %s", valueText(value))
}

// valueText shows a value of any type in an error.
func valueText(value any) string {
	if text, ok := value.(string); ok {
		return fmt.Sprintf("%q", shown(text))
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("a %T", value)
	}
	return shown(string(b))
}

// typedInputs gives resolved values the types that the spec declares: string,
// int64, float64 or bool.
func typedInputs(inputs map[string]Input, values map[string]string) map[string]any {
	typed := make(map[string]any, len(values))
	for name, text := range values {
		typed[name] = text
		switch inputs[name].Type {
		case InputInteger:
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				typed[name] = n
			}
		case InputNumber:
			if f, err := strconv.ParseFloat(text, 64); err == nil {
				typed[name] = f
			}
		case InputBoolean:
			typed[name] = text == "true"
		}
	}
	return typed
}

// toolInputProblem reports every input whose value came through a tool and
// would reach a command line without choices or a pattern to bound it. The
// declared default is the author's own word and may.
func toolInputProblem(spec Spec, values map[string]string) error {
	var found problems
	spec.eachRun(func(field, arg string) {
		for _, name := range templateInputs(arg) {
			in := spec.Inputs[name]
			if len(in.Choices) > 0 || in.Pattern != "" {
				continue
			}
			value, given := values[name]
			if !given {
				continue
			}
			if usual, err := in.text(in.Default); in.Default != nil && err == nil && usual == value {
				continue
			}
			found.add(field, "the value of the input %s came through a tool and may not become part of a command: declare choices or a pattern for inputs.%s", name, name)
		}
	})
	return found.err()
}

// eachRun calls yield with every argument of every command of the spec.
func (s Spec) eachRun(yield func(field, arg string)) {
	eachArg("body.run", s.Body.Run, yield)
	eachArg("body.resume", s.Body.Resume, yield)
	if s.Until == nil {
		return
	}
	eachConditionRun("until.any", s.Until.Any, yield)
	eachConditionRun("until.all", s.Until.All, yield)
}

func eachArg(field string, run []string, yield func(field, arg string)) {
	for i, arg := range run {
		yield(itemPath(field, i), arg)
	}
}

func eachConditionRun(group string, members []Condition, yield func(field, arg string)) {
	for i, c := range members {
		at := itemPath(group, i)
		eachArg(at+".run", c.Run, yield)
		for j, look := range c.Evidence {
			eachArg(itemPath(at+".evidence", j)+".run", look.Run, yield)
		}
		if c.Not != nil {
			eachConditionRun(at+".not", []Condition{*c.Not}, func(field, arg string) {
				yield(strings.Replace(field, ".not[0]", ".not", 1), arg)
			})
		}
		eachConditionRun(at+".any", c.Any, yield)
		eachConditionRun(at+".all", c.All, yield)
	}
}
