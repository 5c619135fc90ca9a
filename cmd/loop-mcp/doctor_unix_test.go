//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/internal/disktest"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// diagnosis is what loop-mcp doctor --json says.
type diagnosis struct {
	Checks []examination
	Broken int
}

func (b *box) diagnose(code int, args ...string) (d diagnosis, r result) {
	b.t.Helper()
	r = b.run(append([]string{"doctor", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		b.t.Fatalf("%v\n%s\n%s", err, r.stdout, r.stderr)
	}
	if r.code != code {
		b.t.Errorf("exit code %d, want %d\n%s", r.code, code, r.stdout)
	}
	return d, r
}

// has fails unless there is such a finding.
func (d diagnosis) has(t *testing.T, name string, l level, text, remedy string) {
	t.Helper()
	for _, c := range d.Checks {
		for _, f := range c.Findings {
			if c.Name == name && f.Level == l && strings.Contains(f.Text, text) && strings.Contains(f.Remedy, remedy) {
				return
			}
		}
	}
	t.Errorf("%s has no finding %s with %q and the remedy %q in\n%+v", name, l, text, remedy, d.Checks)
}

// TestDoctorOfAHealthyMachine finds nothing broken and leaves nothing behind.
func TestDoctorOfAHealthyMachine(t *testing.T) {
	b := newDesk(t)
	if err := os.Symlink(program, filepath.Join(b.dir, "bin/loop-mcp")); err != nil {
		t.Fatal(err)
	}
	b.want(0, []string{"setup", "codex", "cursor"})
	b.env = append(b.env, "ANTHROPIC_API_KEY=sk-do-not-show")
	d, r := b.diagnose(0)
	d.has(t, "clients", levelOK, "Codex", "")
	d.has(t, "clients", levelOK, "this program", "")
	d.has(t, "server", levelOK, "tools after", "")
	d.has(t, "store", levelOK, "there is no store", "")
	d.has(t, "models", levelOK, "smart is anthropic", "")
	d.has(t, "models", levelNote, "Cursor, started from a window", "env of the client's entry")
	if strings.Contains(r.stdout+r.stderr, "do-not-show") {
		t.Error("a key is shown")
	}
	if exists(filepath.Join(b.dir, "store")) {
		t.Error("the doctor made a store")
	}
	b.want(0, []string{"doctor"}, "0 broken", "→ set it for the whole session")
}

// TestDoctor shows each fault on a machine that has it.
func TestDoctor(t *testing.T) {
	config := func(text string) func(*box) {
		return func(b *box) { b.write(".config/loop-mcp/config.yaml", text) }
	}
	cursor := func(entry string) func(*box) {
		return func(b *box) { b.write(".cursor/mcp.json", "{\n\"mcpServers\": {\n\"loop\": "+entry+"}}") }
	}
	env := func(pair string) func(*box) { return func(b *box) { b.env = append(b.env, pair) } }
	all := func(steps ...func(*box)) func(*box) {
		return func(b *box) {
			for _, step := range steps {
				step(b)
			}
		}
	}
	for name, test := range map[string]struct {
		prepare      func(*box)
		check        string
		level        level
		text, remedy string
	}{
		"a client starts what is gone":       {cursor(`{"command": "/gone/loop-mcp"}`), "clients", levelBroken, "line 3) starts /gone/loop-mcp, which is not there", "loop-mcp setup cursor"},
		"a client's file is broken":          {func(b *box) { b.write(".cursor/mcp.json", "{\n'a'}") }, "clients", levelBroken, "line 2", "mend the file"},
		"a client starts a name nobody has":  {cursor(`{"command": "loop-mcp"}`), "clients", levelBroken, "not on PATH", "loop-mcp setup cursor"},
		"a client of a window starts a name": {all(cursor(`{"command": "loop-mcp"}`), func(b *box) { b.script("loop-mcp", "exec "+program+` "$@"`) }), "clients", levelNote, "another PATH than this terminal", "loop-mcp setup cursor"},
		"a client starts a relative path":    {cursor(`{"command": "./loop-mcp"}`), "clients", levelBroken, "depends on the folder", "writes the whole path"},
		"a client starts a folder": {all(cursor(`{"command": "/"}`), func(b *box) {
			b.write("x/loop-mcp/y", "")
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+b.dir+`/x/loop-mcp"}}}`)
		}), "clients", levelBroken, "is a folder", "loop-mcp setup cursor"},
		"a client starts what may not be run": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+b.write("x/loop-mcp", "")+`"}}}`)
		}, "clients", levelBroken, "may not be run", "chmod +x"},
		"a client starts an older program": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+b.script("loop-mcp", `echo '{"version": "v0.0.1"}'`)+`"}}}`)
		}, "clients", levelNote, "version v0.0.1", "loop-mcp setup cursor"},
		"a client starts another loop-mcp": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+b.script("loop-mcp", "echo hi")+`"}}}`)
		}, "clients", levelBroken, "does not say its version", "loop-mcp setup cursor"},
		"a client passes unknown arguments": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+linked(b)+`", "args": ["serve", "--studio"]}}}`)
		}, "clients", levelBroken, "--studio", "take them out"},
		"a client passes what is no server": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+linked(b)+`", "args": ["ls"]}}}`)
		}, "clients", levelBroken, "is no MCP server", "take them out"},
		"a client has two entries": {func(b *box) {
			p := linked(b)
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+p+`"}, "loops": {"command": "`+p+`"}}}`)
		}, "clients", levelNote, "each tool is there twice", "loop-mcp setup cursor --name loops --remove"},
		"a client has another store": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+linked(b)+`", "env": {"LOOP_MCP_HOME": "/other"}}}}`)
		}, "clients", levelNote, "keeps its loops in /other", "LOOP_MCP_HOME=/other loop-mcp ls"},
		"nobody serves a client over HTTP": {func(b *box) {
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"url": "http://127.0.0.1:1/mcp"}}}`)
		}, "clients", levelBroken, "where nobody listens", "loop-mcp serve --http 127.0.0.1:1"},
		"a client's entry for one folder": {func(b *box) {
			b.write(".claude.json", `{"projects": {"`+b.dir+`": {"mcpServers": {"loop": {"command": "/gone/loop-mcp"}}}}}`)
		}, "clients", levelBroken, "for this folder) starts /gone/loop-mcp", "claude mcp remove"},
		"no client has it":                   {func(*box) {}, "clients", levelNote, "no client", "loop-mcp setup CLIENT"},
		"it is not on PATH":                  {func(*box) {}, "program", levelNote, "not on PATH", "add "},
		"it is in a temporary folder":        {func(*box) {}, "program", levelNote, "temporary files", "put it where it stays"},
		"another one is on PATH":             {func(b *box) { b.script("loop-mcp", "") }, "program", levelNote, "is another one", "remove one"},
		"the configuration is broken":        {config("workers: 3\nworker: 4\n"), "configuration", levelBroken, "did you mean workers?", "mend that line"},
		"others may write the configuration": {all(config("workers: 3\n"), func(b *box) { _ = os.Chmod(filepath.Join(b.dir, ".config/loop-mcp/config.yaml"), 0o666) }), "configuration", levelNote, "others may write", "chmod go-w"},
		"the list of programs can't be read": {func(b *box) { b.write(".config/loop-mcp/allow/x", "") }, "configuration", levelBroken, "allow", "mend or remove"},
		"a variable is misspelt":             {env("LOOP_MCP_ALLOWED_COMMANDS=go"), "configuration", levelNote, "did you mean LOOP_MCP_ALLOW_COMMANDS?", "correct or unset"},
		"an allowed program is not there":    {config("allow_commands: [no-such-program]\n"), "programs", levelNote, "no-such-program is allowed and not there", "loop-mcp allow --remove no-such-program"},
		"a window does not find a program": {all(config("allow_commands: [tool]\n"), func(b *box) {
			b.script("tool", "")
			b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"command": "`+linked(b)+`"}}}`)
		}), "programs", levelNote, "Cursor, started from a window, may not look there", "loop-mcp allow "},
		"an MCP server of agents is not there": {config("mcp_servers: {files: {command: no-such-server}}\n"), "programs", levelBroken, "no-such-server", "mcp_servers.files.command"},
		"nobody is told":                       {config("notify: [/no/such/notifier]\n"), "programs", levelBroken, "/no/such/notifier", "mend notify"},
		"a model has no key":                   {config("models: {smart: {provider: openai, model: m, api_key_env: MY_KEY}}\n"), "models", levelBroken, "set MY_KEY", "set the variable"},
		"a root is not there":                  {config("roots: [/no/such/folder]\n"), "folders", levelNote, "/no/such/folder, which is not there", "correct roots"},
		"a root is a file":                     {all(config("roots: [~/file]\n"), func(b *box) { b.write("file", "") }), "folders", levelBroken, "is no folder", "correct roots"},
		"a loop file is not trusted":           {func(b *box) { b.write(".loops/a.loop.yaml", "goal: x\n") }, "folders", levelNote, "is not trusted", "loop-mcp trust "},
		"a loop file has mistakes":             {func(b *box) { b.write(".config/loop-mcp/loops/a.loop.yaml", "gaol: x\n") }, "folders", levelNote, "has mistakes", "loop-mcp validate "},
		"the data folder is below a file":      {all(env("LOOP_MCP_HOME=/etc/passwd/x")), "store", levelBroken, "there is no store in /etc/passwd/x, and none can be made there", "LOOP_MCP_HOME"},
		"NATS servers do not answer":           {env("LOOP_MCP_NATS_URL=nats://127.0.0.1:1"), "nats", levelBroken, "127.0.0.1:1", "nats.url"},
		"the token of HTTP is not set":         {config("http: {token_env: MY_TOKEN}\n"), "http", levelBroken, "MY_TOKEN", "set the variable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newDesk(t)
			test.prepare(b)
			code := 0
			if test.level == levelBroken {
				code = 1
			}
			d, _ := b.diagnose(code)
			d.has(t, test.check, test.level, test.text, test.remedy)
			if exists(filepath.Join(b.dir, "store")) {
				t.Error("the doctor made a store")
			}
		})
	}
}

