//go:build unix

package command

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

// ground is a machine in a temporary folder: programs on PATH, a home, a
// workspace with programs of its own.
type ground struct{ root, bin, home, work string }

func newGround(t *testing.T) ground {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := ground{root, filepath.Join(root, "bin"), filepath.Join(root, "home"), filepath.Join(root, "home", "work")}
	const program = "#!/bin/sh\n"
	write(t, filepath.Join(g.root, "opt", "go"), program, 0o755)
	write(t, filepath.Join(g.root, "opt", "box"), program, 0o755)
	write(t, filepath.Join(g.bin, "make"), program, 0o755)
	write(t, filepath.Join(g.home, "bin", "tool"), program, 0o755)
	write(t, filepath.Join(g.work, "go"), program, 0o755)
	write(t, filepath.Join(g.work, "bin", "jest"), program, 0o755)
	write(t, filepath.Join(g.work, "sub", "text"), "", 0o644)
	write(t, filepath.Join(g.root, "away", "text"), "", 0o644)
	for link, target := range map[string]string{
		filepath.Join(g.bin, "go"):        filepath.Join(g.root, "opt", "go"), // as package managers do
		filepath.Join(g.bin, "ls"):        filepath.Join(g.root, "opt", "box"),
		filepath.Join(g.bin, "sh"):        filepath.Join(g.root, "opt", "box"), // BusyBox
		filepath.Join(g.bin, "planted"):   filepath.Join(g.work, "go"),
		filepath.Join(g.work, "ls"):       filepath.Join(g.bin, "ls"),
		filepath.Join(g.work, "elsewher"): filepath.Join(g.root, "away"),
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", g.home)
	t.Setenv("PATH", strings.Join([]string{g.bin, filepath.Join(g.home, "bin"), filepath.Join(g.work, "bin"), "."}, ":"))
	return g
}

func TestPolicyOnPrograms(t *testing.T) {
	g := newGround(t)
	const ask = "ask the operator to run: loop-mcp allow "
	tests := []struct {
		name, allow, run, want string // want: part of the refusal; empty: allowed
	}{
		{"nothing is allowed", "", "go", `run "go" is not allowed for specs that come through a tool: ` + ask + "go"},
		{"the same name", "go", "go", ""},
		{"one of several", "make,go", "go", ""},
		{"another name", "make", "go", ask + "go"},
		{"everything", "*", g.work + "/go", ""},
		{"spaces around", " go ", "go", ""},
		{"absolute entry, the link", g.bin + "/go", "go", ""},
		{"absolute entry, the file behind the link", g.root + "/opt/go", "go", ""},
		{"absolute entry, absolute run", g.root + "/opt/go", g.bin + "/go", ""},
		{"entry below home", "~/bin/tool", "tool", ""},
		{"a path never matches a bare name", "go", g.bin + "/go", ask + g.bin + "/go"},
		{"a program of the workspace named like an allowed one", "go", "./go", ask + g.work + "/go"},
		{"the same by its absolute path", "go", g.work + "/go", ask + g.work + "/go"},
		{"the same by a detour", "go", "sub/../go", ask + g.work + "/go"},
		{"a workspace folder on PATH", "jest", "jest", "inside the workspace, where a worker can change it: " + ask + g.work + "/bin/jest"},
		{"that file is allowed by name", g.work + "/bin/jest", "jest", ""},
		{"a link on PATH into the workspace", "planted", "planted", "inside the workspace"},
		{"a link in the workspace to an allowed file", g.bin + "/ls", "./ls", ask + g.work + "/ls"},
		{"one file under two names", "ls", "sh", ask + "sh"},
		{"one file under two names, by path", g.bin + "/ls", "sh", ask + "sh"},
		{"a relative entry means nothing", "./go", "./go", ask},
		{"not on PATH", "go", "cargo", `the program "cargo" was not found on PATH`},
		{"not there", "*", "./cargo", g.work + "/cargo can't be run: no such file or directory"},
		{"not executable", "*", "sub/text", "can't be run: permission denied"},
		{"a folder", "*", "./sub", "can't be run"},
		{"empty", "*", "", "must name a program"},
		{"NUL", "*", "go\x00", "NUL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Roots: []string{"~"}, Allow: func() []string { return strings.Split(tt.allow, ",") }}
			c, err := p.Prepare(Job{Source: loops.SourceTool, Dir: g.work, Run: []string{tt.run, "arg"}})
			checkRefusal(t, err, "run", tt.want)
			if err == nil && (!filepath.IsAbs(c.Path) || c.Argv[0] != tt.run || c.Dir != g.work) {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func checkRefusal(t *testing.T, err error, field, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	found := loops.FieldErrors(err)
	if len(found) != 1 || found[0].Field != field || !strings.Contains(found[0].Problem, want) {
		t.Errorf("got %v, want %s: … %s …", err, field, want)
	}
}

func TestPolicyBySource(t *testing.T) {
	g := newGround(t)
	for source, want := range map[loops.Source]string{
		loops.SourceTool: "is not allowed", loops.SourceTrustedFile: "", loops.SourceCommandLine: "", loops.SourceLibrary: "",
	} {
		t.Run(string(source), func(t *testing.T) {
			_, err := Policy{Roots: []string{"~"}}.Prepare(Job{Source: source, Dir: g.work, Run: []string{"./go"}})
			checkRefusal(t, err, "run", want)
		})
	}
}

func TestAllowIsAskedEachTime(t *testing.T) {
	g := newGround(t)
	var allowed []string
	p := Policy{Roots: []string{"~"}, Allow: func() []string { return allowed }}
	job := Job{Source: loops.SourceTool, Dir: g.work, Run: []string{"go"}}
	if _, err := p.Prepare(job); err == nil {
		t.Error("allowed before")
	}
	allowed = []string{"go"}
	if _, err := p.Prepare(job); err != nil {
		t.Errorf("refused after: %v", err)
	}
}

func TestHomeIsNoWorkspace(t *testing.T) {
	g := newGround(t)
	p := Policy{Roots: []string{"/"}, Allow: func() []string { return []string{"tool"} }}
	for _, dir := range []string{g.home, g.root, "/"} {
		_, err := p.Prepare(Job{Source: loops.SourceTool, Dir: dir, Run: []string{"tool"}})
		checkRefusal(t, err, "run", "")
	}
}

func TestPolicyOnFolders(t *testing.T) {
	g := newGround(t)
	outside := "is outside the folders that loops may work in"
	tests := []struct {
		name   string
		source loops.Source
		roots  []string
		cwd    string
		want   string // part of the refusal
		dir    string
	}{
		{"left out", loops.SourceTool, []string{"~"}, "", "", g.work},
		{"relative", loops.SourceTool, []string{"~"}, "sub", "", g.work + "/sub"},
		{"home", loops.SourceTool, []string{"~"}, "~/bin", "", g.home + "/bin"},
		{"the root itself", loops.SourceTool, []string{g.work}, ".", "", g.work},
		{"above", loops.SourceTool, []string{g.work}, "..", outside, ""},
		{"a folder with the root's name as prefix", loops.SourceTool, []string{g.root + "/aw"}, g.root + "/away", outside, ""},
		{"through a link", loops.SourceTool, []string{"~"}, "elsewher", outside, ""},
		{"a trusted file is held to roots too", loops.SourceTrustedFile, []string{"~"}, g.root, outside, ""},
		{"no roots, tool", loops.SourceTool, nil, "", "roots: none", ""},
		{"no roots, command line", loops.SourceCommandLine, nil, g.root, "", g.root},
		{"roots, command line", loops.SourceCommandLine, []string{"~"}, g.root, "", g.root},
		{"no roots, library", loops.SourceLibrary, nil, "", "", g.work},
		{"missing", loops.SourceTool, []string{"~"}, "nowhere", "the folder " + g.work + "/nowhere does not exist", ""},
		{"a file", loops.SourceTool, []string{"~"}, "sub/text", "is not a folder", ""},
		{"another user's home is not expanded", loops.SourceTool, []string{"~"}, "~root", g.work + "/~root does not exist", ""},
		{"NUL", loops.SourceTool, []string{"~"}, "a\x00", "NUL", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Policy{Roots: tt.roots, Allow: func() []string { return []string{"*"} }}
			c, err := p.Prepare(Job{Source: tt.source, Dir: g.work, Run: []string{"make"}, Cwd: tt.cwd})
			checkRefusal(t, err, "cwd", tt.want)
			if c.Dir != tt.dir {
				t.Errorf("got folder %q, want %q", c.Dir, tt.dir)
			}
		})
	}
}

func TestAllProblemsComeTogether(t *testing.T) {
	g := newGround(t)
	_, err := Policy{}.Prepare(Job{Source: loops.SourceTool, Dir: g.work, Run: []string{"go"}, Cwd: "nowhere", Env: map[string]string{"A=B": ""}})
	var fields []string
	for _, e := range loops.FieldErrors(err) {
		fields = append(fields, e.Field)
	}
	if want := []string{"run", "cwd", "env.A=B"}; !slices.Equal(fields, want) {
		t.Errorf("got %q, want %q", fields, want)
	}
}

func TestInheritedEnvironmentIsExact(t *testing.T) {
	host := []string{
		"PATH=/bin", "HOME=/h", "LANG=C", "LC_ALL=C", "LC_=", "TMPDIR=/t", "XDG_CACHE_HOME=/c", "GOFLAGS=-mod=mod", "GOPROXY=https://user:pw@proxy",
		"ANTHROPIC_API_KEY=k", "OPENAI_API_KEY=k", "AWS_SECRET_ACCESS_KEY=k", "GITHUB_TOKEN=k", "SSH_AUTH_SOCK=s", "LD_PRELOAD=x", "NAMED=1", "NAMED_NOT=1",
		"LOOP_ID=outer", "LOOP_MCP_PARENT=outer", "LOOP_MCP_RUN=outer", "LOOP_MCP_TOKEN=k", "LOOP_MCP_HOME=/l", "STAR=1",
	}
	p := Policy{PassEnv: []string{"NAMED", "ST*", "LOOP_MCP_PARENT"}, Env: map[string]string{"LOOP_MCP_HOME": "/l/whole", "NAMED": "2", "WHERE": "there"}}
	var got []string
	for name, value := range p.inherited(host) {
		got = append(got, name+"="+value)
	}
	slices.Sort(got)
	want := []string{"GOFLAGS=-mod=mod", "HOME=/h", "LANG=C", "LC_ALL=C", "LOOP_MCP_HOME=/l/whole", "NAMED=1", "PATH=/bin", "TMPDIR=/t", "WHERE=there", "XDG_CACHE_HOME=/c"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSpecEnvironment(t *testing.T) {
	g := newGround(t)
	allowAll := Policy{Roots: []string{"~"}, Allow: func() []string { return []string{"*"} }}
	tests := []struct {
		source      loops.Source
		name, value string
		want        string
	}{
		{loops.SourceTool, "CI", "1", ""},
		{loops.SourceTool, "LANG", "de_DE", ""},
		{loops.SourceTool, "LOOP_MCP_PARENT", "", "is set by loop-mcp itself"},
		{loops.SourceLibrary, "LOOP_MCP_PARENT", "other", "is set by loop-mcp itself"},
		{loops.SourceLibrary, "LOOP_MCP_RUN", "", "is set by loop-mcp itself"},
		{loops.SourceTool, "LD_PRELOAD", "x.so", "decides which code a program loads"},
		{loops.SourceTool, "PATH", ".", "decides which code a program loads"},
		{loops.SourceTrustedFile, "PATH", "/bin", ""},
		{loops.SourceTool, "", "x", "is not a name"},
		{loops.SourceTool, "A", "x\x00", "NUL"},
	}
	for _, tt := range tests {
		t.Run(string(tt.source)+" "+tt.name, func(t *testing.T) {
			c, err := allowAll.Prepare(Job{Source: tt.source, Dir: g.work, Run: []string{"make"}, Loop: "demo-aaaa", Iteration: 3, Pass: 2,
				Env: map[string]string{tt.name: tt.value}})
			checkRefusal(t, err, "env."+tt.name, tt.want)
			if tt.want != "" {
				return
			}
			for _, pair := range []string{tt.name + "=" + tt.value, "LOOP_ID=demo-aaaa", "LOOP_MCP_PARENT=demo-aaaa", "LOOP_ITERATION=3", "LOOP_PASS=2"} {
				if !slices.Contains(c.Env, pair) {
					t.Errorf("%s is missing in %q", pair, c.Env)
				}
			}
		})
	}
}
