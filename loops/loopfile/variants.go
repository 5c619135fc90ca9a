package loopfile

import (
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
	"github.com/invopop/jsonschema"
)

// variant is one kind of body or condition: which fields it takes.
type variant struct {
	kind     string
	summary  string
	fields   []string
	required []string
	example  map[string]any
}

func bodies() []variant {
	return []variant{
		{kind: loops.BodyAgent, summary: "A model with tools: one iteration is one call of the model and the tool calls that it asked for",
			fields:  []string{"model", "system", "prompt", "tools", "history"},
			example: map[string]any{"kind": "agent", "model": "smart", "tools": []string{"files__*", "!files__write_file"}}},
		{kind: loops.BodyClient, summary: "Nothing runs here: the MCP client's own agent works and hands in each iteration",
			fields: []string{"prompt"}, example: map[string]any{"kind": "client"}},
		{kind: loops.BodyCommand, summary: "A process, run without a shell; its standard output is the output of the iteration",
			fields: []string{"run", "stdin", "cwd", "env", "usage", "resume"}, required: []string{"run"},
			example: map[string]any{"kind": "command", "run": []string{"claude", "-p", "--output-format", "json"}, "usage": "claude-json"}},
		{kind: loops.BodyHandler, summary: "A Go handler that the program registered under this name",
			fields: []string{"name", "with"}, required: []string{"name"},
			example: map[string]any{"kind": "handler", "name": "refine", "with": map[string]any{"tone": "plain"}}},
	}
}

func stops() []variant {
	return []variant{
		{kind: loops.StopPredicate, summary: "Met when a CEL expression over the output is true",
			fields: []string{"expression"}, required: []string{"expression"},
			example: map[string]any{"kind": "predicate", "expression": "score >= 90.0"}},
		{kind: loops.StopCommand, summary: "Met when a command of the host ends with the wanted exit code; the tail of its output is the next feedback",
			fields: []string{"run", "cwd", "timeout", "exit"}, required: []string{"run"},
			example: map[string]any{"kind": "command", "run": []string{"go", "test", "./..."}, "timeout": "10m"}},
		{kind: loops.StopJudge, summary: "Met when a model finds every criterion met, with quotes that the host finds in the evidence",
			fields: []string{"question", "criteria", "evidence", "cwd", "model", "votes"},
			example: map[string]any{"kind": "judge", "criteria": []any{map[string]any{"id": "cited", "text": "Every claim names its source"}},
				"evidence": []any{map[string]any{"kind": "output"}, map[string]any{"kind": "file", "path": "sources.md"}}}},
		{kind: loops.StopHuman, summary: "Met when a person approves",
			fields: []string{"question"}, example: map[string]any{"kind": "human", "question": "Publish this text?"}},
		{kind: loops.StopClaim, summary: "Met when the worker says so; nothing checks it",
			example: map[string]any{"kind": "claim"}},
	}
}

// example is the example of one kind.
func example(kinds []variant, kind string) map[string]any {
	for _, v := range kinds {
		if v.kind == kind {
			return v.example
		}
	}
	return nil
}

// ofKind keeps of "human: what to approve; judge: what it decides" the part of
// one kind. A text for several kinds names them all: "client, agent: …".
func ofKind(text, kind string) string {
	for part := range strings.SplitSeq(text, "; ") {
		kinds, rest, found := strings.Cut(part, ": ")
		if found && slices.Contains(strings.Split(kinds, ", "), kind) {
			if whole, ok := strings.CutPrefix(text, part+"; "); ok && !strings.Contains(whole, ": ") {
				return rest + "; " + whole
			}
			return rest
		}
	}
	return strings.TrimPrefix(text, kind+": ")
}

// variants splits the flat schema of a Go struct into one schema a kind, so
// that an editor offers the fields of the kind that was chosen.
func variants(flat *jsonschema.Schema, kinds []variant) *jsonschema.Schema {
	out := &jsonschema.Schema{Description: flat.Description}
	for _, v := range kinds {
		s := object(v.summary)
		s.Properties.Set("kind", &jsonschema.Schema{Const: v.kind, Description: "The kind: " + v.kind})
		for _, name := range v.fields {
			field := *property(flat, name)
			field.Description = ofKind(field.Description, v.kind)
			s.Properties.Set(name, &field)
		}
		s.Required = append([]string{"kind"}, v.required...)
		for _, name := range v.required {
			if p := property(s, name); p.Type == "array" {
				p.MinItems = new(uint64(1))
			}
		}
		s.Title = v.kind
		s.Examples = []any{v.example}
		out.OneOf = append(out.OneOf, s)
	}
	return out
}

func object(description string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", Description: description,
		Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
}

// conditions rewrites until and its members: plain conditions, negations of
// one, and groups that do not nest further.
func conditions(defs jsonschema.Definitions) {
	flat := defs["Condition"]
	plain := variants(flat, stops())
	not := object("Met when this condition is not")
	not.Properties.Set("not", ref("Condition"))
	not.Required = []string{"not"}
	defs["Condition"], defs["Negation"] = plain, not
	defs["Group"] = group(flat, oneOf("Condition", "Negation"))
	until := group(defs["Until"], oneOf("Condition", "Negation", "Group"))
	check := property(defs["Until"], "check_first")
	for _, s := range until.OneOf {
		s.Properties.Set("check_first", check)
		s.Examples = nil
	}
	until.Description = "When the goal is met: exactly one of any and all"
	until.Examples = []any{map[string]any{"check_first": true, "all": []any{example(stops(), loops.StopCommand)}}}
	defs["Until"] = until
}

// group is a schema with exactly one of any and all.
func group(flat, item *jsonschema.Schema) *jsonschema.Schema {
	out := &jsonschema.Schema{Description: "A group: exactly one of any and all"}
	for _, name := range []string{"any", "all"} {
		members := *property(flat, name)
		members.Items, members.MinItems = item, new(uint64(1))
		s := object(members.Description)
		s.Properties.Set(name, &members)
		s.Required = []string{name}
		out.OneOf = append(out.OneOf, s)
	}
	return out
}

func ref(name string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + name} }

func oneOf(names ...string) *jsonschema.Schema {
	out := &jsonschema.Schema{}
	for _, name := range names {
		out.OneOf = append(out.OneOf, ref(name))
	}
	return out
}

// fileExamples are whole loop files, as an editor or a model would write them.
func fileExamples() []any {
	return []any{
		map[string]any{
			"name": "fix-build", "goal": "Make `go test ./...` succeed at the cause of each failure.",
			"body":    example(bodies(), loops.BodyCommand),
			"protect": []string{"**/*_test.go"},
			"until":   map[string]any{"check_first": true, "all": []any{example(stops(), loops.StopCommand)}},
			"limits":  map[string]any{"max_passes": 10, "max_duration": "1h", "max_cost_usd": 3},
		},
		map[string]any{
			"name": "refine-draft", "goal": "Improve the draft until its score is at least 90.",
			"body":   example(bodies(), loops.BodyClient),
			"until":  map[string]any{"any": []any{example(stops(), loops.StopPredicate), example(stops(), loops.StopHuman)}},
			"limits": map[string]any{"max_passes": 8, "max_total_tokens": "200k"},
		},
	}
}
