package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// client is an MCP client of a loop-mcp of its own.
type client struct {
	b      *box
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *watched
	id     int
}

func (b *box) connect(args ...string) *client {
	b.t.Helper()
	c := &client{b: b, cmd: b.command(args...), stderr: newWatched()}
	c.cmd.Stderr = c.stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.close)
	c.request("initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "test", "version": "1"}})
	if err := c.send(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"}); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// close ends the connection, as clients do; the server must end by itself.
func (c *client) close() {
	if c.cmd.ProcessState != nil {
		return
	}
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		c.b.t.Errorf("the server ended with %v\n%s", err, c.stderr.text())
	}
}

func (c *client) send(message any) error {
	line, err := json.Marshal(message)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	return err
}

func (c *client) request(method string, params any) map[string]any {
	c.b.t.Helper()
	result, err := c.exchange(method, params)
	if err != nil {
		c.b.t.Fatalf("%s: %v\n%s", method, err, c.stderr.text())
	}
	return result
}

// exchange is request for a server that may be killed meanwhile.
func (c *client) exchange(method string, params any) (map[string]any, error) {
	c.id++
	if err := c.send(map[string]any{"jsonrpc": "2.0", "id": c.id, "method": method, "params": params}); err != nil {
		return nil, err
	}
	for {
		line, err := c.out.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var reply struct {
			ID     int
			Result map[string]any
			Error  any
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, fmt.Errorf("stdout carries something else than the protocol: %s", line)
		}
		if reply.Error != nil {
			return nil, fmt.Errorf("%v", reply.Error)
		}
		if reply.ID == c.id {
			return reply.Result, nil
		}
	}
}

// call calls a tool; text is its answer when it is an error.
func (c *client) call(tool string, arguments map[string]any) (answer map[string]any, text string) {
	c.b.t.Helper()
	return answerOf(c.request("tools/call", map[string]any{"name": tool, "arguments": arguments}))
}

func answerOf(result map[string]any) (answer map[string]any, text string) {
	if result["isError"] == true {
		content, _ := result["content"].([]any)
		first, _ := content[0].(map[string]any)
		return nil, fmt.Sprint(first["text"])
	}
	answer, _ = result["structuredContent"].(map[string]any)
	return answer, ""
}

// keepClient is what the helper does as a client: it starts a server, lets it
// open the store, and hangs.
func keepClient() int {
	cmd := exec.Command(os.Getenv("LOOP_PROGRAM"))
	cmd.Env = append(os.Environ(), "LOOP_HELPER=")
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	fmt.Fprintln(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	fmt.Fprintln(in, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"loop_list","arguments":{}}}`)
	_ = cmd.Wait()
	return 0
}

func TestServeWorksOnLoops(t *testing.T) {
	for _, args := range [][]string{nil, {"serve"}, {"serve", "--stdio"}} {
		b := newBox(t)
		b.write("config/loop-mcp/loops/good.loop.yaml", readFile(t, b.loop("good", "count", scoreThree)))
		c := b.connect(args...)
		tools, _ := c.request("tools/list", nil)["tools"].([]any)
		if len(tools) < 8 || exists(filepath.Join(b.dir, "store")) {
			t.Errorf("%d tools; the store exists: %v", len(tools), exists(filepath.Join(b.dir, "store")))
		}
		answer, problem := c.call("loop_start", map[string]any{"loop_file": "good", "wait_seconds": 20})
		if problem != "" {
			t.Fatal(problem)
		}
		answer, problem = c.call("loop_wait", map[string]any{"loop_id": answer["loop_id"], "wait_seconds": 40, "for": "settled"})
		if problem != "" || answer["status"] != "completed" {
			t.Errorf("the loop is %v, %s", answer, problem)
		}
		c.close()
		b.want(0, []string{"ls"}, "good-", "completed")
	}
}

func TestRestingLoopsGoOnWhenAClientComes(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("slow", "slow", "until: {all: [{kind: claim}]}")})
	id := b.only("slow")
	c := b.connect()
	b.write("go-on", "")
	// Nothing but the first message: no call asks for the store until the lock is seen.
	b.untilFile(filepath.Join("store", "LOCK"))
	answer, problem := c.call("loop_wait", map[string]any{"loop_id": id, "wait_seconds": 40, "for": "settled"})
	if problem != "" || answer["status"] != "completed" {
		t.Errorf("the loop is %v, %s", answer, problem)
	}
}

func TestAllowWorksWithoutARestart(t *testing.T) {
	b := newBox(t)
	c := b.connect()
	start := map[string]any{"goal": "g", "body": map[string]any{"kind": "command", "run": []string{"go", "version"}, "cwd": b.dir},
		"until": map[string]any{"all": []any{map[string]any{"kind": "claim"}}}, "dry_run": true}
	if _, problem := c.call("loop_start", start); !strings.Contains(problem, "loop-mcp allow go") {
		t.Errorf("the refusal does not say how: %q", problem)
	}
	b.want(0, []string{"allow", "go"})
	if _, problem := c.call("loop_start", start); problem != "" {
		t.Errorf("allowed, and still refused: %s", problem)
	}
	b.want(0, []string{"allow", "--remove", "go"})
	if _, problem := c.call("loop_start", start); problem == "" {
		t.Error("taken back, and still allowed")
	}
}

func TestTrustedFilesByName(t *testing.T) {
	b := newBox(t)
	file := b.write(".loops/good.loop.yaml", readFile(t, b.loop("good", "count", scoreThree)))
	c := b.connect()
	start := func(name string) string {
		_, problem := c.call("loop_start", map[string]any{"loop_file": name, "dry_run": true})
		return problem
	}
	if problem := start("good"); !strings.Contains(problem, "loop-mcp trust "+file) {
		t.Errorf("an untrusted file: %q", problem)
	}
	b.want(0, []string{"trust", file})
	if problem := start("good"); problem != "" {
		t.Errorf("a trusted file: %s", problem)
	}
	b.write(".loops/good.loop.yaml", readFile(t, file)+"# changed\n")
	if problem := start("good"); !strings.Contains(problem, "changed") {
		t.Errorf("a file that changed: %q", problem)
	}
	for _, name := range []string{"nope", "../good", "/etc/passwd", ".loops/good", "GOOD"} {
		if problem := start(name); problem == "" {
			t.Errorf("%q was started", name)
		}
	}
}

// TestABodyCannotReachItsLoop runs loop-mcp below a body, as that body would.
func TestABodyCannotReachItsLoop(t *testing.T) {
	b := newBox(t)
	b.want(6, []string{"run", b.loop("human", "count", "until: {all: [{kind: human, question: Good?}]}")})
	id := b.only("human")
	b.env = append(b.env, "LOOP_MCP_PARENT="+id)
	r := b.run("approve", id)
	if r.code != 1 || !strings.Contains(r.stderr, id) {
		t.Errorf("a body approved its own loop: %d %s %s", r.code, r.stdout, r.stderr)
	}
	b.env = append(b.env, "LOOP_MCP_PARENT=")
	b.want(0, []string{"show", id}, "needs_input")
}

// A loop that comes through a tool has files hashed for it: only where loops
// may read.
func TestProtectedFilesOutsideTheRootsAreRefused(t *testing.T) {
	b := newBox(t)
	b.write("config/loop-mcp/config.yaml", "roots: [~/inside]\n")
	c := b.connect()
	_, problem := c.call("loop_start", map[string]any{"goal": "g", "protect": []string{"*.txt"},
		"until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "good?"}}}})
	if !strings.Contains(problem, "protect: ") || !strings.Contains(problem, "roots: "+filepath.Join(b.dir, "inside")) {
		t.Errorf("protect outside the roots: %q", problem)
	}
}
