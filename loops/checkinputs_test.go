package loops

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCheckInputs: what a start would say, without one.
func TestCheckInputs(t *testing.T) {
	spec := Spec{
		Inputs: map[string]Input{
			"package": {Pattern: `\./[a-z/.]*`, Default: "./..."}, "who": {Required: true, Help: "Whose it is"},
			"tries": {Type: InputInteger, Default: 3.0}, "share": {Type: InputNumber}, "deep": {Type: InputBoolean}, "arg": {},
		},
		Body: BodySpec{Kind: BodyCommand, Run: []string{"go", "{{ inputs.package }}", "{{ inputs.arg }}"}},
	}
	got, err := spec.CheckInputs(map[string]any{"who": "Ann", "tries": "5", "share": "0.5", "deep": "true"}, SourceTrustedFile)
	if diff := cmp.Diff(map[string]any{"who": "Ann", "tries": int64(5), "share": 0.5, "deep": true}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, tt := range []struct {
		given  map[string]any
		source Source
		want   string
	}{
		{nil, SourceTrustedFile, "inputs.who: is missing: Whose it is"},
		{map[string]any{"who": "A", "tries": "many"}, SourceTrustedFile, "inputs.tries: must be a whole number"},
		{map[string]any{"who": "A", "whom": "B"}, SourceTrustedFile, "did you mean who?"},
		{map[string]any{"who": "A", "package": "rm -rf"}, SourceTrustedFile, "inputs.package: must match the pattern"},
		{map[string]any{"who": "A", "arg": "x"}, SourceTrustedFile, "the value of the input arg came through a tool"},
		{map[string]any{"who": "A", "arg": "x"}, SourceTool, "the value of the input arg came through a tool"},
		{map[string]any{"who": "A", "arg": "x"}, SourceCommandLine, ""},
	} {
		_, err := spec.CheckInputs(tt.given, tt.source)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v from %s: %v, want %q", tt.given, tt.source, err, tt.want)
		}
	}
}

func TestTextsOfAnInput(t *testing.T) {
	for _, tt := range []struct {
		in   Input
		want []string
	}{
		{Input{}, nil}, {Input{Type: InputBoolean}, []string{"true", "false"}}, {Input{Type: InputBoolean, Choices: []any{true}}, []string{"true"}},
		{Input{Choices: []any{"low", "high"}}, []string{"low", "high"}}, {Input{Type: InputInteger, Choices: []any{1.0, 2.0}}, []string{"1", "2"}},
	} {
		if got := tt.in.Texts(); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.in, got, tt.want)
		}
	}
}
