package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

const (
	oneSession = "7a5d5158-da03-4671-b257-495fbf14ed3e"
	twoSession = "c426d1e1-1c58-4c6c-a2d2-45d1d78644b3"
)

// claudeResult is what claude -p --output-format json prints: the usage of the
// main model in this run, and what modelUsage and the money are.
func claudeResult(session string, run, model int, cost string) string {
	return fmt.Sprintf(`{"type":"result","subtype":"success","result":"x","session_id":%q,"total_cost_usd":%s,"usage":{"input_tokens":%d,"output_tokens":%d},`+
		`"modelUsage":{"m":{"inputTokens":%d,"outputTokens":%d,"costUSD":%[2]s}}}`, session, cost, run, run/100, model, model/100)
}

// TestWhatAResumedClaudeSessionUsedIsCountedOnce: from version 2.1.277 on, a
// resumed session reports its total; before, each run reported itself.
func TestWhatAResumedClaudeSessionUsedIsCountedOnce(t *testing.T) {
	first := claudeResult(oneSession, 1000, 1200, "0.005")
	for _, tt := range []struct {
		name, second string
		tokens       int64
		cost         loops.USD
	}{
		{"the total", claudeResult(oneSession, 1500, 2700, "0.012199999999999999"), 1500, 7200},
		{"the total, in a copy of the session", claudeResult(twoSession, 1500, 2700, "0.0122"), 1500, 7200},
		{"the run", claudeResult(oneSession, 1500, 1500, "0.0072"), 1500, 7200},
		{"the run, as large as the total before", claudeResult(oneSession, 1300, 1300, "0.0072"), 1300, 7200},
		{"less money than before", claudeResult(oneSession, 1, 2700, "0.001"), 2700, 1000},
		{"nothing", claudeResult(oneSession, 0, 1200, "0.005"), 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := read(loops.UsageClaudeJSON, first)
			before.account(nil, "")
			after := read(loops.UsageClaudeJSON, tt.second)
			after.account(before.Memory, oneSession)
			if after.Usage.InputTokens != tt.tokens || after.Usage.CostUSD != tt.cost || after.Usage.TotalTokens != after.Usage.InputTokens+after.Usage.OutputTokens {
				t.Errorf("%+v, want %d tokens and %s", after.Usage, tt.tokens, tt.cost)
			}
		})
	}
}

// TestACutOffRunKeepsTheSession, and what it had used by then is not taken for
// the session's total.
func TestACutOffRunKeepsTheSession(t *testing.T) {
	before := read(loops.UsageClaudeJSON, claudeResult(oneSession, 1000, 1200, "0.005"))
	before.account(nil, "")
	cut := read(loops.UsageClaudeJSON, `{"type":"system","subtype":"init","session_id":"`+oneSession+`"}
{"type":"assistant","message":{"id":"m","usage":{"input_tokens":70,"output_tokens":5}}}`)
	cut.account(before.Memory, oneSession)
	if cut.Usage.TotalTokens != 75 || string(cut.Memory) != string(before.Memory) {
		t.Errorf("%+v, memory %s, want %s", cut.Usage, cut.Memory, before.Memory)
	}
}

// TestASessionWithoutAnAnswerIsNotContinued: Gemini CLI does not keep it. One
// that was continued stays.
func TestASessionWithoutAnAnswerIsNotContinued(t *testing.T) {
	r := read(loops.UsageGeminiJSON, recorded(t, "gemini-429"))
	id := r.session
	if r.account(nil, ""); r.Memory != nil {
		t.Errorf("a new session: %s", r.Memory)
	}
	if r.account(json.RawMessage(`{"session":"`+id+`"}`), id); string(r.Memory) != `{"session":"`+id+`"}` {
		t.Errorf("a continued one: %s", r.Memory)
	}
}

func TestResumed(t *testing.T) {
	for _, tt := range []struct {
		name, memory, want string
		resume             []string
	}{
		{"no memory", "", "", []string{"--resume"}},
		{"no wish", `{"session":"` + oneSession + `"}`, "", nil},
		{"a session", `{"session":"` + oneSession + `","other":1}`, "--fork-session --resume " + oneSession, []string{"--fork-session", "--resume"}},
		{"of opencode", `{"session":"ses_e01d91ac3ffeDLLDhDzz84Jx4w"}`, "-s ses_e01d91ac3ffeDLLDhDzz84Jx4w", []string{"-s"}},
		{"an option", `{"session":"--dangerously-skip-permissions"}`, "", []string{"--resume"}},
		{"a word for some other session", `{"session":"latest"}`, "", []string{"--resume"}},
		{"a path", `{"session":"../../secrets"}`, "", []string{"--resume"}},
		{"two lines", `{"session":"12345678\n--x"}`, "", []string{"--resume"}},
		{"no text", `{"session":12345678}`, "", []string{"--resume"}},
		{"no object", `"12345678"`, "", []string{"--resume"}},
	} {
		id, args := resumed(tt.resume, json.RawMessage(tt.memory))
		if got := strings.Join(args, " "); got != tt.want || !strings.HasSuffix(got, id) {
			t.Errorf("%s: %q and %q, want %q", tt.name, got, id, tt.want)
		}
	}
}

