package loopfile

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"example.com/loop-mcp/loops"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestSchemaGolden(t *testing.T) {
	const golden = "loop.schema.json"
	got := Schema()
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the Go types say; run go test ./loops/loopfile -run Golden -update", golden)
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("loop.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("loop.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is what an editor checks: the file as plain values.
func asJSON(t *testing.T, name, text string) any {
	t.Helper()
	read, err := format(name)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(tree.appendJSON(nil)))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	schema := compiled(t)
	texts := map[string]string{"least.loop.yaml": least, "whole.loop.yaml": whole}
	for _, pattern := range []string{"../../examples/*/*.loop.yaml", "../../examples/*/*.loop.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(data)
		}
	}
	for name, text := range texts {
		if _, err := Parse(name, []byte(text)); err != nil {
			t.Errorf("%s: Parse: %v", name, err)
		}
		if err := schema.Validate(asJSON(t, name, text)); err != nil {
			t.Errorf("%s: schema: %v", name, err)
		}
	}
	for i, example := range fileExamples() {
		data, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("x.loop.json", data); err != nil {
			t.Errorf("example %d of the schema: %v", i, err)
		}
		if err := schema.Validate(asJSON(t, "x.loop.json", string(data))); err != nil {
			t.Errorf("example %d of the schema: %v", i, err)
		}
	}
}

func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	schema := compiled(t)
	for name, text := range map[string]string{
		"typo at the top":        least + "gaol: g\n",
		"typo in limits":         least + "limits: {max_pases: 3}\n",
		"typo in a condition":    "goal: g\nbody: {kind: client}\nuntil: {all: [{kind: command, runs: [x]}]}\n",
		"typo in a kind":         "goal: g\nbody: {kind: comand, run: [x]}\nuntil: {all: [{kind: claim}]}\n",
		"field of another kind":  "goal: g\nbody: {kind: client, run: [x]}\nuntil: {all: [{kind: claim}]}\n",
		"any and all":            "goal: g\nbody: {kind: client}\nuntil: {all: [{kind: claim}], any: [{kind: claim}]}\n",
		"groups in groups":       "goal: g\nbody: {kind: client}\nuntil: {all: [{any: [{all: [{kind: claim}]}]}]}\n",
		"bare number as time":    least + "delay: 10\n",
		"word as a number":       least + "limits: {max_passes: 3x}\n",
		"zero passes":            least + "limits: {max_passes: 0}\n",
		"free money":             least + "limits: {max_cost_usd: 0}\n",
		"no goal":                "body: {kind: client}\nuntil: {all: [{kind: claim}]}\n",
		"command without run":    "goal: g\nbody: {kind: command}\nuntil: {all: [{kind: claim}]}\n",
		"result of another kind": least + "result: first\n",
		"name with a space":      "name: a b\n" + least,
	} {
		if err := schema.Validate(asJSON(t, "x.loop.yaml", text)); err == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
		if _, err := Parse("x.loop.yaml", []byte(text)); err == nil {
			t.Errorf("%s: Parse accepts it", name)
		}
	}
}

// TestVariantsCoverTheGoTypes fails when a field is added to a struct and to no
// kind of it.
func TestVariantsCoverTheGoTypes(t *testing.T) {
	check := func(typ reflect.Type, kinds []variant, others ...string) {
		known := append([]string{"kind"}, others...)
		for _, v := range kinds {
			known = append(known, v.fields...)
		}
		for field := range typ.Fields() {
			if name := jsonName(field); !slices.Contains(known, name) {
				t.Errorf("%s.%s belongs to no kind", typ, name)
			}
		}
	}
	check(reflect.TypeFor[loops.BodySpec](), bodies())
	check(reflect.TypeFor[loops.Condition](), stops(), "not", "any", "all")
}