// linked is the built program under its own name.
func linked(b *box) string {
	b.t.Helper()
	path := filepath.Join(b.dir, "opt/loop-mcp")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Symlink(program, path); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// TestDoctorSaysThatTheDiskIsSmall before it is full.
func TestDoctorSaysThatTheDiskIsSmall(t *testing.T) {
	disk := disktest.Small(t, 4<<20)
	b := newDesk(t)
	b.env = append(b.env, "LOOP_MCP_HOME="+filepath.Join(disk.Dir, "data"))
	d, _ := b.diagnose(0)
	d.has(t, "disk", levelNote, "has 4 MiB left; with less than 512 MiB, hundreds of loops that come to their end together go several times slower", "make room")
	disk.Fill(0)
	d, _ = b.diagnose(1)
	d.has(t, "disk", levelBroken, "is full: 0 KiB free", "make room")
}

// TestDoctorLooksAtLoops: those that wait for somebody, one that nobody can run,
// and one that is damaged.
func TestDoctorLooksAtLoops(t *testing.T) {
	b := newDesk(t)
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	human := b.only("human")
	b.env = append(b.env, "ANTHROPIC_API_KEY=x")
	b.want(0, []string{"start", b.write("writer.loop.yaml", "name: writer\ngoal: g\nbody: {kind: agent, model: smart}\n")})
	writer := b.only("writer")
	d, _ := b.diagnose(0)
	d.has(t, "loops", levelNote, "wait for a person: "+human, "loop-mcp show "+human)
	d.has(t, "loops", levelNote, "no process works on loops: "+writer, "loop-mcp serve --detach")
	b.env = append(b.env, "ANTHROPIC_API_KEY=")
	d, _ = b.diagnose(0)
	d.has(t, "loops", levelNote, writer+" is queued", "loop-mcp show "+writer+" --view why")

	blocks, err := filepath.Glob(filepath.Join(b.dir, "store/store/jetstream/*/streams/KV_LOOPS/msgs/1.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	data := []byte(readFile(t, blocks[0]))
	at := bytes.LastIndex(data, []byte(human)) + len(human) + 4
	data[at] ^= 0x55
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, _ = b.diagnose(1)
	d.has(t, "loops", levelBroken, human+" is damaged", "loop-mcp verify")
}

// TestDoctorOfAStoppedHost names it, and does not wait for it.
func TestDoctorOfAStoppedHost(t *testing.T) {
	b := newDesk(t)
	c := b.opened()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer c.cmd.Process.Signal(syscall.SIGCONT)
	d, _ := b.diagnose(1)
	d.has(t, "store", levelBroken, "process "+c.pid(), "kill -CONT "+c.pid())
}

// TestDoctorOfAnotherVersion says so and does not take the store over by looking.
func TestDoctorOfAnotherVersion(t *testing.T) {
	b := newDesk(t)
	m, err := embed.Join(t.Context(), embed.Options{Dir: filepath.Join(b.dir, "store"), Version: "v0.0.1", Role: roleServer})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d, _ := b.diagnose(0)
	d.has(t, "store", levelNote, "is version v0.0.1", "start it anew")
	d.has(t, "store", levelNote, "of version v0.0.1 hosts", "end process")
	if !m.Hosts() {
		t.Error("the doctor has taken the store over")
	}
}

// TestDoctorOfThePort of serve --http: free, ours, another program's.
func TestDoctorOfThePort(t *testing.T) {
	b := newDesk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // a program that speaks something else
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 mail\r\n"))
			conn.Close()
		}
	}()
	b.env = append(b.env, "LOOP_MCP_HTTP_LISTEN="+l.Addr().String())
	d, _ := b.diagnose(0)
	d.has(t, "http", levelNote, "another program listens on "+l.Addr().String(), "choose another address")
	l.Close()
	d, _ = b.diagnose(0)
	d.has(t, "http", levelOK, "nobody listens", "")

	s := b.start("serve", "--http", "--log-level", "debug")
	defer s.wait()
	defer s.signal(syscall.SIGTERM)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
			conn.Close()
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the server never listened")
		}
	}
	b.write(".cursor/mcp.json", `{"mcpServers": {"loop": {"url": "http://`+l.Addr().String()+`/mcp"}}}`)
	d, _ = b.diagnose(0)
	d.has(t, "http", levelOK, "loop-mcp listens", "")
	d.has(t, "clients", levelOK, "where loop-mcp listens", "")
}