// TestFaultsOfProviders: recorded failures, and how the engine takes them.
func TestFaultsOfProviders(t *testing.T) {
	for file, want := range map[string]string{
		"claude-401": "permanent: claude reports an error: Invalid API key",
		"claude-404": "failed: claude reports an error: There's an issue with the selected model",
		"claude-429": "transient: claude reports an error: API Error: Request rejected (429) · Rate limited, slow down",

		"claude-budget-stream": "failed: claude reports error_max_budget_usd",

		"codex-401":         "permanent: codex reports: unexpected status 401 Unauthorized: invalid x-api-key",
		"codex-404":         "failed: codex reports: unexpected status 404 Not Found: model: nope",
		"codex-429":         "transient: codex reports: exceeded retry limit, last status: 429 Too Many Requests",
		"codex-unreachable": "transient: codex reports: Connection failed",
		"codex-failed":      "transient: codex reports: stream disconnected",

		"gemini-401":         "permanent: gemini reports: [API Error:",
		"gemini-404":         "failed: gemini reports: [API Error: model: nope]",
		"gemini-429":         "transient: gemini reports: [API Error: Rate limited, slow down]",
		"gemini-529":         "transient: gemini reports: [API Error:",
		"gemini-unreachable": "transient: gemini reports: [API Error: exception TypeError: fetch failed",

		"opencode-401": "permanent: opencode reports APIError: invalid x-api-key",
		"opencode-404": "failed: opencode reports APIError: model: nope",
		"opencode-429": "transient: opencode reports APIError: Rate limited, slow down",
	} {
		format, _, _ := strings.Cut(file, "-")
		r := read(format+"-json", recorded(t, file))
		err := r.mark(r.err)
		if got := providerKind(err) + ": " + fmt.Sprint(err); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s\nwant %s", file, got, want)
		}
	}
}

func recorded(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// providerKind is kindOf for errors that may be a provider's.
func providerKind(err error) string {
	inner := errors.Unwrap(err)
	for name, mark := range map[string]func(error) error{
		"permanent": loops.Permanent,
		"transient": func(err error) error { return loops.Transient(err, 0) },
	} {
		if inner != nil && reflect.DeepEqual(err, mark(inner)) {
			return name
		}
	}
	return "failed"
}

// TestASubscriptionsLimitIsWaitedFor until the time that Claude Code tells.
func TestASubscriptionsLimitIsWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		resets time.Duration
		waits  bool
	}{{2 * time.Hour, true}, {-time.Hour, false}, {1000 * time.Hour, false}} {
		at := strconv.FormatInt(time.Now().Add(tt.resets).Unix(), 10)
		r := read(loops.UsageClaudeJSON, strings.Replace(recorded(t, "claude-limit"), "RESETS", at, 1))
		err := r.mark(r.err)
		if transient := providerKind(err) == "transient"; transient == tt.waits || !strings.Contains(err.Error(), "You've hit your limit") {
			t.Errorf("reset in %s: %s: %v", tt.resets, providerKind(err), err)
		}
	}
}

func TestReportsWithWrongFigures(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"result","status":"success","stats":{"input_tokens":-1}}`:                     "stats.input_tokens must not be negative",
		`{"session_id":"x","response":"y","stats":{"models":{"m":{"tokens":{"prompt":0.5}}}}}`: "stats.models.tokens.prompt must be a whole number",
		`{"type":"message","role":"assistant","content":"half"}`:                               "no result of Gemini CLI",
	} {
		if r := read(loops.UsageGeminiJSON, text); r.err == nil || !strings.Contains(r.err.Error(), want) || r.Output != "" {
			t.Errorf("%s: %+v, want %s", text, r, want)
		}
	}
	for text, want := range map[string]string{
		`{"type":"step_finish","part":{"tokens":{"input":"7"}}}`: "part.tokens.input must be a whole number",
		`{"type":"step_finish","part":{"cost":-1}}`:              "part.cost must not be negative",
		`{"type":"text","part":{"text":"half"}}`:                 "no finished step of opencode",
	} {
		if r := read(loops.UsageOpencodeJSON, text); r.err == nil || !strings.Contains(r.err.Error(), want) || r.Output != "" {
			t.Errorf("%s: %+v, want %s", text, r, want)
		}
	}
}

// TestGeminisThoughtsAreOutput: they are billed, and only the total has them.
func TestGeminisThoughtsAreOutput(t *testing.T) {
	r := read(loops.UsageGeminiJSON, `{"type":"result","status":"success","stats":{"total_tokens":170,"input_tokens":100,"output_tokens":20}}`)
	if r.err != nil || r.Usage.OutputTokens != 70 || r.Usage.TotalTokens != 170 {
		t.Errorf("%+v, %v", r.Usage, r.err)
	}
}
