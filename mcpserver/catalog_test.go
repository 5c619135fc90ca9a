package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

// shut is a server whose engine must not be asked for.
func shut(t *testing.T) *client {
	t.Helper()
	return newClient(t, New(func(context.Context) (*loops.Engine, error) {
		t.Error("the engine was asked for")
		return nil, errors.New("not here")
	}, &Options{Version: "1.2.3"}))
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"}}`

// TestLookingNeedsNoEngine: clients start servers to look at their tools.
func TestLookingNeedsNoEngine(t *testing.T) {
	c := shut(t)
	for name, msg := range map[string]string{
		"initialize":    `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`,
		"discover":      `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + modernMeta + `}}`,
		"list":          `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
		"list_modern":   `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`,
		"ping":          `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		"unknown_tool":  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"loop_begin","arguments":{}}}`,
		"bad_arguments": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"loop_wait","arguments":{}}}`,
	} {
		got := c.send(t.Context(), msg)
		if again := c.send(t.Context(), msg); string(got) != string(again) {
			t.Errorf("%s: two answers differ:\n%s\n%s", name, got, again)
		}
		if !strings.HasPrefix(name, "list") {
			golden(t, "wire/"+name+".json", indented(t, got))
		}
	}
}

func TestToolsAreAsRecorded(t *testing.T) {
	var list struct {
		Result struct{ Tools []json.RawMessage }
	}
	if err := json.Unmarshal(shut(t).send(t.Context(), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, raw := range list.Result.Tools {
		var tool struct{ Name string }
		if err := json.Unmarshal(raw, &tool); err != nil {
			t.Fatal(err)
		}
		names = append(names, tool.Name)
		golden(t, "tools/"+tool.Name+".json", indented(t, raw))
	}
	want := []string{"loop_approve", "loop_cancel", "loop_continue", "loop_fork", "loop_inspect", "loop_list", "loop_pause", "loop_start", "loop_wait"}
	if !slices.Equal(names, want) {
		t.Errorf("tools %v, want %v", names, want)
	}
}

// TestToolsListIsTheSameInEveryProcess, byte for byte, in both eras: clients keep it
// in front of what their models have cached.
func TestToolsListIsTheSameInEveryProcess(t *testing.T) {
	for _, msg := range []string{`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modernMeta + `}}`} {
		first := shut(t).send(t.Context(), msg)
		for range 20 {
			if again := shut(t).send(t.Context(), msg); string(again) != string(first) {
				t.Fatalf("two servers answer\n%s\n%s", first, again)
			}
		}
	}
}

// What tools/list may cost: every model reads names, descriptions and input
// schemas in every conversation. Tokenizers differ; of English words and JSON they
// make a token of three to four bytes, so that a third of the bytes is taken as what
// it costs at most.
const (
	budgetBytes   = 10_000
	budgetTokens  = budgetBytes/3 + 1
	bytesPerToken = 3
)

func TestToolsFitTheBudget(t *testing.T) {
	total := 0
	for _, s := range (&tools{}).all() {
		size := len(s.Tool.Name)
		for _, part := range []any{s.Tool.Description, s.Tool.RawInputSchema} { // as they are sent: with quotes and escapes
			data, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			size += len(data)
		}
		t.Logf("%s: %d bytes, at most %d tokens", s.Tool.Name, size, (size+bytesPerToken-1)/bytesPerToken)
		total += size
		if n := len(s.Tool.RawOutputSchema); n > 1200 {
			t.Errorf("%s: output schema of %d bytes", s.Tool.Name, n)
		}
	}
	tokens := (total + bytesPerToken - 1) / bytesPerToken
	t.Logf("together: %d bytes, at most %d tokens", total, tokens)
	if total > budgetBytes || tokens > budgetTokens {
		t.Errorf("names, descriptions and input schemas take %d bytes or %d tokens, want at most %d and %d", total, tokens, budgetBytes, budgetTokens)
	}
}

func TestToolsSayWhatTheyDo(t *testing.T) {
	for _, s := range (&tools{}).all() {
		tool := s.Tool
		if n := strings.Count(strings.SplitN(tool.Description, "\n", 2)[0], ". ") + 1; n < 3 || n > 6 {
			t.Errorf("%s: %d sentences in %q", tool.Name, n, tool.Description)
		}
		a := tool.Annotations
		if a.ReadOnlyHint == nil || a.DestructiveHint == nil || a.IdempotentHint == nil || a.OpenWorldHint == nil || tool.Title == "" {
			t.Errorf("%s: title or a hint is missing", tool.Name)
		}
		if len(tool.Name) > 24 {
			t.Errorf("%s is too long for some clients", tool.Name)
		}
		if hint, _ := tool.Meta.AdditionalFields["anthropic/searchHint"].(string); len(hint) < 20 || len(hint) > 100 {
			t.Errorf("%s: search hint %q", tool.Name, hint)
		}
		always := tool.Meta != nil && tool.Meta.AdditionalFields["anthropic/alwaysLoad"] == true
		if want := tool.Name == "loop_start" || tool.Name == "loop_wait"; always != want {
			t.Errorf("%s: alwaysLoad %t, want %t", tool.Name, always, want)
		}
	}
	if lines := strings.Count(instructions, "\n") + 1; lines >= 10 {
		t.Errorf("instructions have %d lines", lines)
	}
}

