//go:build unix

package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
)

func turn(t *testing.T, spec loops.BodySpec) loops.Turn {
	t.Helper()
	spec.Kind = loops.BodyCommand
	config, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return loops.Turn{Loop: "demo-aaaa", Iteration: 4, Pass: 2, Attempt: 1, Config: config, Source: loops.SourceLibrary, Dir: t.TempDir()}
}

// kindOf tells how the engine takes an error. Package loops keeps that to
// itself, so errors are compared with ones that it makes.
func kindOf(err error) string {
	if err == nil {
		return "iteration"
	}
	inner := errors.Unwrap(err)
	switch {
	case inner != nil && reflect.DeepEqual(err, loops.Permanent(inner)):
		return "permanent"
	case inner != nil && reflect.DeepEqual(err, loops.Transient(inner, 0)):
		return "transient"
	}
	return "failed"
}

func TestBodyByExit(t *testing.T) {
	long := "head -c 20000 /dev/zero | tr '\\000' y >&2; echo >&2; echo the end >&2; exit 1"
	tests := []struct {
		name, script, usage, kind, text string
		tokens                          int64
	}{
		{"success", "echo ok", "", "iteration", "", 0},
		{"usage", `echo '{"output":"x","usage":{"total_tokens":7}}'`, loops.UsageJSON, "iteration", "", 7},
		{"failure with stderr", "echo out; echo went wrong >&2; exit 3", "", "failed", "exit 3: went wrong", 0},
		{"failure with stdout alone", "echo went wrong; exit 3", "", "failed", "exit 3: went wrong", 0},
		{"failure without words", "exit 3", "", "failed", "exit 3", 0},
		{"failure keeps usage", `echo '{"output":"x","usage":{"total_tokens":7}}'; echo bad >&2; exit 1`, loops.UsageJSON, "failed", "exit 1: bad", 7},
		{"colours are not for feedback", `printf '\033[31mred\033[0m' >&2; exit 1`, "", "failed", "exit 1: red", 0},
		{"only the tail", long, "", "failed", "the end", 0},
		{"temporary", "echo busy >&2; exit 75", "", "transient", "exit 75 (a fault that may pass): busy", 0},
		{"signal", "kill -KILL $$", "", "failed", "ended by a signal (killed)", 0},
		{"wrong usage", `echo '{"usage":{"total_tokens":-7}}'`, loops.UsageJSON, "failed", "usage.total_tokens must not be negative", 0},
		{"claude's own words", `echo '{"type":"result","subtype":"error_max_turns","is_error":true,"usage":{"input_tokens":7}}'; exit 1`,
			loops.UsageClaudeJSON, "failed", "exit 1: claude reports error_max_turns", 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b Body
			got, err := b.Run(t.Context(), turn(t, loops.BodySpec{Run: script(tt.script), Usage: tt.usage}))
			if kindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %s: %v; want %s: %s", kindOf(err), err, tt.kind, tt.text)
			}
			if err != nil && len(err.Error()) > feedbackTail+100 {
				t.Errorf("the text has %d bytes", len(err.Error()))
			}
			if got.Usage.TotalTokens != tt.tokens || got.Done != (err == nil) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestBodyThatCannotStartIsPermanent(t *testing.T) {
	dir := t.TempDir()
	broken := write(t, filepath.Join(dir, "broken"), "#!/no/such/interpreter\n", 0o755)
	for name, change := range map[string]func(*loops.Turn, *loops.BodySpec){
		"not found":       func(_ *loops.Turn, s *loops.BodySpec) { s.Run = []string{"no-such-program"} },
		"no interpreter":  func(_ *loops.Turn, s *loops.BodySpec) { s.Run = []string{broken} },
		"not allowed":     func(turn *loops.Turn, _ *loops.BodySpec) { turn.Source = loops.SourceTool },
		"no folder":       func(_ *loops.Turn, s *loops.BodySpec) { s.Cwd = "nowhere" },
		"unknown usage":   func(_ *loops.Turn, s *loops.BodySpec) { s.Usage = "xml" },
		"broken settings": func(turn *loops.Turn, s *loops.BodySpec) { s.Name = "broken" },
	} {
		t.Run(name, func(t *testing.T) {
			tn, spec := turn(t, loops.BodySpec{}), loops.BodySpec{Run: script("true")}
			change(&tn, &spec)
			tn.Config, _ = json.Marshal(spec)
			if spec.Name == "broken" {
				tn.Config = json.RawMessage(`{"run":5}`)
			}
			var b Body
			if _, err := b.Run(t.Context(), tn); kindOf(err) != "permanent" {
				t.Errorf("got %s: %v", kindOf(err), err)
			}
		})
	}
}

func TestBodyAtTheIterationTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var b Body
	got, err := b.Run(ctx, turn(t, loops.BodySpec{Usage: loops.UsageClaudeJSON, Run: script(
		`echo '{"type":"assistant","message":{"id":"m","usage":{"input_tokens":5}}}'; exec sleep 600`)}))
	if kindOf(err) != "transient" || !strings.Contains(err.Error(), "iteration's time limit") {
		t.Errorf("got %s: %v", kindOf(err), err)
	}
	if got.Usage.TotalTokens != 5 {
		t.Errorf("what it had used is lost: %+v", got.Usage)
	}
}

func TestBodyWhenCancelled(t *testing.T) {
	got, emit := lines()
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { next(t, got, "ready"); cancel(loops.ErrCancelled) }()
	tn := turn(t, loops.BodySpec{Run: script("echo ready; exec sleep 600")})
	tn.Emit = emit
	var b Body
	if _, err := b.Run(ctx, tn); !errors.Is(err, loops.ErrCancelled) || kindOf(err) != "failed" {
		t.Errorf("got %s: %v", kindOf(err), err)
	}
}

func TestBodyHandsOverPromptAndMemory(t *testing.T) {
	tn := turn(t, loops.BodySpec{Env: map[string]string{"A": "b c"}, Run: script(
		`cat; echo "|$A|$LOOP_ID|$LOOP_ITERATION|$LOOP_PASS|$LOOP_MCP_PARENT|$(cat $LOOP_MEMORY_FILE)|$(ls -l $LOOP_MEMORY_FILE | cut -c1-10)|$LOOP_MEMORY_FILE"`)})
	tn.Prompt, tn.Memory = "the goal", json.RawMessage(`{"n":1}`)
	var b Body
	got, err := b.Run(t.Context(), tn)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.TrimSpace(got.Output), "|")
	file := parts[len(parts)-1]
	if want := `the goal|b c|demo-aaaa|4|2|demo-aaaa|{"n":1}|-rw-------|` + file; strings.Join(parts, "|") != want {
		t.Errorf("got  %s\nwant %s", got.Output, want)
	}
	if file == "" || exists(file) {
		t.Errorf("the memory file %q is still there", file)
	}
	tn.Memory = nil
	if got, err = b.Run(t.Context(), tn); err != nil || !strings.HasSuffix(got.Output, "|\n") {
		t.Errorf("without memory: %q, %v", got.Output, err)
	}
}

