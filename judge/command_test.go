//go:build unix

package judge

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

func script(text string) []string { return []string{"/bin/sh", "-c", text} }

func TestCommandVerdicts(t *testing.T) {
	long := `head -c 300000 /dev/zero | tr '\000' x; echo; echo "--- FAIL: TestParse"; exit 1`
	tests := []struct {
		name             string
		c                loops.Condition
		met              bool
		reason, feedback string
	}{
		{"met", loops.Condition{Run: script("echo fine")}, true, "exit 0", ""},
		{"not met", loops.Condition{Run: script("echo bad; exit 1")}, false, "exit 1", "bad"},
		{"both streams in order", loops.Condition{Run: script("echo 1; echo 2 >&2; echo 3; exit 1")}, false, "exit 1", "1\n2\n3"},
		{"another exit wanted", loops.Condition{Run: script("exit 3"), Exit: 3}, true, "exit 3", ""},
		{"success where another exit is wanted", loops.Condition{Run: script("echo x"), Exit: 3}, false, "exit 0, not 3", "x"},
		{"nothing printed", loops.Condition{Run: []string{"false"}}, false, "exit 1", "false: exit 1; it printed nothing"},
		{"colours", loops.Condition{Run: script(`printf '\033[31mred\033[0m\n'; exit 1`)}, false, "exit 1", "red"},
		{"signal", loops.Condition{Run: script("kill -KILL $$")}, false, "ended by a signal (killed)", "it printed nothing"},
		{"timeout", loops.Condition{Run: script("echo begun; exec sleep 600"), Timeout: loops.Duration(200 * time.Millisecond)}, false, "timed out after 200ms", "begun"},
		{"timeout, although the exit code fits", loops.Condition{Run: script("exec 2>/dev/null; trap 'exit 0' TERM; echo begun; while :; do sleep 0.02; done"), Timeout: loops.Duration(200 * time.Millisecond)},
			false, "timed out after 200ms", "begun"},
		{"long", loops.Condition{Run: script(long)}, false, "exit 1", "--- FAIL: TestParse"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Kind = loops.StopCommand
			v, err := new(Command).Judge(t.Context(), loops.Evidence{
				Loop: "demo-aaaa", Iteration: 3, Pass: 2, Source: loops.SourceLibrary, Dir: t.TempDir(), Config: config(t, tt.c)})
			if err != nil || v.Met != tt.met || v.Reason != tt.reason || tt.feedback == "" && v.Feedback != "" || !strings.HasSuffix(v.Feedback, tt.feedback) {
				t.Errorf("got %t, %q, %q, %v", v.Met, v.Reason, v.Feedback, err)
			}
			if len(v.Feedback) > feedbackTail+10 {
				t.Errorf("the feedback has %d bytes", len(v.Feedback))
			}
			if v.Kind != loops.StopCommand || v.Iteration != 3 || v.Pass != 2 || v.SelfReported || v.Fingerprint == "" {
				t.Errorf("got %+v", v)
			}
			if len(v.Evidence) != 1 || !v.Evidence[0].Observed || v.Evidence[0].Source != commandLine(tt.c.Run) || len(v.Evidence[0].Hash) != 64 {
				t.Errorf("evidence %+v", v.Evidence)
			}
		})
	}
}

func TestCommandEvidenceHashIsOfTheWholeOutput(t *testing.T) {
	v, err := new(Command).Judge(t.Context(), loops.Evidence{Source: loops.SourceLibrary, Config: config(t, loops.Condition{Run: []string{"printf", "abc"}})})
	if want := digest("abc"); err != nil || v.Evidence[0].Hash != want || v.Evidence[0].Text != "abc" {
		t.Errorf("got %+v, %v; want %s", v.Evidence, err, want)
	}
}

