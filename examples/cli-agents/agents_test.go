//go:build unix

package cliagents

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/judge"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/loopfile"
	"example.com/loop-mcp/loops/loopstest"
)

// agents are the command lines; each has a loop file.
var agents = []string{"claude", "codex", "gemini", "opencode"}

// The sessions of the recordings.
const (
	claudeSession   = "17bbf2ec-2125-4db0-9308-e7832fb54404"
	codexSession    = "01a1fe25-0e51-7462-81e8-eba10b28b558"
	geminiSession   = "84ec786c-0241-4249-a8c6-1d580167b089"
	opencodeSession = "ses_e01d91ac3ffeDLLDhDzz84Jx4w"
)

// world is an engine that works on loops of a stage.
type world struct {
	*loops.Engine
	*stage
	t    *testing.T
	stop func() // ends the work and waits for it
}

// open starts an engine on store. Programs see the variables passed, too.
func (s *stage) open(t *testing.T, store loops.Store, passed ...string) *world {
	t.Helper()
	policy, runner := command.Policy{PassEnv: append(passed, stageVariable)}, &command.Runner{}
	e := loops.New(store, loops.Parts{
		Bodies: map[string]loops.Body{loops.BodyCommand: &command.Body{Policy: policy, Runner: runner}},
		Stops:  judge.Stops(policy, runner, nil),
	}, nil)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	w := &world{Engine: e, stage: s, t: t}
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		w.stop = func() {}
	}
	t.Cleanup(func() { w.stop() })
	return w
}

// start starts the loop file of an agent as it is, but for change.
func (w *world) start(agent string, change func(*loops.Spec)) loops.ID {
	w.t.Helper()
	f, err := loopfile.Load(filepath.Join(w.project, agent+".loop.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	f.Spec.Retry.Initial = loops.Duration(time.Millisecond)
	if change != nil {
		change(&f.Spec)
	}
	out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: f.Spec, Source: loops.SourceCommandLine, Dir: f.Dir})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, warning := range out.Warnings {
		if !strings.HasPrefix(warning, "limits.max_tool_calls:") { // counted all the same, see docs/cli-agents.md
			w.t.Error(warning)
		}
	}
	return out.ID
}

func (w *world) settled(id loops.ID, status loops.Status, reason loops.StopReason) loops.State {
	w.t.Helper()
	s, timedOut, err := w.Wait(w.t.Context(), id, 0, loops.ForSettled, time.Hour, nil)
	if err != nil || timedOut {
		w.t.Fatalf("Wait: timed out %t, %v", timedOut, err)
	}
	if s.Status != status || s.Stop.Reason != reason {
		w.t.Fatalf("ended as %s (%s): %s; want %s (%s)", s.Status, s.Stop.Reason, s.Stop.Detail, status, reason)
	}
	return s
}

// wantResumed checks which starts continued a session: "" for a new one.
func (w *world) wantResumed(id loops.ID, want ...string) []call {
	w.t.Helper()
	calls := w.calls(w.t, id)
	got := make([]string, len(calls))
	for i, c := range calls {
		if at := slices.IndexFunc(c.Args, func(a string) bool { return a == "--resume" || a == "resume" || a == "--session" }); at >= 0 {
			got[i] = strings.Join(c.Args[at+1:], " ")
		}
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("the starts continued %q, want %q", got, want)
	}
	return calls
}

func (w *world) wantUsage(s loops.State, tokens int64, cost loops.USD) {
	w.t.Helper()
	if s.Ledger.TotalTokens != tokens || s.Ledger.CostUSD != cost {
		w.t.Errorf("%d tokens and %s, want %d and %s", s.Ledger.TotalTokens, s.Ledger.CostUSD, tokens, cost)
	}
}

// claim lets the worker's word decide, where the checks do not matter.
func claim(s *loops.Spec) {
	s.Until = &loops.Until{All: []loops.Condition{{Kind: loops.StopPredicate, Expression: `output == "The second answer."`}}}
}