func TestBodyCheck(t *testing.T) {
	g := newGround(t)
	b := Body{Policy: Policy{Roots: []string{"~"}, Allow: func() []string { return []string{"go"} }}}
	check := func(config string) error {
		return b.Check(loops.Setup{Config: json.RawMessage(config), Source: loops.SourceTool, Dir: g.work})
	}
	if err := check(`{"kind":"command","run":["go","test"],"cwd":"sub"}`); err != nil {
		t.Errorf("refused: %v", err)
	}
	checkRefusal(t, check(`{"run":["make"]}`), "run", `run "make" is not allowed`)
	checkRefusal(t, check(`{"run":["go"],"cwd":"nowhere"}`), "cwd", "does not exist")
	checkRefusal(t, check(`{"run":["go"],"usage":"xml"}`), "usage", `got "xml"`)
	checkRefusal(t, check(`{"run":"go"}`), "", "not readable")
	if _, err := os.Stat(filepath.Join(g.work, "nowhere")); err == nil {
		t.Error("a check made a folder")
	}
}

// TestBodyContinuesASession: its id goes behind run and resume. A session that
// is not there any more costs one more start, not the worker's failures.
func TestBodyContinuesASession(t *testing.T) {
	const began = `{"type":"thread.started","thread_id":"thread-7"}`
	const answered = began + "\n" + `{"type":"item.completed","item":{"type":"agent_message","text":"'"$*"'"}}`
	for _, tt := range []struct {
		name, script, memory string
		kind, text           string // of the error; else of the output
		kept                 string
	}{
		{"the first start", `echo '` + answered + `'`, ``, "iteration", "", `{"session":"thread-7"}`},
		{"the next one", `echo '` + answered + `'`, `{"session":"thread-6"}`, "iteration", "resume thread-6", `{"session":"thread-7"}`},
		{"it fails", `echo '` + began + `'; exit 3`, `{"session":"thread-7"}`, "failed", "exit 3", `{"session":"thread-7"}`},
		{"it is not there", `echo no such thread >&2; exit 1`, `{"session":"thread-7","sessions":[{"id":"thread-7","input_tokens":5,"output_tokens":1}]}`, "transient",
			"session thread-7 was not continued; the next start begins a new one: exit 1: no such thread", `{"sessions":[{"id":"thread-7","input_tokens":5,"output_tokens":1}]}`},
		{"no session, no luck", `echo no such thread >&2; exit 1`, ``, "failed", "exit 1: no such thread", ``},
		{"killed before it said a word", `kill -KILL $$`, `{"session":"thread-7"}`, "failed", "ended by a signal", ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tn := turn(t, loops.BodySpec{Usage: loops.UsageCodexJSON, Run: append(script(tt.script), "sh"), Resume: []string{"resume"}})
			tn.Memory = json.RawMessage(tt.memory)
			var b Body
			got, err := b.Run(t.Context(), tn)
			said := got.Output
			if err != nil {
				said = err.Error()
			}
			if kindOf(err) != tt.kind || err == nil && said != tt.text || !strings.Contains(said, tt.text) || string(got.Memory) != tt.kept {
				t.Errorf("%s: %q, memory %s; want %s: %q, %s", kindOf(err), said, got.Memory, tt.kind, tt.text, tt.kept)
			}
		})
	}
}

// TestCodexsWordsComeBeforeItsChatter: Codex says on stderr that it reads stdin,
// and in its report what went wrong.
func TestCodexsWordsComeBeforeItsChatter(t *testing.T) {
	var b Body
	_, err := b.Run(t.Context(), turn(t, loops.BodySpec{Usage: loops.UsageCodexJSON, Run: script(
		`echo 'Reading prompt from stdin...' >&2; echo '{"type":"turn.failed","error":{"message":"no such model"}}'; exit 1`)}))
	if err == nil || err.Error() != "exit 1: codex reports: no such model" {
		t.Errorf("got %v", err)
	}
}
