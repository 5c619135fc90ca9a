package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/cluster/clustertest"
	"example.com/loop-mcp/kvstate/embed"
)

// on returns the box with NATS servers instead of a store in a folder.
func (b *box) on(url string) *box {
	env := append(append([]string{}, b.env...), "LOOP_MCP_NATS_URL="+url, "LOOP_MCP_HOME="+filepath.Join(b.dir, "none"))
	return &box{t: b.t, dir: b.dir, env: env}
}

// TestLoopsMoveBetweenAFolderAndNATSServers with backup and restore, and go on
// there.
func TestLoopsMoveBetweenAFolderAndNATSServers(t *testing.T) {
	b := newBox(t)
	file := b.loop("count", "count", "until: {any: [{kind: predicate, expression: 'score >= 3.0'}]}\nlimits: {max_passes: 2}")
	b.want(3, []string{"run", file})
	id := b.only("count")
	b.want(0, []string{"backup", "loops.zip"})

	url := clustertest.Start(t, clustertest.Options{Nodes: 1}).URL()
	there := b.on(url)
	there.want(0, []string{"restore", "loops.zip"}, "1 loops and", "restored from")
	if exists(filepath.Join(b.dir, "none")) {
		t.Error("a folder for a store was made")
	}
	if want, got := b.run("show", id), there.run("show", id); want.code != 0 || want.stdout != got.stdout {
		t.Errorf("shown as\n%s%s\nwant\n%s", got.stdout, got.stderr, want.stdout)
	}
	there.want(1, []string{"restore", "loops.zip"}, "the store has loops already", "use an account or servers without loops")
	there.want(0, []string{"verify"}, id, "damaged: 0")
	there.want(0, []string{"approve", id, "--limit", "max_passes=5"}, "completed")

	b.want(0, []string{"backup", "there.zip", "--nats", url}, "1 loops and")
	back := b.home("back")
	back.want(0, []string{"restore", "there.zip"})
	if want, got := there.run("show", id), back.run("show", id); want.code != 0 || want.stdout != got.stdout || !strings.Contains(got.stdout, "completed") {
		t.Errorf("shown as\n%s%s\nwant\n%s", got.stdout, got.stderr, want.stdout)
	}
}

// TestAWorkerWorksOnLoopsOfOthers on NATS servers, is listed, and lets its loops
// rest when it is told to end.
func TestAWorkerWorksOnLoopsOfOthers(t *testing.T) {
	b := newBox(t)
	there := b.on(clustertest.Start(t, clustertest.Options{Nodes: 1}).URL())
	there.want(0, []string{"host"}, "nobody works on them")
	file := there.loop("slow", "slow", "until: {any: [{kind: predicate, expression: 'score >= 2.0'}]}")
	there.want(0, []string{"start", file}, "queued")
	id := there.only("slow")
	worker := there.start("worker", "--workers", "2")
	there.until("nobody works on the loop", func() bool { return strings.Contains(there.run("show", id).stdout, "running") })
	listed := there.answer(there.want(0, []string{"host", "--json"}))
	workers, _ := listed["workers"].([]any)
	if len(workers) != 1 || workers[0].(map[string]any)["pid"] != float64(worker.cmd.Process.Pid) {
		t.Errorf("listed: %v", listed)
	}
	if answer := there.answer(there.want(0, []string{"show", id, "--json"})); !strings.HasPrefix(fmt.Sprint(answer["runs_while"]), fmt.Sprintf("a worker is running (process %d on ", worker.cmd.Process.Pid)) {
		t.Errorf("runs while %v", answer["runs_while"])
	}

	worker.signal(syscall.SIGTERM)
	if r := worker.wait(); r.code != 0 || !strings.Contains(r.stdout, "up to 2 at once") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	there.want(0, []string{"host"}, "nobody works on them")
	there.want(0, []string{"ls"}, id, "queued")
	there.want(0, []string{"show", id, "--json"}, "none is now")

	there.write("go-on", "")
	there.start("worker")
	there.until("the loop was not finished", func() bool { return strings.Contains(there.run("show", id).stdout, "completed") })
}