func TestCommandThatCannotRunIsAnError(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		source loops.Source
		c      loops.Condition
		want   string
	}{
		"not found":   {loops.SourceLibrary, loops.Condition{Run: []string{"no-such-program"}}, `"no-such-program" was not found on PATH`},
		"not allowed": {loops.SourceTool, loops.Condition{Run: []string{"false"}}, `run "false" is not allowed for specs that come through a tool: ask the operator to run: loop-mcp allow false`},
		"no folder":   {loops.SourceLibrary, loops.Condition{Run: []string{"false"}, Cwd: "nowhere"}, "does not exist"},
		"broken":      {loops.SourceLibrary, loops.Condition{Run: []string{broken}}, "check its run and cwd"},
		"bad exit":    {loops.SourceLibrary, loops.Condition{Run: []string{"false"}, Exit: 256}, "exit: must be an exit code from 0 to 255, got 256"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Command{Policy: command.Policy{Roots: []string{"/"}}}
			v, err := c.Judge(t.Context(), loops.Evidence{Source: tt.source, Dir: t.TempDir(), Config: config(t, tt.c)})
			if err == nil || !strings.Contains(err.Error(), tt.want) || v.Met {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestCommandCheck(t *testing.T) {
	c := Command{Policy: command.Policy{Roots: []string{t.TempDir()}, Allow: func() []string { return []string{"false"} }}}
	check := func(cond loops.Condition, dir string) []string {
		var fields []string
		for _, e := range loops.FieldErrors(c.Check(loops.Setup{Config: config(t, cond), Source: loops.SourceTool, Dir: dir})) {
			fields = append(fields, e.Field)
		}
		return fields
	}
	if got := check(loops.Condition{Run: []string{"false"}}, c.Policy.Roots[0]); got != nil {
		t.Errorf("refused: %q", got)
	}
	if got := check(loops.Condition{Run: []string{"true"}}, t.TempDir()); !slices.Equal(got, []string{"run", "cwd"}) {
		t.Errorf("got %q", got)
	}
	if got := check(loops.Condition{Run: []string{"false"}, Exit: -1}, c.Policy.Roots[0]); !slices.Equal(got, []string{"exit"}) {
		t.Errorf("got %q", got)
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	emit := func(l loops.Live) {
		if l.Text == "ready\n" {
			cancel(loops.ErrCancelNow)
		}
	}
	v, err := new(Command).Judge(ctx, loops.Evidence{Source: loops.SourceLibrary, Emit: emit,
		Config: config(t, loops.Condition{Run: script("echo ready; exec sleep 600")})})
	if !errors.Is(err, loops.ErrCancelNow) || v.Met {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestFingerprintIgnoresWhatChangesByItself(t *testing.T) {
	fingerprint := func(text string) string {
		v, err := new(Command).Judge(t.Context(), loops.Evidence{Source: loops.SourceLibrary, Config: config(t, loops.Condition{Run: []string{"printf", "%s", text}})})
		if err != nil {
			t.Fatal(err)
		}
		return v.Fingerprint
	}
	for _, same := range [][2]string{
		{"--- FAIL: TestParse (0.00s)", "--- FAIL: TestParse (1.25s)"},
		{"ok  \texample\t0.003s", "ok  \texample\t(cached)"},
		{"Time: 1.234 s", "Time: 2 s"},
		{"done in 1m2.5s", "done in 59s"},
		{"took 12ms", "took 900µs"},
		{"2026-11-20T14:00:01Z boom", "2026-11-21T09:13:59.123+02:00 boom"},
		{"2026/11/20 14:00:01 boom", "2026/11/20 14:00:02 boom"},
		{"at 14:00:01.5 boom", "at 14:00:09 boom"},
		{"panic at 0xc000012345", "panic at 0xc000fffff0"},
		{"goroutine 17 [running]", "goroutine 4 [running]"},
		{"server (pid 4711) died", "server (pid 12) died"},
		{"app[4711]: died", "app[99812]: died"},
		{"open /tmp/go-build123/b001/x.go", "open /tmp/go-build987/b001/x.go"},
		{"\x1b[31mFAIL\x1b[0m", "FAIL"},
	} {
		if fingerprint(same[0]) != fingerprint(same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	for _, other := range [][2]string{
		{"--- FAIL: TestParse (0.00s)", "--- FAIL: TestPrint (0.00s)"},
		{"2 tests failed", "3 tests failed"},
		{"open /tmp/a/parse.go:3", "open /tmp/a/print.go:3"},
		{"/home/tmp/a", "/home/tmp/b"},
		{"parse.go:12: got 1", "parse.go:13: got 1"},
		{"got[2]: 1", "got[3]: 1"},
		{"want 0.5", "want 0.6"},
	} {
		if fingerprint(other[0]) == fingerprint(other[1]) {
			t.Errorf("%q and %q are the same", other[0], other[1])
		}
	}
}

func TestFingerprintOfLongOutput(t *testing.T) {
	fingerprint := func(text string) string {
		w := &witness{whole: sha256.New()}
		w.Write([]byte(text))
		return digest(w.stable(text[max(0, len(text)-64<<10):]))
	}
	base := strings.Repeat("line\n", witnessHead/4)
	if fingerprint(base+"one") == fingerprint(base+"two") || fingerprint("one"+base) == fingerprint("two"+base) {
		t.Error("head and tail of a long output must count")
	}
}

func TestFingerprintKnowsTheExitCode(t *testing.T) {
	var prints []string
	for _, text := range []string{"exit 1", "exit 2"} {
		v, err := new(Command).Judge(t.Context(), loops.Evidence{Source: loops.SourceLibrary, Config: config(t, loops.Condition{Run: script(text)})})
		if err != nil {
			t.Fatal(err)
		}
		prints = append(prints, v.Fingerprint)
	}
	if prints[0] == prints[1] {
		t.Error("two exit codes, one fingerprint")
	}
}

func TestCommandLineIsForReading(t *testing.T) {
	if got, want := commandLine([]string{"go", "test", "-run", "A|B", "", "a b"}), `go test -run "A|B" "" "a b"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for d, want := range map[time.Duration]string{10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Second: "1m30s", 200 * time.Millisecond: "200ms", 70 * time.Minute: "1h10m"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestStopsFillTheMenu(t *testing.T) {
	got := Stops(command.Policy{}, nil, nil)
	for _, kind := range []string{loops.StopPredicate, loops.StopCommand} {
		if _, ok := got[kind].(loops.Checker); !ok {
			t.Errorf("%s: %T is no Checker", kind, got[kind])
		}
	}
	if len(got) != 2 {
		t.Errorf("got %d kinds", len(got))
	}
}
