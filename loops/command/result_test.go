package command

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
)

func TestReadPlainAndObject(t *testing.T) {
	tests := []struct {
		name, stdout string
		want         loops.Result
		err          string
	}{
		{"text", "all green\n", loops.Result{Output: "all green\n", Done: true}, ""},
		{"nothing", "", loops.Result{Done: true}, ""},
		{"object", `{"output":"x","done":false,"score":60.5,"memory":{"n":1},"usage":{"input_tokens":10,"output_tokens":5,"cost_usd":0.15,"tool_calls":2}}`,
			loops.Result{Output: "x", Score: new(60.5), Memory: json.RawMessage(`{"n":1}`),
				Usage: loops.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15, CostUSD: 150_000, ToolCalls: 2}}, ""},
		{"white space around", "\n {\"output\":\"x\"} \n", loops.Result{Output: "x", Done: true}, ""},
		{"another key: plain", `{"output":"x","extra":1}`, loops.Result{Output: `{"output":"x","extra":1}`, Done: true}, ""},
		{"keys are exact", `{"Output":"x"}`, loops.Result{Output: `{"Output":"x"}`, Done: true}, ""},
		{"empty object: plain", `{}`, loops.Result{Output: `{}`, Done: true}, ""},
		{"an array: plain", `[{"output":"x"}]`, loops.Result{Output: `[{"output":"x"}]`, Done: true}, ""},
		{"two objects: plain", `{"output":"x"}{"output":"y"}`, loops.Result{Output: `{"output":"x"}{"output":"y"}`, Done: true}, ""},
		{"text before: plain", `note {"output":"x"}`, loops.Result{Output: `note {"output":"x"}`, Done: true}, ""},
		{"cut off: plain", `{"output":"x"`, loops.Result{Output: `{"output":"x"`, Done: true}, ""},
		{"no output: the text itself", `{"score":60}`, loops.Result{Output: `{"score":60}`, Score: new(60.0), Done: true}, ""},
		{"output as JSON", `{"output": {"a": [1, 2]}}`, loops.Result{Output: `{"a":[1,2]}`, Done: true}, ""},
		{"nulls are left out", `{"output":"x","done":null,"score":null,"memory":null,"usage":null}`, loops.Result{Output: "x", Done: true}, ""},
		{"memory may be any JSON", `{"output":"x","memory":"text"}`, loops.Result{Output: "x", Done: true, Memory: json.RawMessage(`"text"`)}, ""},
		{"total below the sum", `{"output":"x","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":3}}`,
			loops.Result{Output: "x", Done: true, Usage: loops.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}}, ""},
		{"total alone", `{"output":"x","usage":{"total_tokens":1e3}}`, loops.Result{Output: "x", Done: true, Usage: loops.Usage{TotalTokens: 1000}}, ""},
		{"done of a wrong type", `{"output":"x","done":"yes","usage":{"total_tokens":5}}`,
			loops.Result{Usage: loops.Usage{TotalTokens: 5}}, `stdout: done must be true or false, got "yes"`},
		{"score of a wrong type", `{"score":"high"}`, loops.Result{}, `stdout: score must be a number, got "high"`},
		{"score too large", `{"score":1e999}`, loops.Result{}, `stdout: score must be a number, got 1e999`},
		{"negative", `{"usage":{"input_tokens":-1}}`, loops.Result{}, "stdout: usage.input_tokens must not be negative, got -1"},
		{"negative cost", `{"usage":{"cost_usd":-0.5}}`, loops.Result{}, "stdout: usage.cost_usd must not be negative, got -0.5"},
		{"no number", `{"usage":{"cost_usd":"NaN"}}`, loops.Result{}, `stdout: usage.cost_usd must be a number of dollars such as 2 or 0.50, got "NaN"`},
		{"half a token", `{"usage":{"output_tokens":1.5}}`, loops.Result{}, "stdout: usage.output_tokens must be a whole number, got 1.5"},
		{"text for a count", `{"usage":{"output_tokens":"12"}}`, loops.Result{}, `stdout: usage.output_tokens must be a whole number, got "12"`},
		{"absurd count", `{"usage":{"total_tokens":9223372036854775807}}`, loops.Result{}, "stdout: usage.total_tokens is too large, got 9223372036854775807"},
		{"overflowing count", `{"usage":{"total_tokens":1e999}}`, loops.Result{}, "stdout: usage.total_tokens is too large, got 1e999"},
		{"absurd cost", `{"usage":{"cost_usd":1e9}}`, loops.Result{}, "stdout: usage.cost_usd is too large, got 1e9"},
		{"absurd calls", `{"usage":{"tool_calls":1e10}}`, loops.Result{}, "stdout: usage.tool_calls is too large, got 1e10"},
		{"misspelt", `{"usage":{"tokens":5}}`, loops.Result{}, "stdout: usage.tokens is not known"},
		{"usage no object", `{"usage":5}`, loops.Result{}, "stdout: usage must be an object, got 5"},
	}
	for _, usage := range []string{"", loops.UsageNone, loops.UsageJSON} {
		for _, tt := range tests {
			t.Run(usage+" "+tt.name, func(t *testing.T) { checkRead(t, usage, tt.stdout, nil, tt.want, tt.err) })
		}
	}
}