// TestAWorkerOnTheStoreOfAFolder needs no servers.
func TestAWorkerOnTheStoreOfAFolder(t *testing.T) {
	b := newBox(t)
	worker := b.start("worker")
	file := b.loop("count", "count", "until: {any: [{kind: predicate, expression: 'score >= 3.0'}]}")
	b.until("the loop was not started", func() bool { return b.run("start", file, "--request-id", "one").code == 0 })
	id := b.only("count")
	b.until("the loop was not finished", func() bool { return strings.Contains(b.run("show", id).stdout, "completed") })
	worker.signal(syscall.SIGTERM)
	if r := worker.wait(); r.code != 0 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// TestABackgroundServerOnNATSServers works on their loops, and a second command
// finds it, and not the one of the folder.
func TestABackgroundServerOnNATSServers(t *testing.T) {
	b := newBox(t)
	there := b.on(clustertest.Start(t, clustertest.Options{Nodes: 1}).URL())
	began := there.want(0, []string{"serve", "--detach"}, "A background server works on the loops in nats://")
	var listed []any
	there.until("it does not work on loops", func() bool {
		listed, _ = there.answer(there.want(0, []string{"host", "--json"}))["workers"].([]any)
		return len(listed) == 1
	})
	pid := int(listed[0].(map[string]any)["pid"].(float64))
	t.Cleanup(func() { endLocal(pid) })
	if !strings.Contains(began.stdout, fmt.Sprintf("process %d.", pid)) {
		t.Errorf("process %d: %s", pid, began.stdout)
	}
	again := there.answer(there.want(0, []string{"serve", "--detach", "--json"}))
	if again["started"] != false || again["pid"] != float64(pid) {
		t.Errorf("the second command says %v", again)
	}
	if own := b.detached(); own == pid {
		t.Error("the loops of the folder have no background server of their own")
	}
	there.want(0, []string{"start", there.loop("count", "count", scoreThree)})
	id := there.only("count")
	there.until("the loop was not finished", func() bool { return strings.Contains(there.run("show", id).stdout, "completed") })
	endLocal(pid)
	there.until("it works on", func() bool { return strings.Contains(there.run("host").stdout, "nobody works on them") })
	there.until("it has not left", func() bool {
		entries, err := filepath.Glob(filepath.Join(there.dir, "none", "nats", "*", "runners", "*"))
		return err == nil && len(entries) == 0
	})
}

// endLocal asks a process to end; it may be gone.
func endLocal(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Signal(syscall.SIGTERM)
	}
}

