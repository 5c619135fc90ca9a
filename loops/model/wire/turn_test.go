package wire

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestNativeTurnsStayWithTheirModel(t *testing.T) {
	native := json.RawMessage(`[{"signature":"a+/==","text":"<&>"}]`)
	kept := Keep("openai/gpt-5", native)
	if got, ok := Kept("openai/gpt-5", kept); !ok || string(got) != string(native) {
		t.Errorf("got %s", got)
	}
	if _, ok := Kept("openai/gpt-5@gateway.example", kept); ok {
		t.Error("another server's model understood it")
	}
	for _, damaged := range []string{"", "null", "[", `{"by":1}`, `[]`} {
		if _, ok := Kept("openai/gpt-5", json.RawMessage(damaged)); ok {
			t.Errorf("understood %q", damaged)
		}
	}
}

func TestArgumentsOfTools(t *testing.T) {
	tests := []struct {
		text         string
		cut          bool
		args, object string
	}{
		{``, false, `{}`, `{}`},
		{` `, false, `{}`, `{}`},
		{`null`, false, `{}`, `{}`},
		{`{"a": 1}`, false, `{"a": 1}`, `{"a": 1}`},
		{`{"a": 1`, false, `"{\"a\": 1"`, `{"INVALID_JSON":"{\"a\": 1"}`},
		{`[1]`, false, `"[1]"`, `{"INVALID_JSON":"[1]"}`},
		{"\xff<", false, `"` + "\uFFFD" + `<"`, `{"INVALID_JSON":"` + "\uFFFD" + `<"}`},
		{``, true, `""`, `{"INVALID_JSON":""}`},
		{`{"a":1}`, true, `{"a":1}`, `{"a":1}`},
	}
	for _, tt := range tests {
		args := Args(tt.text, tt.cut)
		if string(args) != tt.args {
			t.Errorf("%q: args %s, want %s", tt.text, args, tt.args)
		}
		if got := Object(args); string(got) != tt.object {
			t.Errorf("%q: object %s, want %s", tt.text, got, tt.object)
		}
	}
	for _, none := range []string{"", "null", "{broken"} {
		if got := Object(json.RawMessage(none)); string(got) != `{}` {
			t.Errorf("%q: %s", none, got)
		}
	}
}

func TestSchemasOfToolsWithoutArguments(t *testing.T) {
	for in, want := range map[string]string{
		``:                  `{"type":"object","properties":{}}`,
		`{}`:                `{"type":"object","properties":{}}`,
		`null`:              `{"type":"object","properties":{}}`,
		`{"type":"object"}`: `{"type":"object","properties":{}}`,
		`{"type":"object","additionalProperties":false}`:      `{"type":"object","additionalProperties":false,"properties":{}}`,
		`{"type":"object","properties":{"a":{}}}`:             `{"type":"object","properties":{"a":{}}}`,
		`{"oneOf":[{"type":"object"}],"description":"a < b"}`: `{"oneOf":[{"type":"object"}],"description":"a < b"}`,
	} {
		if got := Schema(json.RawMessage(in)); string(got) != want || !json.Valid(got) {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

func TestIDsThatProvidersTake(t *testing.T) {
	if got := CallID("toolu_01-A", 40); got != "toolu_01-A" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "functions.read:0", "functions.read_0:", strings.Repeat("a", 41)} {
		got := CallID(id, 40)
		if !idPattern.MatchString(got) || len(got) > 40 || seen[got] || got != CallID(id, 40) {
			t.Errorf("%q became %q", id, got)
		}
		seen[got] = true
	}
	if got := CacheKey(strings.Repeat("k", 65), 64); len(got) != 64 || got == strings.Repeat("k", 64) {
		t.Error(got)
	}
	if got := CacheKey("fix-build-7k3q", 64); got != "fix-build-7k3q" {
		t.Error(got)
	}
}

func TestIDNamesTheServer(t *testing.T) {
	u, err := url.Parse("http://LocalHost:11434/v1")
	if err != nil {
		t.Fatal(err)
	}
	if got := ID("openai", "qwen3", u); got != "openai/qwen3@localhost:11434" {
		t.Error(got)
	}
	if got := ID("openai", "gpt-5", nil); got != "openai/gpt-5" {
		t.Error(got)
	}
}