// TestAgentsWorkUntilTheTestsPass with the loop files as they are: two passes,
// the second in the session of the first, with what the tests said.
func TestAgentsWorkUntilTheTestsPass(t *testing.T) {
	for _, tt := range []struct {
		agent, session string
		tokens         int64
		cost           loops.USD
		enforcement    loops.Enforcement // of max_cost_usd
		flag           string            // of the second start
	}{
		{"claude", claudeSession, 4160, 19_200, loops.PerIteration, "--max-budget-usd=4.988"},
		{"codex", codexSession, 4160, 0, loops.NotMetered, "--disable=goals"},
		{"gemini", geminiSession, 4160, 0, loops.NotMetered, "--model=gemini-2.5-pro"},
		{"opencode", opencodeSession, 4160, 14_400, loops.PerIteration, "--format=json"},
	} {
		t.Run(tt.agent, func(t *testing.T) {
			w := setStage(t, step{Print: []string{tt.agent + "-tool"}}, step{Print: []string{tt.agent + "-resumed"}, Fix: true}).open(t, loopstest.NewMemory())
			id := w.start(tt.agent, nil)
			s := w.settled(id, loops.Completed, loops.GoalCommand)
			w.wantUsage(s, tt.tokens, tt.cost)
			if s.Ledger.Starts != 2 || s.Ledger.Passes != 2 || s.Output.Text != "The second answer." {
				t.Errorf("%+v, output %q", s.Ledger, s.Output.Text)
			}
			if got := s.Enforcements(); got.MaxCostUSD != tt.enforcement || got.MaxTotalTokens != loops.PerIteration {
				t.Errorf("enforcement %+v", got)
			}
			calls := w.wantResumed(id, "", tt.session)
			for _, c := range calls {
				if !strings.Contains(c.Stdin, "Make `go test ./...` succeed") || !strings.Contains(c.Stdin, "the answer is wrong") || strings.Contains(c.Stdin, tt.session) {
					t.Errorf("a prompt without goal or feedback, or with what is not the worker's:\n%s", c.Stdin)
				}
				if money := strings.Contains(c.Stdin, "of $5.00"); money != (tt.enforcement == loops.PerIteration) {
					t.Errorf("the prompt speaks of money: %t\n%s", money, c.Stdin)
				}
			}
			if !slices.Contains(calls[1].Args, tt.flag) {
				t.Errorf("%s is not in %q", tt.flag, calls[1].Args)
			}
		})
	}
}

// TestTheDocsTellEachArgument of the loop files.
func TestTheDocsTellEachArgument(t *testing.T) {
	docs, err := os.ReadFile("../../docs/cli-agents.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, agent := range agents {
		f, err := loopfile.Load(agent + ".loop.yaml")
		if err != nil {
			t.Fatal(err)
		}
		told := append(slices.Concat(f.Spec.Body.Run[1:], f.Spec.Body.Resume), slices.Collect(maps.Keys(f.Spec.Body.Env))...)
		for _, arg := range told {
			if name, _, _ := strings.Cut(arg, "{{"); !strings.Contains(string(docs), strings.TrimSuffix(name, "=")) {
				t.Errorf("docs/cli-agents.md does not tell %s of %s.loop.yaml", arg, agent)
			}
		}
	}
}

// TestALostSessionIsNoFailure: the agent's files were removed, or belong to
// another home. The next start begins a new session.
func TestALostSessionIsNoFailure(t *testing.T) {
	for _, tt := range []struct {
		agent, session string
		lost           step
	}{
		{"claude", claudeSession, step{Print: []string{"claude-unknown"}, Stderr: "No conversation found with session ID: x\n", Exit: 1}},
		{"codex", codexSession, step{Stderr: "Error: thread/resume: thread/resume failed: no rollout found for thread id x (code -32600)\n", Exit: 1}},
		{"gemini", geminiSession, step{Stderr: "Error resuming session: Invalid session identifier \"x\".\n", Exit: 42}},
		{"opencode", opencodeSession, step{Stderr: "\x1b[91m\x1b[1mError: \x1b[0mSession not found\n", Exit: 1}},
	} {
		t.Run(tt.agent, func(t *testing.T) {
			w := setStage(t, step{Print: []string{tt.agent + "-tool"}}, tt.lost, step{Print: []string{tt.agent + "-resumed"}}).open(t, loopstest.NewMemory())
			id := w.start(tt.agent, claim)
			s := w.settled(id, loops.Completed, loops.GoalPredicate)
			w.wantResumed(id, "", tt.session, "")
			if s.Ledger.Starts != 3 || s.Ledger.Iterations != 2 || s.Ledger.Failures != 0 {
				t.Errorf("%+v", s.Ledger)
			}
		})
	}
}

