package mcpserver

import (
	"encoding/json"
	"reflect"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/invopop/jsonschema"
)

// The schemas in tools/list are made for models and for the poorest of
// clients: no $ref, no oneOf, no lists of types, every property described. What
// they leave out (units, patterns, which field belongs to which kind) the
// decoder and the engine check, with better sentences than a validator has.

// inputSchema returns the schema of a tool's arguments.
func inputSchema(args any) json.RawMessage {
	s := reflectWith(args, flat)
	shorten(s, "")
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		open(p.Value)
	}
	return mustJSON(s)
}

func reflectWith(v any, mapper func(reflect.Type) *jsonschema.Schema) *jsonschema.Schema {
	r := jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true, Mapper: mapper}
	s := r.Reflect(v)
	s.Version = ""
	return s
}

// flat maps the types that are written as text or numbers, cuts the recursion
// of conditions, and leaves rarely needed objects to their descriptions.
func flat(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[loops.Duration]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[loops.Count]():
		return &jsonschema.Schema{Type: "integer"}
	case reflect.TypeFor[loops.USD]():
		return &jsonschema.Schema{Type: "number"}
	case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[map[string]string](), reflect.TypeFor[map[string]any](), reflect.TypeFor[loops.Retry](),
		reflect.TypeFor[loops.Stall](), reflect.TypeFor[usageArgs](), reflect.TypeFor[limitsArgs](), reflect.TypeFor[bodyArgs](), reflect.TypeFor[untilArgs](),
		reflect.TypeFor[loops.Criterion](), reflect.TypeFor[loops.Look]():
		return &jsonschema.Schema{Type: "object"}
	case reflect.TypeFor[loops.Until]():
		return untilSchema()
	}
	return nil
}

// untilSchema describes a condition once, below all; any and the nested groups
// hold the same, which their descriptions say.
func untilSchema() *jsonschema.Schema {
	conditions := func(full bool) func(t reflect.Type) *jsonschema.Schema {
		return func(t reflect.Type) *jsonschema.Schema {
			switch {
			case t != reflect.TypeFor[loops.Condition]():
				return flat(t)
			case full:
				return conditionSchema()
			}
			return &jsonschema.Schema{Type: "object"}
		}
	}
	until := reflectWith(structCopy[loops.Until](), conditions(true))
	short := reflectWith(structCopy[loops.Until](), conditions(false))
	if members, ok := short.Properties.Get("any"); ok {
		until.Properties.Set("any", members)
	}
	return until
}

func conditionSchema() *jsonschema.Schema {
	return reflectWith(structCopy[loops.Condition](), func(t reflect.Type) *jsonschema.Schema {
		if t == reflect.TypeFor[loops.Condition]() {
			return &jsonschema.Schema{Type: "object"}
		}
		return flat(t)
	})
}

// structCopy is a value of an unnamed type with the fields of T, which a
// mapper does not know.
func structCopy[T any]() any {
	t := reflect.TypeFor[T]()
	fields := make([]reflect.StructField, t.NumField())
	for i := range fields {
		fields[i] = t.Field(i)
	}
	return reflect.New(reflect.StructOf(fields)).Elem().Interface()
}

// outputSchema returns the schema of an answer: its keys and their types, one
// level deep, open for more. Formats are left out because strict validators
// refuse those that they do not know.
func outputSchema(answer any, required ...string) json.RawMessage {
	s := reflectWith(answer, func(t reflect.Type) *jsonschema.Schema {
		if t.Kind() == reflect.Struct && t != reflect.TypeOf(answer) && t != reflect.TypeFor[time.Time]() {
			return &jsonschema.Schema{Type: "object"}
		}
		return nil
	})
	s.Required, s.AdditionalProperties = required, nil
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		p.Value.Format = ""
	}
	return mustJSON(s)
}

// mustJSON is for schemas of this package's own types: an error would be a
// mistake in the code, and every test that lists the tools would meet it.
func mustJSON(v any) json.RawMessage {
	data, err := encode(v)
	if err != nil {
		panic("mcpserver: encode a schema: " + err.Error())
	}
	return data
}

// shorten puts the short descriptions in place of those that the types have for
// loop files: all tools together may take 10,000 bytes of a model's context.
func shorten(s *jsonschema.Schema, path string) {
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		at := path + p.Key
		if text, ok := shortTexts[at]; ok {
			p.Value.Description = text
		}
		shorten(p.Value, at+".")
		if p.Value.Items != nil {
			shorten(p.Value.Items, at+".")
		}
	}
}

// open leaves it to the decoder to name unknown members of an argument: it does
// so anyway, and saying it here takes bytes.
func open(s *jsonschema.Schema) {
	s.AdditionalProperties = nil
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		open(p.Value)
	}
	if s.Items != nil {
		open(s.Items)
	}
}

var shortTexts = map[string]string{
	"body.kind":    "client: prompt. command: run to resume. agent: prompt to history. handler: name, with",
	"body.prompt":  "Own brief",
	"body.model":   "E.g. smart",
	"body.system":  "Standing instructions",
	"body.tools":   "E.g. files__*",
	"body.history": "fresh or all",
	"body.run":     "argv, no shell",
	"body.stdin":   "Own input",
	"body.cwd":     "Folder",
	"body.env":     "Variables",
	"body.usage":   "none, json, (claude|codex|gemini|opencode)-json",
	"body.resume":  "E.g. --resume",
	"body.name":    "Of the handler",
	"body.with":    "Its settings",

	"until.check_first":    "Ask before pass 1",
	"until.any":            "One must hold",
	"until.all":            "All must hold",
	"until.all.kind":       "predicate, command, judge, human, claim",
	"until.all.expression": "predicate: CEL, e.g. output.contains('ok')",
	"until.all.run":        "command: argv",
	"until.all.cwd":        "command: folder",
	"until.all.timeout":    `command: "10m"`,
	"until.all.exit":       "command: exit code (0)",
	"until.all.question":   "human, judge: what to decide",
	"until.all.criteria":   `judge: {"id":"c1","text":"Cited"}`,
	"until.all.evidence":   `judge: {"kind":"file","path":"a.md"}, command, output`,
	"until.all.model":      "judge: e.g. fast",
	"until.all.votes":      "judge: 2",
	"until.all.not":        "Negated",
	"until.all.any":        "Group",
	"until.all.all":        "Group",

	"limits.max_iterations":    "Starts (50)",
	"limits.max_passes":        "Attempts (10)",
	"limits.max_duration":      `Wall clock ("24h")`,
	"limits.max_active":        `Working time ("2h")`,
	"limits.iteration_timeout": `One start ("10m")`,
	"limits.max_total_tokens":  "Tokens (400000)",
	"limits.max_cost_usd":      "Dollars (2)",
	"limits.max_tool_calls":    "Calls (200)",
	"limits.max_failures":      "In a row (3)",
}