// TestDoctorOfAServerThatSpoilsItsOutput: what else is printed there breaks each
// client.
func TestDoctorOfAServerThatSpoilsItsOutput(t *testing.T) {
	b := newDesk(t)
	for text, want := range map[string]string{
		"echo booting…\ncat >/dev/null":                                                     "what is no message: booting",
		"echo 'no such library' >&2; exit 1":                                                "ended before it had answered; it says: no such library",
		`echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}'; cat >/dev/null`:             "it has no tools",
		`echo '{"jsonrpc":"2.0","id":1,"error":{"message":"boom"}}'`:                        "boom",
		`echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{}]}}'; cat >/dev/null; echo bye`: "at its end: bye",
		`echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{}]}}'; cat >/dev/null; exit 4`:   "did not end when its client went",
	} {
		d := &doctor{app: &app{}, executable: b.script("fake", text), environ: os.Environ()}
		e := examination{Level: levelOK}
		d.server(t.Context(), &e)
		if e.Level != levelBroken || !strings.Contains(e.Findings[0].Text, want) || e.Findings[0].Remedy == "" {
			t.Errorf("%s: %+v, want %s", text, e, want)
		}
	}
}

// TestDoctorOfAClockThatWasSetBack.
func TestDoctorOfAClockThatWasSetBack(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for text, d := range map[string]*doctor{
		"fix-7k3q changed in 1h from now": {now: now.Add(-time.Hour)},
		"this machine says that it is 19": {now: time.Unix(0, 0).UTC()},
		"it is 2026-11-21 12:00:30":       {now: now.Add(30 * time.Second)},
	} {
		e := examination{Level: levelOK}
		d.clock(loopsSeen{heads: []loops.Head{{ID: "fix-7k3q", UpdatedAt: now}}}, &e)
		if len(e.Findings) != 1 || !strings.Contains(e.Findings[0].Text, text) {
			t.Errorf("%+v, want %s", e.Findings, text)
		}
		if (e.Level == levelOK) != strings.HasPrefix(text, "it is 2026") {
			t.Errorf("%s: %s", text, e.Level)
		}
	}
}
