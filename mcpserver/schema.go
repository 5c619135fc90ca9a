package mcpserver

import (
	"encoding/json"
	"reflect"

	"example.com/loop-mcp/loops"
	"github.com/invopop/jsonschema"
)

// The schemas in tools/list are made for models and for the poorest of
// clients: no $ref, no oneOf, no lists of types, every property described. What
// they leave out (units, patterns, which field belongs to which kind) the
// decoder and the engine check, with better sentences than a validator has.

// inputSchema returns the schema of a tool's arguments.
func inputSchema(args any) json.RawMessage {
	r := reflector()
	r.Mapper = flat
	s := r.Reflect(args)
	s.Version = ""
	return mustJSON(s)
}

func reflector() *jsonschema.Reflector {
	return &jsonschema.Reflector{Anonymous: true, DoNotReference: true, ExpandedStruct: true}
}

// flat maps the types that write themselves as text or numbers, and cuts the
// recursion of conditions.
func flat(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[loops.Duration]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[loops.Count]():
		return &jsonschema.Schema{Type: "integer"}
	case reflect.TypeFor[loops.USD]():
		return &jsonschema.Schema{Type: "number"}
	case reflect.TypeFor[json.RawMessage]():
		return &jsonschema.Schema{Type: "object"}
	case reflect.TypeFor[map[string]any]():
		return &jsonschema.Schema{Type: "object"}
	case reflect.TypeFor[loops.Until]():
		return untilSchema()
	}
	return nil
}

// untilSchema describes a condition once, below all; any and the nested groups
// hold the same, which their descriptions say.
func untilSchema() *jsonschema.Schema {
	again := &jsonschema.Schema{Type: "object"}
	leaf := reflector()
	leaf.Mapper = func(t reflect.Type) *jsonschema.Schema {
		if t == reflect.TypeFor[loops.Condition]() {
			return again
		}
		return flat(t)
	}
	condition := leaf.Reflect(structCopy[loops.Condition]())
	condition.Version = ""
	full := reflector()
	full.Mapper = func(t reflect.Type) *jsonschema.Schema {
		if t == reflect.TypeFor[loops.Condition]() {
			return condition
		}
		return flat(t)
	}
	until := full.Reflect(structCopy[loops.Until]())
	until.Version = ""
	if members, ok := until.Properties.Get("any"); ok {
		members.Items = again
	}
	return until
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
	r := reflector()
	r.AllowAdditionalProperties = true
	r.Mapper = func(t reflect.Type) *jsonschema.Schema {
		if t == reflect.TypeOf(answer) {
			return nil
		}
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t == reflect.TypeFor[loops.Limits]() || t.Kind() == reflect.Struct && t.String() != "time.Time" {
			return &jsonschema.Schema{Type: "object"}
		}
		return nil
	}
	s := r.Reflect(answer)
	s.Version, s.Required = "", required
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		p.Value.Format = ""
		if p.Value.Type == "" {
			p.Value.Type = map[string]string{"spec": "object"}[p.Key]
		}
		if p.Value.Type == "" {
			p.Value.Type = "array"
		}
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
