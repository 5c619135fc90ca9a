//go:build unix

package cliagents

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// The tests below run the real command lines against aimock, a server of
// others' making, on loopback: make cli-agents.

// modules is where they are installed.
const modules = "../../.ci/cli-agents/node_modules"

// programs are the files of the command lines; P stands for the platform.
var programs = map[string]string{
	"claude":   "@anthropic-ai/claude-code-P/claude",
	"codex":    "@openai/codex-P/vendor/*/bin/codex",
	"gemini":   "@google/gemini-cli/bundle/gemini.js",
	"opencode": "opencode-P/bin/opencode",
}

// passedToAgents are the variables that say where the mock is.
var passedToAgents = []string{"ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "MOCK_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL",
	"OPENCODE_CONFIG", "OPENCODE_DISABLE_MODELS_FETCH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}

// fixes are the calls of a tool of each agent that mend the project at DIR.
var fixes = map[string]string{
	"claude":   `{"name":"Write","arguments":{"file_path":"DIR/answer.txt","content":"42\n"}}`,
	"codex":    `{"name":"exec_command","arguments":{"cmd":"echo 42 > answer.txt"}}`,
	"gemini":   `{"name":"write_file","arguments":{"file_path":"DIR/answer.txt","content":"42\n"}}`,
	"opencode": `{"name":"write","arguments":{"filePath":"DIR/answer.txt","content":"42\n"}}`,
}

// fixtures: in the first pass the agent only talks, in the second it mends.
const fixtures = `{"fixtures":[
 {"match":{"userMessage":"WRONGKEY"},"response":{"error":{"message":"invalid x-api-key","type":"authentication_error"},"status":401}},
 {"match":{"userMessage":"pass 2 of","hasToolResult":true},"response":{"content":"I mended it.","usage":{"input_tokens":1300,"output_tokens":30,"prompt_tokens":1300,"completion_tokens":30}}},
 {"match":{"userMessage":"pass 2 of"},"response":{"content":"I write.","toolCalls":[FIX],"usage":{"input_tokens":1200,"output_tokens":70,"prompt_tokens":1200,"completion_tokens":70}}},
 {"match":{"userMessage":"pass 1 of"},"response":{"content":"I have only looked.","usage":{"input_tokens":1000,"output_tokens":50,"prompt_tokens":1000,"completion_tokens":50}}},
 {"match":{},"response":{"content":"A title"}}
]}`

// realStage is a stage on which the real command lines play.
type realStage struct {
	*world
	mock string // URL
	home string
}

func setRealStage(t *testing.T, agent string) realStage {
	t.Helper()
	if os.Getenv("LOOP_MCP_CLI_TESTS") != "1" {
		t.Skip("runs the real command lines: make cli-agents")
	}
	dir, home := project(t), t.TempDir()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	install(t, agent)
	mock := serveMock(t, strings.Replace(fixtures, "FIX", strings.Replace(fixes[agent], "DIR", dir, 1), 1))
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOENV", "GOPATH"} { // else they are in the home that is no more
		out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, strings.TrimSpace(string(out)))
	}
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "XDG_DATA_HOME": filepath.Join(home, "data"),
		"XDG_STATE_HOME": filepath.Join(home, "state"), "XDG_CACHE_HOME": filepath.Join(home, "cache"),
		"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",
		"ANTHROPIC_BASE_URL": mock, "ANTHROPIC_API_KEY": "none", "MOCK_KEY": "none", "GEMINI_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": mock,
		"OPENCODE_CONFIG": filepath.Join(home, "opencode.json"), "OPENCODE_DISABLE_MODELS_FETCH": "1",
	} {
		t.Setenv(name, value)
	}
	for _, folder := range []string{".gemini", ".codex"} {
		if err := os.Mkdir(filepath.Join(home, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(home, ".gemini/settings.json"), `{"security":{"auth":{"selectedType":"gemini-api-key"}},"general":{"enableAutoUpdate":false},"privacy":{"usageStatisticsEnabled":false}}`)
	write(t, filepath.Join(home, "opencode.json"), fmt.Sprintf(`{"model":"mock/m","small_model":"mock/m","provider":{"mock":{"npm":"@ai-sdk/openai-compatible","name":"mock",
		"options":{"baseURL":"%s/v1","apiKey":"none"},"models":{"m":{"name":"m","cost":{"input":3,"output":15},"limit":{"context":200000,"output":8000}}}}}}`, mock))
	s := &stage{dir: t.TempDir(), project: dir}
	return realStage{world: s.open(t, loopstest.NewMemory(), passedToAgents...), mock: mock, home: home}
}

// install puts the real command line of an agent on PATH.
func install(t *testing.T, agent string) {
	t.Helper()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	found, err := filepath.Glob(filepath.Join(modules, strings.Replace(programs[agent], "-P", "-"+runtime.GOOS+"-"+arch, 1)))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s is not installed, run make cli-agents: %v, %v", agent, found, err)
	}
	program, err := filepath.Abs(found[0])
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, agent)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// serveMock starts aimock and returns its URL.
func serveMock(t *testing.T, fixtures string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fixtures.json")
	write(t, file, fixtures)
	cmd := exec.Command("node", filepath.Join(modules, "@copilotkit/aimock/dist/cli.js"), "-p", "0", "-f", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said strings.Builder
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if url := listening.FindString(lines.Text()); url != "" {
			go func() {
				for lines.Scan() { // else it would wait for somebody to read
				}
			}()
			return url
		}
	}
	t.Fatalf("aimock did not start:\n%s", said.String())
	return ""
}