// TestSchemasAreFlat: no $ref, no choice of types, everything described, and
// nothing that a decoder would not take.
func TestSchemasAreFlat(t *testing.T) {
	for _, s := range (&tools{}).all() {
		var schema map[string]any
		if err := json.Unmarshal(s.Tool.RawInputSchema, &schema); err != nil {
			t.Fatal(err)
		}
		if schema["type"] != "object" || schema["additionalProperties"] != false {
			t.Errorf("%s: not a closed object", s.Tool.Name)
		}
		checkFlat(t, s.Tool.Name, schema, false)
		var out map[string]any
		if err := json.Unmarshal(s.Tool.RawOutputSchema, &out); err != nil {
			t.Fatal(err)
		}
		for key, p := range out["properties"].(map[string]any) {
			p := p.(map[string]any)
			if len(p) > 0 && p["type"] == nil || p["format"] != nil {
				t.Errorf("%s: output %s is %v", s.Tool.Name, key, p)
			}
		}
	}
}

func checkFlat(t *testing.T, path string, s map[string]any, described bool) {
	t.Helper()
	for _, key := range []string{"$ref", "$defs", "$schema", "oneOf", "anyOf", "allOf", "not"} {
		if s[key] != nil {
			t.Errorf("%s has %s", path, key)
		}
	}
	if _, ok := s["type"].(string); !ok {
		t.Errorf("%s has the type %v", path, s["type"])
	}
	if text, _ := s["description"].(string); described && text == "" {
		t.Errorf("%s is not described", path)
	}
	properties, _ := s["properties"].(map[string]any)
	for key, p := range properties {
		checkFlat(t, path+"."+key, p.(map[string]any), true)
	}
	if items, ok := s["items"].(map[string]any); ok {
		checkFlat(t, path+"[]", items, false)
	}
}

func TestShortTextsHaveAPlace(t *testing.T) {
	var schema any
	if err := json.Unmarshal(inputSchema(startArgs{}), &schema); err != nil {
		t.Fatal(err)
	}
	for path, want := range shortTexts {
		at := schema
		for key := range strings.SplitSeq(path, ".") {
			m, _ := at.(map[string]any)
			if items, ok := m["items"].(map[string]any); ok {
				m = items
			}
			m, _ = m["properties"].(map[string]any)
			at = m[key]
		}
		if m, _ := at.(map[string]any); m["description"] != want {
			t.Errorf("%s is not described as %q: %v", path, want, m)
		}
	}
}

// TestDescriptionExamplesStart: what loop_start's description and schema show
// is accepted.
func TestDescriptionExamplesStart(t *testing.T) {
	description := (&tools{}).all()[0].Tool.Description
	examples := strings.Split(description, "\n")[1:]
	if len(examples) != 2 {
		t.Fatalf("%d examples in %q", len(examples), description)
	}
	for _, field := range []string{"Until", "Limits", "Body"} {
		f, _ := reflect.TypeFor[startArgs]().FieldByName(field)
		text := f.Tag.Get("jsonschema_description")
		if field == "Body" {
			examples = append(examples, fmt.Sprintf(`{"goal":"x","until":{"any":[{"kind":"claim"}]},"body":%s}`, text[strings.IndexByte(text, '{'):]))
			continue
		}
		examples = append(examples, fmt.Sprintf(`{"goal":"x","until":{"any":[{"kind":"claim"}]},"%s":%s}`, strings.ToLower(field), text[strings.IndexByte(text, '{'):]))
	}
	for _, example := range examples {
		if strings.Count(example, `"until"`) == 2 {
			example = strings.Replace(example, `"until":{"any":[{"kind":"claim"}]},`, "", 1)
		}
		var a startArgs
		if err := decode([]byte(example), &a); err != nil {
			t.Errorf("%s: %v", example, err)
		}
		if err := a.spec().Validate(); err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}

// TestEngineIsOpenedOnce: a failed opening is told and tried again, a good one
// is kept.
func TestEngineIsOpenedOnce(t *testing.T) {
	tries := 0
	c := newClient(t, newServer(func(context.Context) (engineAPI, error) {
		if tries++; tries == 1 {
			return nil, errors.New("the store is held by process 4711")
		}
		return &fakeEngine{}, nil
	}, nil))
	r := c.fails("loop_list", `{}`, "held by process 4711")
	if r.detail.Code != "unavailable" {
		t.Errorf("code %q", r.detail.Code)
	}
	c.ok("loop_list", `{}`)
	c.ok("loop_list", `{}`)
	if tries != 2 {
		t.Errorf("%d tries, want 2", tries)
	}
}