func checkRead(t *testing.T, usage, stdout string, memory json.RawMessage, want loops.Result, wantErr string) {
	t.Helper()
	got, err := Read(usage, stdout, memory)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
		t.Errorf("got error %v, want %q", err, wantErr)
	}
}

func TestReadReports(t *testing.T) {
	usage := func(in, out int64, cost loops.USD, calls int64) loops.Usage {
		return loops.Usage{InputTokens: in, OutputTokens: out, TotalTokens: in + out, CostUSD: cost, ToolCalls: calls}
	}
	const thread1 = `{"session":"thread-1","sessions":[{"id":"thread-1","input_tokens":2400,"output_tokens":200}]}`
	claudeSession := json.RawMessage(`{"session":"17bbf2ec-2125-4db0-9308-e7832fb54404"}`)
	kept := func(text string) json.RawMessage { return json.RawMessage(text) }
	session := func(id string) json.RawMessage { return kept(`{"session":"` + id + `"}`) }
	tests := []struct {
		name, format, file, memory string
		want                       loops.Result
		err                        string
	}{
		{"claude, one object", loops.UsageClaudeJSON, "claude-json", "", loops.Result{Output: "Fixed the parser.", Done: true, Usage: usage(14512, 320, 42_134, 0),
			Memory: kept(`{"session":"5d0c8a11","sessions":[{"id":"5d0c8a11","input_tokens":14512,"output_tokens":320,"cost_usd":0.042134}]}`)}, ""},
		{"claude, stream", loops.UsageClaudeJSON, "claude-stream", "",
			loops.Result{Output: `Done: "ok"`, Done: true, Usage: usage(60, 32, 1000, 2), Memory: session("5d0c8a11")}, ""},
		{"claude, cut off", loops.UsageClaudeJSON, "claude-cut", "",
			loops.Result{Usage: usage(60, 32, 0, 2), Memory: session("5d0c8a11")}, "stdout has no result message of Claude Code"},
		{"claude, budget", loops.UsageClaudeJSON, "claude-budget", "",
			loops.Result{Usage: usage(900, 100, 4200, 0)}, `claude reports error_max_budget_usd: ["Reached maximum budget ($0.001)"]`},
		{"claude, error", loops.UsageClaudeJSON, "claude-error", "",
			loops.Result{}, "claude reports an error: API Error: 529 overloaded"},
		{"claude, array with structured output", loops.UsageClaudeJSON, "claude-structured", "",
			loops.Result{Output: `{"score":7}`, Done: true, Usage: usage(1, 2, 0, 0)}, ""},
		{"claude, with a tool", loops.UsageClaudeJSON, "claude-tool", "",
			loops.Result{Output: "I wrote it.", Done: true, Usage: usage(2500, 100, 12_000, 1), Memory: claudeSession}, ""},
		{"claude, resumed: the run alone counts", loops.UsageClaudeJSON, "claude-resumed", string(claudeSession),
			loops.Result{Output: "The second answer.", Done: true, Usage: usage(1500, 60, 7200, 0), Memory: claudeSession}, ""},
		{"claude, resumed, the budget spent", loops.UsageClaudeJSON, "claude-budget-stream", "",
			loops.Result{Usage: usage(1500, 60, 7200, 0), Memory: session("00bf5302-aff8-4136-9996-4ccb45c168e9")}, "Reached maximum budget ($0.0001)"},
		{"claude, session unknown", loops.UsageClaudeJSON, "claude-unknown", "",
			loops.Result{}, "No conversation found with session ID"},
		{"codex, new thread", loops.UsageCodexJSON, "codex", "",
			loops.Result{Output: "All tests pass.", Done: true, Usage: usage(2400, 200, 0, 2), Memory: kept(thread1)}, ""},
		{"codex, resumed thread", loops.UsageCodexJSON, "codex", `{"sessions":[{"id":"thread-1","input_tokens":1300,"output_tokens":80},{"id":"thread-0","input_tokens":1,"output_tokens":1}]}`,
			loops.Result{Output: "All tests pass.", Done: true, Usage: usage(1100, 120, 0, 2),
				Memory: kept(`{"session":"thread-1","sessions":[{"id":"thread-0","input_tokens":1,"output_tokens":1},{"id":"thread-1","input_tokens":2400,"output_tokens":200}]}`)}, ""},
		{"codex, count that began anew", loops.UsageCodexJSON, "codex", `{"sessions":[{"id":"thread-1","input_tokens":9000,"output_tokens":80}],"other":1}`,
			loops.Result{Output: "All tests pass.", Done: true, Usage: usage(2400, 200, 0, 2),
				Memory: kept(`{"other":1,"session":"thread-1","sessions":[{"id":"thread-1","input_tokens":2400,"output_tokens":200}]}`)}, ""},
		{"codex, memory that is no object", loops.UsageCodexJSON, "codex", `"x"`,
			loops.Result{Output: "All tests pass.", Done: true, Usage: usage(2400, 200, 0, 2), Memory: kept(thread1)}, ""},
		{"codex, failed", loops.UsageCodexJSON, "codex-failed", "", loops.Result{}, "codex reports: stream disconnected"},
		{"codex, with a tool", loops.UsageCodexJSON, "codex-tool", "", loops.Result{Output: "I wrote it.", Done: true, Usage: usage(2500, 100, 0, 1),
			Memory: kept(`{"session":"01a1fe25-0e51-7462-81e8-eba10b28b558","sessions":[{"id":"01a1fe25-0e51-7462-81e8-eba10b28b558","input_tokens":2500,"output_tokens":100}]}`)}, ""},
		{"gemini, with a tool", loops.UsageGeminiJSON, "gemini-tool", "",
			loops.Result{Output: "I wrote it.", Done: true, Usage: usage(2500, 100, 0, 1), Memory: session("84ec786c-0241-4249-a8c6-1d580167b089")}, ""},
		{"gemini, resumed", loops.UsageGeminiJSON, "gemini-resumed", "",
			loops.Result{Output: "The second answer.", Done: true, Usage: usage(1500, 60, 0, 0), Memory: session("84ec786c-0241-4249-a8c6-1d580167b089")}, ""},
		{"gemini, one object", loops.UsageGeminiJSON, "gemini-json", "",
			loops.Result{Output: "The second answer.", Done: true, Usage: usage(1500, 60, 0, 0), Memory: session("31021599-3349-41ce-af30-e3dbf482b700")}, ""},
		{"opencode, with a tool", loops.UsageOpencodeJSON, "opencode-tool", "",
			loops.Result{Output: "I wrote it.", Done: true, Usage: usage(2500, 100, 9000, 1), Memory: session("ses_e01d91ac3ffeDLLDhDzz84Jx4w")}, ""},
		{"opencode, resumed", loops.UsageOpencodeJSON, "opencode-resumed", "",
			loops.Result{Output: "The second answer.", Done: true, Usage: usage(1500, 60, 5400, 0), Memory: session("ses_e01d91ac3ffeDLLDhDzz84Jx4w")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, err := os.ReadFile(filepath.Join("testdata", tt.file+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			var memory json.RawMessage
			if tt.memory != "" {
				memory = json.RawMessage(tt.memory)
			}
			checkRead(t, tt.format, string(stdout), memory, tt.want, tt.err)
		})
	}
}

func TestReadRefusesWrongReports(t *testing.T) {
	tests := []struct{ format, stdout, want string }{
		{loops.UsageClaudeJSON, "Invalid session", "no result message of Claude Code"},
		{loops.UsageClaudeJSON, `{"type":"result","result":"x","usage":{"input_tokens":-5}}`, "usage.input_tokens must not be negative"},
		{loops.UsageClaudeJSON, `{"type":"result","result":"x","total_cost_usd":-1}`, "total_cost_usd must not be negative"},
		{loops.UsageClaudeJSON, `{"type":"result","result":"x","modelUsage":{"m":{"costUSD":"NaN"}}}`, "modelUsage.costUSD must be a number"},
		{loops.UsageCodexJSON, "Reconnecting…", "no agent message of Codex"},
		{loops.UsageCodexJSON, `{"type":"turn.completed","usage":{"output_tokens":1e15}}`, "usage.output_tokens is too large"},
	}
	for _, tt := range tests {
		got, err := Read(tt.format, tt.stdout, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || got.Done || got.Output != "" {
			t.Errorf("%s %s: got %+v, %v", tt.format, tt.stdout, got, err)
		}
	}
}

func TestCodexRemembersFewThreads(t *testing.T) {
	var memory json.RawMessage
	for i := range 3 * maxSessions {
		id := "thread-" + string(rune('a'+i))
		got, err := Read(loops.UsageCodexJSON, `{"type":"thread.started","thread_id":"`+id+`"}
{"type":"item.completed","item":{"type":"agent_message","text":"x"}}
{"type":"turn.completed","usage":{"input_tokens":1,"output_tokens":1}}`, memory)
		if err != nil {
			t.Fatal(err)
		}
		memory = got.Memory
	}
	var kept struct {
		Threads []sessionTotal `json:"sessions"`
	}
	if err := json.Unmarshal(memory, &kept); err != nil || len(kept.Threads) != maxSessions || kept.Threads[maxSessions-1].ID != "thread-x" {
		t.Errorf("got %s, %v", memory, err)
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no reports: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data), `{"sessions":[{"id":"thread-1","input_tokens":5}]}`)
	}
	f.Add(`{"output":1,"usage":{"cost_usd":0.1},"score":1,"done":true,"memory":[]}`, `null`)
	f.Fuzz(func(t *testing.T, stdout, memory string) {
		stdout = Clean(stdout)
		for _, usage := range loops.Usages() {
			r, err := Read(usage, stdout, json.RawMessage(memory))
			u := r.Usage
			if u.InputTokens < 0 || u.OutputTokens < 0 || u.TotalTokens < u.InputTokens+u.OutputTokens || u.CostUSD < 0 || u.ToolCalls < 0 {
				t.Errorf("%s: usage %+v", usage, u)
			}
			if r.Memory != nil && !json.Valid(r.Memory) || !utf8.ValidString(r.Output) {
				t.Errorf("%s: memory %q, output %q", usage, r.Memory, r.Output)
			}
			if err != nil && (r.Done || err.Error() == "") {
				t.Errorf("%s: %+v beside %v", usage, r, err)
			}
		}
	})
}

func FuzzPlain(f *testing.F) {
	for _, text := range []string{"a\x1b[31mb\x1b[0m", "\x1b]8;;http://x\x1b\\link\x07", "10%\r20%\r\n", "\x9b31m", "a\x00\xff", "\x1bP", "\x1b(B", "é\u009b1m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Plain(text)
		if !utf8.ValidString(got) || strings.IndexFunc(got, isControl) >= 0 || Plain(got) != got {
			t.Errorf("%q became %q", text, got)
		}
		if tail := Tail(text, 10); len(tail) > 10+len("…\n") || !utf8.ValidString(tail) {
			t.Errorf("tail %q", tail)
		}
	})
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext\n":                          "plain\ttext\n",
		"\x1b[1;31mFAIL\x1b[0m x":                "FAIL x",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07": "link",
		"\x1b(Bx\x1b=y\x1bMz":                    "xyz",
		"10%\r20%\r100%\ndone\r\n":               "100%\ndone\n",
		"bell\a, back\b":                         "bell, back",
		"cut \x1b[":                              "cut ",
		"\u009b31mred":                           "red",
		"é\x00\xffü":                             "é\uFFFD\uFFFDü",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestReportedErrorIsFound(t *testing.T) {
	_, err := Read(loops.UsageClaudeJSON, `{"type":"result","is_error":true,"result":"no"}`, nil)
	if _, ok := errors.AsType[*ReportedError](err); !ok {
		t.Errorf("got %v", err)
	}
}