// request is what the mock was asked, in the form of a chat.
type request struct {
	Tools []struct {
		Function struct{ Name string }
	}
	Messages []struct {
		Role    string
		Content json.RawMessage
	}
}

// asked returns the requests in their order.
func (s realStage) asked() []request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.mock+"/__aimock/journal", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var journal []struct{ Body request }
	if err := json.NewDecoder(answer.Body).Decode(&journal); err != nil {
		s.t.Fatal(err)
	}
	all := make([]request, len(journal))
	for i, entry := range journal {
		all[i] = entry.Body
	}
	return all
}

func (r request) has(text string) bool {
	return slices.ContainsFunc(r.Messages, func(m struct {
		Role    string
		Content json.RawMessage
	}) bool {
		return strings.Contains(string(m.Content), text)
	})
}

// begin starts the loop file, with what only the mock needs.
func (s realStage) begin(agent string, change func(*loops.Spec)) loops.ID {
	s.t.Helper()
	return s.start(agent, func(spec *loops.Spec) {
		if agent == "codex" {
			spec.Body.Run = append(spec.Body.Run, "-m", "gpt-5.5", "-c", `model_provider="mock"`,
				"-c", `model_providers.mock={name="mock",base_url="`+s.mock+`/v1",wire_api="responses",env_key="MOCK_KEY"}`)
		}
		if change != nil {
			change(spec)
		}
	})
}

// forbidden are tools with which an agent would begin something that goes on
// beside the loop, or whose usage is in no report.
var forbidden = []string{"Task", "Agent", "Skill", "CronCreate", "ScheduleWakeup", "Monitor", "Workflow", "SendMessage", "get_goal", "create_goal", "update_goal", "spawn_agent", "task"}

// TestRealAgentsWorkUntilTheTestsPass: the second pass goes on in the session of
// the first, and the ledger has what the mock served.
func TestRealAgentsWorkUntilTheTestsPass(t *testing.T) {
	for agent, cost := range map[string]loops.USD{"claude": 0, "codex": 0, "gemini": 0, "opencode": 12_750} {
		t.Run(agent, func(t *testing.T) {
			s := setRealStage(t, agent)
			state := s.settled(s.begin(agent, nil), loops.Completed, loops.GoalCommand)
			asked := s.asked()
			if len(asked) != 3 || !asked[1].has("I have only looked.") || !asked[1].has("the answer is wrong") {
				t.Errorf("%d requests; the second pass did not go on in the session of the first", len(asked))
			}
			for _, tool := range asked[0].Tools {
				if slices.Contains(forbidden, tool.Function.Name) {
					t.Errorf("the agent has the tool %s", tool.Function.Name)
				}
			}
			l := state.Ledger
			if l.Starts != 2 || l.InputTokens != 3500 || l.OutputTokens != 150 || state.Output.Text != "I mended it." {
				t.Errorf("%+v, output %q", l, state.Output.Text)
			}
			if agent == "claude" && (l.CostUSD < 1000 || l.CostUSD > 100_000) || agent != "claude" && l.CostUSD != cost {
				t.Errorf("it cost %s, want %s", l.CostUSD, cost)
			}
		})
	}
}

