//go:build unix

package judge

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/model"
)

func run(text string) loops.Look { return loops.Look{Kind: loops.LookCommand, Run: script(text)} }

// collected is what a court's judge would collect.
func (c *court) collected(looks ...loops.Look) []item {
	c.t.Helper()
	c.spec.Evidence = looks
	e := c.e
	e.Config = config(c.t, c.spec)
	b, err := decodeBrief(e.Config, e.Goal)
	if err != nil {
		c.t.Fatal(err)
	}
	items, err := c.judge.collect(c.t.Context(), e, b)
	if err != nil {
		c.t.Fatal(err)
	}
	return items
}

func TestEvidenceOfCommands(t *testing.T) {
	tests := []struct {
		name, script string
		facts        []string
		text         string
	}{
		{"success", "echo fine", []string{"exit code: 0"}, "fine\n"},
		{"failure, both streams", "echo 1; echo 2 >&2; exit 3", []string{"exit code: 3"}, "1\n2\n"},
		{"silence", "exit 1", []string{"exit code: 1", "it printed nothing"}, ""},
		{"only white space", "echo; echo", []string{"exit code: 0", "it printed nothing"}, "\n\n"},
		{"a signal", "kill -KILL $$", []string{"ended by a signal: killed", "it printed nothing"}, ""},
		{"colours and progress", `printf '\033[31mred\033[0m\n10%%\r100%%\n'`, []string{"exit code: 0"}, "red\n100%\n"},
		{"its folder and its name", `pwd; echo $LOOP_ID`, []string{"exit code: 0"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCourt(t, tidesJudge(), tides)
			got := c.collected(run(tt.script))[0]
			want := tt.text
			if want == "" && tt.name == "its folder and its name" {
				real, _ := filepath.EvalSymlinks(c.e.Dir)
				want = real + "\ndemo-aaaa\n"
			}
			if !slices.Equal(got.facts, tt.facts) || got.text != want || !got.observed || got.ref != "E1" || len(got.hash) != 64 || len(got.stable) != 64 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestEvidenceOfALongCommand(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides)
	got := c.collected(run(`echo begin; head -c 300000 /dev/zero | tr '\000' x; echo; echo end`))[0]
	if !strings.HasPrefix(got.text, "begin\n") || !strings.HasSuffix(got.text, "\nend\n") || !strings.Contains(got.text, "bytes left out") {
		t.Errorf("%d bytes", len(got.text))
	}
	other := c.collected(run(`echo begin; head -c 300001 /dev/zero | tr '\000' x; echo; echo end`))[0]
	if got.hash == other.hash {
		t.Error("the hash is not of the whole")
	}
}

func TestEvidenceOfFiles(t *testing.T) {
	c := newCourt(t, tidesJudge(), tides)
	c.file("report.md", "# Report\r\nline\rnext\n")
	c.file("empty.md", "")
	c.file("blank.md", " \n\n")
	c.file("photo.png", "\x89PNG\r\n\x1a\n\x00\x00")
	c.file("latin1.txt", "Gezeiten an der K\xfcste und auf den Inseln")
	c.file("large.log", "first\n"+strings.Repeat("0123456789", 60_000)+"\nlast\n")
	if err := os.Mkdir(filepath.Join(c.e.Dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(c.e.Dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Create(filepath.Join(c.e.Dir, "sparse")); err != nil || f.Truncate(maxFile+1) != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ fact, text string }{
		"report.md":      {"", "# Report\nline\nnext\n"},
		"empty.md":       {"the file is empty", ""},
		"blank.md":       {"the file holds nothing but white space", " \n\n"},
		"photo.png":      {"the file is not text: 10 bytes, SHA-256 ", ""},
		"latin1.txt":     {"", "Gezeiten an der K\uFFFDste und auf den Inseln"},
		"missing.md":     {"the file does not exist", ""},
		"no/such/dir.md": {"the file does not exist", ""},
		"folder":         {"the file is not shown: it is a folder", ""},
		"pipe":           {"the file is not shown: it is no regular file", ""},
		"sparse":         {"the file is not shown: it has 268435457 bytes", ""},
	} {
		got := c.collected(loops.Look{Kind: loops.LookFile, Path: name})[0]
		fact := strings.Join(got.facts, ";")
		if (fact == "") != (want.fact == "") || !strings.HasPrefix(fact, want.fact) || got.text != want.text || !got.observed || got.source != name || got.hash == "" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	large := c.collected(loops.Look{Kind: loops.LookFile, Path: filepath.Join(c.e.Dir, "large.log")})[0]
	if !strings.HasPrefix(large.text, "first\n") || !strings.HasSuffix(large.text, "\nlast\n") || len(large.text) > 2*fileEnds+100 || !strings.Contains(large.text, "bytes left out") {
		t.Errorf("%d bytes", len(large.text))
	}
	if whole, _ := os.ReadFile(filepath.Join(c.e.Dir, "large.log")); large.hash != digest(string(whole)) {
		t.Error("the hash is not of the whole")
	}
}

func TestEvidenceStaysInsideTheRoots(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(secret, []byte("the secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCourt(t, tidesJudge(), tides)
	c.e.Source = loops.SourceTrustedFile
	c.judge.Policy.Roots = []string{c.e.Dir}
	c.file("own.txt", "mine")
	if err := os.Symlink(secret, filepath.Join(c.e.Dir, "link.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(secret), filepath.Join(c.e.Dir, "dir")); err != nil {
		t.Fatal(err)
	}
	for path, shown := range map[string]bool{"own.txt": true, "link.txt": false, "dir/secret.txt": false, "dir/missing.txt": false, secret: false, "../x": false} {
		got := c.collected(loops.Look{Kind: loops.LookFile, Path: path})[0]
		if (got.text != "") != shown || !shown && !strings.Contains(strings.Join(got.facts, ""), "outside the folders that loops may work in") {
			t.Errorf("%s: %+v", path, got)
		}
	}
	c.e.Source = loops.SourceLibrary
	if got := c.collected(loops.Look{Kind: loops.LookFile, Path: "link.txt"})[0]; got.text != "the secret" {
		t.Errorf("%+v", got)
	}
}

func TestCommandsOfEvidenceNeedPermission(t *testing.T) {
	for name, tt := range map[string]struct {
		source loops.Source
		look   loops.Look
		want   string
	}{
		"not allowed": {loops.SourceTool, loops.Look{Kind: "command", Run: []string{"false"}}, "ask the operator to run: loop-mcp allow false"},
		"not there":   {loops.SourceLibrary, loops.Look{Kind: "command", Run: []string{"no-such-program"}}, "was not found on PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := tidesJudge()
			spec.Evidence = []loops.Look{tt.look}
			c := newCourt(t, spec, tides, replies(tidesDone())...)
			c.e.Source = tt.source
			c.judge.Policy.Roots = []string{"/"}
			v, err := c.ask()
			if v.Met || mark(err) != "permanent" || !strings.Contains(err.Error(), tt.want) || c.calls() != 0 {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCollectingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	c := newCourt(t, tidesJudge(), tides)
	c.spec.Evidence = []loops.Look{run("echo ready; exec sleep 600")}
	c.judge.Book = shelf{"": c.models}
	e := c.e
	e.Config, e.Meter = config(t, c.spec), c.meter
	e.Emit = func(l loops.Live) {
		if strings.TrimSpace(l.Text) == "ready" {
			cancel(loops.ErrCancelNow)
		}
	}
	if v, err := c.judge.Judge(ctx, e); !errors.Is(err, loops.ErrCancelNow) || v.Met {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestWorkerCanNotAnswerForTheHost(t *testing.T) {
	spec := tidesJudge()
	spec.Evidence = []loops.Look{{Kind: "output"}, run("echo 'no report'; exit 1")}
	planted := say("done", "", [4]string{"cause", "met", "E1", "The moon raises two bulges of water"}, [4]string{"sources", "met", "E2", "exit code: 0"})
	c := newCourt(t, spec, tides, replies(planted)...)
	v := c.verdict()
	if v.Met || v.Criteria[0].Status != "unknown" || v.Criteria[1].Status != "unknown" || v.SelfReported {
		t.Errorf("%+v", v)
	}
	if text := c.prompt(0); strings.Index(text, "E1 claimed output of the worker") < strings.Index(text, "E2 observed command") {
		t.Error(text)
	}
}

func TestVerdictShowsItsEvidence(t *testing.T) {
	spec := tidesJudge()
	spec.Evidence = []loops.Look{run("echo 'the moon raises tides; sources: harbour office'"), {Kind: "file", Path: "gone.md"}}
	c := newCourt(t, spec, "I wrote the report about tides and moons.", replies(say("done", "", [4]string{"cause", "met", "E1", "the moon raises tides"}, [4]string{"sources", "met", "E1", "sources: harbour office"}))...)
	v := c.verdict()
	if !v.Met || v.SelfReported || len(v.Evidence) != 3 {
		t.Fatalf("%+v", v)
	}
	for i, want := range []struct {
		text     string
		observed bool
	}{{"exit code: 0\nthe moon raises tides; sources: harbour office\n", true}, {"the file does not exist\n", true}, {"I wrote the report about tides and moons.", false}} {
		if got := v.Evidence[i]; got.Text != want.text || got.Observed != want.observed || len(got.Hash) != 64 || got.Source == "" {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

func TestJudgeCheck(t *testing.T) {
	inside := t.TempDir()
	m := Model{Book: shelf{"fast": {loopstest.NewModel(model.Info{})}}}
	m.Policy.Roots, m.Policy.Allow = []string{inside}, func() []string { return []string{"true"} }
	long := strings.Repeat("x", maxCriterion+1)
	tests := []struct {
		name string
		c    loops.Condition
		want []string
	}{
		{"fine", loops.Condition{Question: "Is it good?", Model: "fast", Evidence: []loops.Look{{Kind: "output"}, {Kind: "command", Run: []string{"true"}}, {Kind: "file", Path: "later/report.md"}}}, nil},
		{"nothing to decide", loops.Condition{Model: "fast"}, []string{"question"}},
		{"no such model", loops.Condition{Question: "x", Model: "fsat"}, []string{"model"}},
		{"shapes", loops.Condition{Model: "fast", Criteria: []loops.Criterion{{ID: "C1", Text: "x"}, {ID: "b", Text: " "}, {ID: "b", Text: long}}}, []string{"criteria[0].id", "criteria[1].text", "criteria[2].id", "criteria[2].text"}},
		{"too many", loops.Condition{Model: "fast", Criteria: make([]loops.Criterion, maxCriteria+1)}, []string{"criteria"}},
		{"too long", loops.Condition{Model: "fast", Question: strings.Repeat("x", maxQuestion+1)}, []string{"question"}},
		{"votes", loops.Condition{Model: "fast", Question: "x", Votes: 6}, []string{"votes"}},
		{"evidence", loops.Condition{Model: "fast", Question: "x", Evidence: []loops.Look{{Kind: "photo"}, {Kind: "file"}, {Kind: "output"}, {Kind: "output"}}}, []string{"evidence[0].kind", "evidence[1].path", "evidence[3]"}},
		{"too much evidence", loops.Condition{Model: "fast", Question: "x", Evidence: make([]loops.Look, maxLooks+1)}, []string{"evidence"}},
		{"not allowed", loops.Condition{Model: "fast", Question: "x", Evidence: []loops.Look{{Kind: "command", Run: []string{"false"}}, {Kind: "command"}}}, []string{"evidence[0].run", "evidence[1].run"}},
		{"outside", loops.Condition{Model: "fast", Question: "x", Cwd: t.TempDir(), Evidence: []loops.Look{{Kind: "file", Path: "x.md"}, {Kind: "file", Path: "/etc/passwd"}, {Kind: "command", Run: []string{"true"}}}},
			[]string{"evidence[0].path", "evidence[1].path", "cwd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var fields []string
			err := m.Check(loops.Setup{Config: config(t, tt.c), Source: loops.SourceTool, Dir: inside})
			for _, e := range loops.FieldErrors(err) {
				fields = append(fields, e.Field)
			}
			if !slices.Equal(fields, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %q (%v), want %q", fields, err, tt.want)
			}
		})
	}
}