// TestALoopBelowALoopOnNATSServers is a child of it, whichever way the servers
// were named, and not a loop of its own in the folder; nor does a relative name of
// the folder mislead it.
func TestALoopBelowALoopOnNATSServers(t *testing.T) {
	b := newBox(t)
	url := clustertest.Start(t, clustertest.Options{Nodes: 1}).URL()
	there := b.on(url)
	b.write("nats.yaml", fmt.Sprintf("nats: {url: %q}\n", url))
	relative := b.home("relative")
	relative.env = append(relative.env, "LOOP_MCP_HOME=relative")
	tests := map[string]struct {
		in   *box // runs the parent
		more []string
		ls   *box
	}{
		"flag":     {b, []string{"--nats", url}, there},
		"file":     {b, []string{"--config", "nats.yaml"}, there},
		"relative": {relative, nil, relative},
	}
	if err := os.Mkdir(filepath.Join(b.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		child := b.loop("child-"+name, "count", "until: {all: [{kind: claim}]}")
		parent := b.write("parent.loop.yaml", fmt.Sprintf("name: parent-%s\ngoal: test\nbody: {kind: command, cwd: sub, run: [%q, run, %q]}\nuntil: {all: [{kind: claim}]}\n", name, program, child))
		test.in.want(0, append([]string{"run", parent}, test.more...), "completed")
		test.ls.only("parent-" + name)
		test.ls.only("child-" + name)
	}
	for _, store := range []string{"store/store", "sub/relative"} {
		if exists(filepath.Join(b.dir, store)) {
			t.Errorf("a loop went to %s", store)
		}
	}
}

// TestServersThatCantBeUsed: the command line says what to do.
func TestServersThatCantBeUsed(t *testing.T) {
	b := newBox(t)
	b.want(1, []string{"ls", "--nats", "nats://127.0.0.1:1"}, "no NATS server answers at nats://127.0.0.1:1", "check nats.url")
	b.want(2, []string{"ls", "--nats", "http://a"}, "--nats", "nats://")
	b.want(2, []string{"ls", "--creds", "loop.creds"}, "--creds", "nats.url")
	b.want(1, []string{"ls", "--nats", "nats://127.0.0.1:1", "--creds", "none.creds"}, "nats.creds_file", "none.creds")
	b.write("config/loop-mcp/config.yaml", "nats: {url: \"nats://127.0.0.1:1\", creds_file: mine.creds}\n")
	b.want(1, []string{"ls"}, filepath.Join("config", "loop-mcp", "mine.creds"))
}

// TestRestingLoopsGoOnWhenTheServersAreBack: they were away when the client came,
// and no call ever asks for them.
func TestRestingLoopsGoOnWhenTheServersAreBack(t *testing.T) {
	b := newBox(t)
	servers := clustertest.Start(t, clustertest.Options{Nodes: 1})
	there := b.on(servers.URL())
	there.want(0, []string{"start", there.loop("resting", "effect", "until: {all: [{kind: claim}]}")})
	servers.Kill(0)
	c := there.connect()
	(&started{b: there, stderr: c.stderr}).until("resting loops do not go on")
	servers.Begin(0)
	there.untilFile("effects")
}

// TestAHandlerServesLoopsOnNATSServers, whose callers never ask for its lease: it
// has none. With LOOP_MCP_LONG_TESTS its first start takes longer than a lease.
func TestAHandlerServesLoopsOnNATSServers(t *testing.T) {
	b := newBox(t)
	servers := clustertest.Start(t, clustertest.Options{Nodes: 1, URLs: "all:x@", Config: `authorization { users: [ {user: all, password: x}, {user: works, password: x, permissions: {` + workerPermissions(t) + `}},
		{user: serves, password: x, permissions: {publish: ["_INBOX.>"], subscribe: ["loop.handler.>", "_INBOX.>"]}} ] }`})
	there := b.on("nats://works:x@" + servers.Addr(0)) // with those of docs/cluster.md
	c := there.opened()
	b.on("nats://serves:x@" + servers.Addr(0)).handler("work") // with the permissions of docs/handlers.md
	there.write("hold", "")
	id := c.handled(map[string]any{"body": map[string]any{"kind": "handler", "name": "work", "with": map[string]any{"iterations": 2}}})
	there.program(1)
	if s, _ := c.call("loop_inspect", map[string]any{"loop_id": id}); s["runs_while"] != "this client is connected" {
		t.Errorf("runs while %v", s["runs_while"])
	}
	if os.Getenv("LOOP_MCP_LONG_TESTS") != "" {
		<-time.After(cluster.TTL + 10*time.Second)
	}
	if err := os.Remove(filepath.Join(there.dir, "hold")); err != nil {
		t.Fatal(err)
	}
	c.until(id, "completed")
	if p, _ := c.progress(id); p.starts != 2 || p.iteration != 2 || len(there.startsSeen()) != 2 {
		t.Errorf("%+v, programs saw %v", p, there.startsSeen())
	}
}

// workerPermissions are those of docs/cluster.md.
func workerPermissions(t *testing.T) string {
	t.Helper()
	_, text, found := strings.Cut(readFile(t, filepath.Join("..", "..", "docs", "cluster.md")), "publish: [")
	text, _, end := strings.Cut(text, "```")
	if !found || !end {
		t.Fatal("docs/cluster.md has no permissions")
	}
	return "publish: [" + text
}

// TestALongStartOnNATSServersIsNotCutOff: a handler without a lease is not found
// dead for that.
func TestALongStartOnNATSServersIsNotCutOff(t *testing.T) {
	elsewhere := settings{config: config{NATS: natsConfig{URL: "nats://a"}}}
	if elsewhere.handlersAlive(new(cluster.Member)) != nil {
		t.Error("leases are asked for a process that has none")
	}
	if (settings{}).handlersAlive(new(embed.Member)) == nil {
		t.Error("the locks of a folder are not asked")
	}
}