// TestRealClaudeInOneObject: with json in place of stream-json a resumed session
// reports its total alone.
func TestRealClaudeInOneObject(t *testing.T) {
	s := setRealStage(t, "claude")
	id := s.begin("claude", func(spec *loops.Spec) {
		for i, arg := range spec.Body.Run {
			spec.Body.Run[i] = strings.Replace(arg, "=stream-json", "=json", 1)
		}
	})
	state := s.settled(id, loops.Completed, loops.GoalCommand)
	if l := state.Ledger; l.InputTokens != 3500 || l.OutputTokens != 150 || l.CostUSD < 1000 || l.CostUSD > 100_000 {
		t.Errorf("%+v", l)
	}
}

// TestRealAgentsLoseTheirSession: the files of the home are gone after the first
// pass, and the loop goes on.
func TestRealAgentsLoseTheirSession(t *testing.T) {
	for _, agent := range agents {
		t.Run(agent, func(t *testing.T) {
			s := setRealStage(t, agent)
			id := s.begin(agent, func(spec *loops.Spec) {
				// The check of the first pass empties the home of sessions.
				forget := `test -e passed.once || { touch passed.once; rm -rf "$HOME/.claude/projects" "$HOME/.codex/sessions" "$HOME/.codex/"*.sqlite* "$HOME/.gemini/tmp" "$HOME/data/opencode"; }; exec go test ./...`
				spec.Until = &loops.Until{All: []loops.Condition{{Kind: loops.StopCommand, Run: []string{"sh", "-c", forget}}}}
			})
			state := s.settled(id, loops.Completed, loops.GoalCommand)
			asked := s.asked()
			if len(asked) != 3 || asked[1].has("I have only looked.") {
				t.Errorf("%d requests; the session is still there", len(asked))
			}
			if l := state.Ledger; l.Starts != 3 || l.Failures != 0 || l.InputTokens != 3500 {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestRealAgentsWithAWrongKey end the loop, with the provider's words.
func TestRealAgentsWithAWrongKey(t *testing.T) {
	for _, agent := range agents {
		t.Run(agent, func(t *testing.T) {
			s := setRealStage(t, agent)
			state := s.settled(s.begin(agent, func(spec *loops.Spec) { spec.Context = "WRONGKEY" }), loops.Failed, loops.FailProvider)
			if state.Ledger.Starts != 1 {
				t.Errorf("%+v: %s", state.Ledger, state.Stop.Detail)
			}
			t.Log(state.Stop.Detail)
		})
	}
}

// TestRealClaudeKeepsToTheBudget: it stops itself, and what it spent counts.
func TestRealClaudeKeepsToTheBudget(t *testing.T) {
	s := setRealStage(t, "claude")
	id := s.begin("claude", func(spec *loops.Spec) { spec.Limits.MaxCostUSD = 1000 })
	state := s.settled(id, loops.Capped, loops.CapCost)
	if state.Ledger.Starts != 1 || state.Ledger.CostUSD < 1000 || len(s.asked()) != 1 {
		t.Errorf("%+v, %d requests", state.Ledger, len(s.asked()))
	}
}

// TestRealCodexWithoutANetwork: as it comes, it waits for ever and is ended; with
// the flag of the loop file it gives up.
func TestRealCodexWithoutANetwork(t *testing.T) {
	const nowhere = "http://127.0.0.1:9"
	begin := func(s realStage, change func(*loops.Spec)) loops.ID {
		return s.begin("codex", func(spec *loops.Spec) {
			for i, arg := range spec.Body.Run {
				spec.Body.Run[i] = strings.Replace(arg, s.mock, nowhere, 1)
			}
			spec.Limits.MaxFailures, spec.Retry.MaxAttempts = 1, 1
			change(spec)
		})
	}
	t.Run("as it comes", func(t *testing.T) {
		s := setRealStage(t, "codex")
		id := begin(s, func(spec *loops.Spec) {
			spec.Body.Run = slices.DeleteFunc(spec.Body.Run, func(arg string) bool { return arg == "--disable=unbounded_connection_retries" })
			spec.Limits.IterationTimeout = loops.Duration(15 * time.Second)
		})
		if state := s.settled(id, loops.Failed, loops.FailFailures); !strings.Contains(state.Stop.Detail, "iteration_timeout") {
			t.Error(state.Stop.Detail)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		s := setRealStage(t, "codex")
		id := begin(s, func(*loops.Spec) {})
		if state := s.settled(id, loops.Failed, loops.FailProvider); !strings.Contains(state.Stop.Detail, "Connection failed") {
			t.Error(state.Stop.Detail)
		}
	})
}