// TestWhatAShutdownCutsOffGoesOnInItsSession in another process.
func TestWhatAShutdownCutsOffGoesOnInItsSession(t *testing.T) {
	stage := setStage(t, step{Print: []string{"claude-tool"}}, step{Print: []string{"claude-cut"}, Hang: true, Replace: map[string]string{"5d0c8a11": claudeSession}},
		step{Print: []string{"claude-resumed"}})
	alive := stage.listen(t)
	store := loopstest.NewMemory()
	first := stage.open(t, store)
	id := first.start("claude", claim)
	gone := alive(2) // the second start and its child are there
	first.stop()
	gone()
	second := stage.open(t, store)
	s := second.settled(id, loops.Completed, loops.GoalPredicate)
	second.wantResumed(id, "", claudeSession, claudeSession)
	if s.Ledger.Starts != 3 || s.Ledger.Failures != 0 {
		t.Errorf("%+v", s.Ledger)
	}
	// What the cut off start had told of by then counts, too.
	second.wantUsage(s, 2600+92+1560, 19_200)
}

// TestAnAgentThatNeverEndsIsEndedWithItsChildren: Codex waits for a network for
// ever, unless it is told not to.
func TestAnAgentThatNeverEndsIsEndedWithItsChildren(t *testing.T) {
	stage := setStage(t, step{Print: []string{"codex-tool"}}, step{Print: []string{"codex-unreachable"}, Hang: true, Replace: map[string]string{"turn.failed": "error", "01a1fe25-b04f-7373-aa84-c62c44911731": codexSession}},
		step{Print: []string{"codex-resumed"}})
	alive := stage.listen(t)
	w := stage.open(t, loopstest.NewMemory())
	id := w.start("codex", func(s *loops.Spec) {
		claim(s)
		s.Limits.IterationTimeout = loops.Duration(2 * time.Second)
	})
	gone := alive(2)
	gone()
	s := w.settled(id, loops.Completed, loops.GoalPredicate)
	w.wantResumed(id, "", codexSession, codexSession)
	if s.Ledger.Starts != 3 || s.Ledger.Failures != 0 {
		t.Errorf("%+v", s.Ledger)
	}
}

// listen returns a function that waits until n processes of a hanging step are
// there. What that returns waits until they are gone.
func (s *stage) listen(t *testing.T) (alive func(n int) (gone func())) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(s.dir, "alive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func(n int) func() {
		conns := make([]net.Conn, n)
		for i := range conns {
			if conns[i], err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(conns[i]).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return func() {
			for _, conn := range conns {
				_, _ = io.Copy(io.Discard, conn) // ends with the process
				conn.Close()
			}
		}
	}
}

// TestTheBudgetHoldsBetweenStarts: what Claude Code spent counts also when its
// own budget ended it, and the loop's limit ends the loop.
func TestTheBudgetHoldsBetweenStarts(t *testing.T) {
	spent := step{Print: []string{"claude-budget-stream"}, Exit: 1}
	w := setStage(t, spent, spent, spent).open(t, loopstest.NewMemory())
	id := w.start("claude", func(s *loops.Spec) {
		claim(s)
		s.Limits.MaxCostUSD, s.Limits.MaxFailures = 14_000, 9
	})
	s := w.settled(id, loops.Capped, loops.CapCost)
	w.wantUsage(s, 2*1560, 14_400)
	calls := w.calls(t, id)
	if len(calls) != 2 || !slices.Contains(calls[0].Args, "--max-budget-usd=0.014") || !slices.Contains(calls[1].Args, "--max-budget-usd=0.0068") {
		t.Errorf("%+v", calls)
	}
	if want := "Reached maximum budget ($0.0001)"; !strings.Contains(calls[1].Stdin, want) {
		t.Errorf("the feedback lacks %q:\n%s", want, calls[1].Stdin)
	}
}

