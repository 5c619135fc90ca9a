package loopfile

import (
	"encoding/json"
	"reflect"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of a loop file, indented, with
// a final newline. It is the same bytes each time. Editors complete and check
// loop files with it; what only a program can know (a CEL expression, the range
// of a limit, templates) is left to [Parse].
func Schema() []byte {
	r := jsonschema.Reflector{Mapper: unitSchema, ExpandedStruct: true}
	root := r.Reflect(loops.Spec{})
	root.ID = "https://example.com/loop-mcp/loop.schema.json"
	root.Title = "Loop file"
	root.Description = "A loop: work that is repeated until its goal is met by evidence, within hard limits"
	root.Examples = fileExamples()
	defs := root.Definitions
	minimums(defs["Limits"], reflect.TypeFor[loops.Limits]())
	minimums(defs["Retry"], reflect.TypeFor[loops.Retry]())
	choices(root, "result", loops.ResultLast, loops.ResultBest)
	choices(defs["Retry"], "on_crash", loops.OnCrashRerun, loops.OnCrashAsk)
	choices(defs["Input"], "type", loops.InputString, loops.InputText, loops.InputNumber,
		loops.InputInteger, loops.InputBoolean, loops.InputFile, loops.InputDirectory)
	choices(defs["BodySpec"], "usage", loops.Usages()...)
	pattern(root, "name", `^[a-z][a-z0-9-]{0,62}$`)
	pattern(defs["BodySpec"], "name", `\S`)
	oneLine(root)
	root.Required = []string{"goal"}
	defs["BodySpec"] = variants(defs["BodySpec"], bodies())
	conditions(defs)
	encoded, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // the types of loops are fixed when the program is built
	}
	return append(encoded, '\n')
}

// unitSchema describes the types that are written otherwise than Go shows them.
func unitSchema(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[loops.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, Examples: []any{"90s", "10m", "2h"}}
	case reflect.TypeFor[loops.Count]():
		return countSchema("0", `^[0-9]+[kM]?$`)
	case reflect.TypeFor[loops.USD]():
		return &jsonschema.Schema{Type: "number", Minimum: "0", Examples: []any{0.5, 2}}
	case reflect.TypeFor[json.RawMessage]():
		return &jsonschema.Schema{}
	}
	return nil
}

func countSchema(least json.Number, text string) *jsonschema.Schema {
	return &jsonschema.Schema{
		OneOf:    []*jsonschema.Schema{{Type: "integer", Minimum: least}, {Type: "string", Pattern: text}},
		Examples: []any{40, "400k"},
	}
}

// minimums carries the struct tag min:"1" over.
func minimums(s *jsonschema.Schema, t reflect.Type) {
	for field := range t.Fields() {
		if field.Tag.Get("min") != "1" {
			continue
		}
		property := property(s, jsonName(field))
		switch field.Type {
		case reflect.TypeFor[loops.Count]():
			property.OneOf = countSchema("1", `^[1-9][0-9]*[kM]?$`).OneOf
		case reflect.TypeFor[loops.USD]():
			property.Minimum, property.ExclusiveMinimum = "", "0"
		}
	}
}

func jsonName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

// property returns the schema of a field that the Go type has.
func property(s *jsonschema.Schema, name string) *jsonschema.Schema {
	p, ok := s.Properties.Get(name)
	if !ok {
		panic("loopfile: no field " + name)
	}
	return p
}

func choices(s *jsonschema.Schema, name string, values ...string) {
	for _, v := range values {
		property(s, name).Enum = append(property(s, name).Enum, v)
	}
}

func pattern(s *jsonschema.Schema, name, expression string) { property(s, name).Pattern = expression }

// oneLine asks for a goal with something in it.
func oneLine(root *jsonschema.Schema) { property(root, "goal").Pattern = `\S` }