// TestTokensHoldBetweenStarts, where Codex reports the total of its thread.
func TestTokensHoldBetweenStarts(t *testing.T) {
	again := step{Print: []string{"codex-resumed"}, Replace: map[string]string{"4000": "5500", "160": "220", "second": "third"}}
	w := setStage(t, step{Print: []string{"codex-tool"}}, step{Print: []string{"codex-resumed"}, Replace: map[string]string{"second": "next"}}, again).open(t, loopstest.NewMemory())
	id := w.start("codex", func(s *loops.Spec) {
		claim(s)
		s.Limits.MaxTotalTokens = 5000
	})
	w.wantUsage(w.settled(id, loops.Capped, loops.CapTokens), 5720, 0)
	w.wantResumed(id, "", codexSession, codexSession)
}

// TestABusyProviderIsWaitedFor and costs no failed iteration.
func TestABusyProviderIsWaitedFor(t *testing.T) {
	for _, agent := range agents {
		t.Run(agent, func(t *testing.T) {
			w := setStage(t, step{Print: []string{agent + "-429"}, Stderr: "noise\n", Exit: 1}, step{Print: []string{agent + "-resumed"}}).open(t, loopstest.NewMemory())
			id := w.start(agent, claim)
			s := w.settled(id, loops.Completed, loops.GoalPredicate)
			if s.Ledger.Starts != 2 || s.Ledger.Iterations != 1 || s.Ledger.Failures != 0 {
				t.Errorf("%+v", s.Ledger)
			}
			calls := w.wantResumed(id, "", "") // nothing was said that could be continued
			if second := calls[1].Stdin; !strings.Contains(second, "429") && !strings.Contains(second, "Rate limited") {
				t.Errorf("the next prompt does not say why:\n%s", second)
			}
		})
	}
}

// TestASubscriptionsLimitCostsNoStart: the same start goes on when it is over.
func TestASubscriptionsLimitCostsNoStart(t *testing.T) {
	resets := fmt.Sprint(time.Now().Unix() + 2)
	w := setStage(t, step{Print: []string{"claude-limit"}, Replace: map[string]string{"RESETS": resets}, Exit: 1}, step{Print: []string{"claude-resumed"}}).open(t, loopstest.NewMemory())
	id := w.start("claude", claim)
	s := w.settled(id, loops.Completed, loops.GoalPredicate)
	if s.Ledger.Starts != 1 || s.Ledger.Failures != 0 || len(w.calls(t, id)) != 2 {
		t.Errorf("%+v, %d calls", s.Ledger, len(w.calls(t, id)))
	}
}

// TestAWrongKeyEndsTheLoopAtOnce: no repetition mends it.
func TestAWrongKeyEndsTheLoopAtOnce(t *testing.T) {
	for _, agent := range agents {
		t.Run(agent, func(t *testing.T) {
			w := setStage(t, step{Print: []string{agent + "-401"}, Exit: 1}).open(t, loopstest.NewMemory())
			id := w.start(agent, claim)
			s := w.settled(id, loops.Failed, loops.FailProvider)
			if s.Ledger.Starts != 1 || !strings.Contains(s.Stop.Detail, agent+" reports") {
				t.Errorf("%+v: %s", s.Ledger, s.Stop.Detail)
			}
		})
	}
}

// TestTwoLoopsInOneFolderKeepTheirSessions: the latest session of the folder is
// the other one's as often as not.
func TestTwoLoopsInOneFolderKeepTheirSessions(t *testing.T) {
	stage := setStage(t, step{Print: []string{"opencode-tool"}}, step{Print: []string{"opencode-tool"}}, step{Print: []string{"opencode-resumed"}})
	store := loopstest.NewMemory()
	one := stage.open(t, store)
	first := one.start("opencode", claim)
	one.settled(first, loops.Completed, loops.GoalPredicate)
	const other = "ses_00000000000000000000other"
	mine := map[string]string{opencodeSession: other}
	stage.play(t, step{Print: []string{"opencode-tool"}, Replace: mine}, step{Print: []string{"opencode-resumed"}, Replace: mine})
	second := one.start("opencode", claim)
	one.settled(second, loops.Completed, loops.GoalPredicate)
	one.wantResumed(first, "", opencodeSession, opencodeSession)
	one.wantResumed(second, "", other)
}
