//go:build unix

package mcptools

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/internal/leaktest"
)

// TestMain lets the test binary be a server, written by hand so that it can
// misbehave in every way.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fake-server" {
		newFake(os.Args[2:]).serve()
		os.Exit(0)
	}
	os.Exit(leaktest.Run(m))
}

// fakeServer is the configuration of such a server. Traits are words such as
// "paged" or "log=FILE".
func fakeServer(traits ...string) Server {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Server{Command: self, Args: append([]string{"fake-server"}, traits...)}
}

type fake struct {
	traits []string
	in     *bufio.Reader
	gone   bool // the tool echo was taken back
	first  bool
}

func newFake(traits []string) *fake {
	return &fake{traits: traits, in: bufio.NewReader(os.Stdin), first: true}
}

func (f *fake) is(trait string) bool { return slices.Contains(f.traits, trait) }

func (f *fake) value(key string) string {
	for _, t := range f.traits {
		if v, ok := strings.CutPrefix(t, key+"="); ok {
			return v
		}
	}
	return ""
}

type incoming struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name            string          `json:"name"`
		Arguments       json.RawMessage `json:"arguments"`
		Cursor          string          `json:"cursor"`
		ProtocolVersion string          `json:"protocolVersion"`
	} `json:"params"`
}

// record appends a line to the log, which tells what reached the server.
func (f *fake) record(line string) {
	path := f.value("log")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}

func (f *fake) serve() {
	f.record("start")
	fmt.Fprintln(os.Stderr, "fake server here")
	switch {
	case f.is("dies"):
		fmt.Fprintln(os.Stderr, "no token: set FAKE_TOKEN")
		os.Exit(2)
	case f.value("needs") != "":
		if _, err := os.Stat(f.value("needs")); err != nil {
			os.Exit(2)
		}
	case f.is("complains-on-stdout"):
		fmt.Println("no token: set FAKE_TOKEN")
		os.Exit(2)
	case f.is("banner"):
		fmt.Print("\n\x1b[1mWelcome!\x1b[0m\n{\"not\": \"a message\"}\n[1,2\n\xff\xfe\n")
	case f.is("slow"):
		<-time.After(700 * time.Millisecond)
	case f.is("stubborn"):
		signal.Ignore(syscall.SIGTERM)
		child := exec.Command("/bin/sh", "-c", `trap '' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $! > "$0"; while :; do sleep 0.05; done`, f.value("pids"))
		if err := child.Start(); err != nil {
			panic(err)
		}
	}
	for {
		line, err := f.in.ReadBytes('\n')
		if err != nil {
			if f.is("stubborn") {
				select {}
			}
			return
		}
		var m incoming
		if json.Unmarshal(line, &m) != nil || m.ID == nil || m.Method == "" {
			if m.Method != "" {
				f.record(m.Method)
			}
			continue
		}
		f.answer(m)
		f.first = false
	}
}

func (f *fake) answer(m incoming) {
	switch m.Method {
	case "server/discover":
		switch {
		case f.is("strict") && f.first:
			fmt.Fprintln(os.Stderr, "expected initialize")
			os.Exit(1)
		case f.is("mute"):
		default:
			f.refuse(m, -32601, "Method not found")
		}
	case "initialize":
		if f.is("mute") {
			return
		}
		f.send(m, map[string]any{"protocolVersion": m.Params.ProtocolVersion, "capabilities": map[string]any{"tools": map[string]any{"listChanged": true}},
			"serverInfo": map[string]any{"name": "fake", "version": "1"}})
	case "tools/list":
		f.list(m)
	case "tools/call":
		f.record("call " + m.Params.Name)
		f.call(m)
	default:
		f.refuse(m, -32601, "Method not found")
	}
}

func (f *fake) send(m incoming, result any) {
	data, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result})
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(data, '\n'))
}

func (f *fake) refuse(m incoming, code int, message string) {
	data, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": code, "message": message}})
	os.Stdout.Write(append(data, '\n'))
}

func (f *fake) say(m incoming, text string) {
	f.send(m, map[string]any{"content": []any{map[string]any{"type": "text", "text": text}}})
}

var fakeTools = []string{"echo", "crash", "env", "fail", "flood", "hang", "huge", "endless", "noise", "ping", "pid", "refuse", "vanish", "web.search"}

func (f *fake) list(m incoming) {
	tools := []any{}
	add := func(name string) {
		tool := map[string]any{"name": name, "description": "does " + name, "inputSchema": map[string]any{"type": "object", "x-kept": []any{true}}}
		switch name {
		case "echo":
			if f.gone {
				return
			}
			tool["annotations"] = map[string]any{"readOnlyHint": true}
		case "env":
			tool["annotations"] = map[string]any{"idempotentHint": true, "destructiveHint": false}
		case "crash":
			tool["annotations"] = "nonsense"
			delete(tool, "inputSchema")
		}
		tools = append(tools, tool)
	}
	result := map[string]any{}
	switch {
	case f.is("paged"):
		at, _ := strconv.Atoi(m.Params.Cursor)
		add(fakeTools[len(fakeTools)-1-at]) // not sorted
		if at+1 < len(fakeTools) {
			result["nextCursor"] = strconv.Itoa(at + 1)
		}
	case f.is("pages-without-end"):
		at, _ := strconv.Atoi(m.Params.Cursor)
		result["nextCursor"] = strconv.Itoa(at + 1)
	default:
		for _, name := range fakeTools {
			add(name)
		}
	}
	result["tools"] = tools
	f.send(m, result)
}

func (f *fake) call(m incoming) {
	switch m.Params.Name {
	case "echo", "web.search":
		if f.gone {
			f.refuse(m, -32602, "Unknown tool: echo")
			return
		}
		f.say(m, string(m.Params.Arguments))
	case "crash":
		fmt.Fprintln(os.Stderr, "about to crash")
		os.Exit(3)
	case "env":
		dir, _ := os.Getwd()
		f.say(m, strings.Join(append(os.Environ(), "CWD="+dir), "\n"))
	case "fail":
		f.send(m, map[string]any{"isError": true, "content": []any{map[string]any{"type": "text", "text": "no such file"}}})
	case "flood":
		line := strings.Repeat("x", 1000) + "\n"
		for range 2000 {
			os.Stdout.WriteString(line)
			os.Stderr.WriteString(line)
			os.Stdout.WriteString(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}` + "\n")
		}
		f.say(m, "dry")
	case "hang": // goes on with the rest
	case "huge":
		f.say(m, strings.Repeat("ä", maxText/2+100))
	case "endless":
		chunk := strings.Repeat("x", 1<<20)
		for {
			if _, err := os.Stdout.WriteString(chunk); err != nil {
				os.Exit(0)
			}
		}
	case "ping":
		os.Stdout.WriteString(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n" + `{"jsonrpc":"2.0","id":2,"method":"sampling/createMessage","params":{}}` + "\n")
		one, _ := f.in.ReadString('\n')
		two, _ := f.in.ReadString('\n')
		f.say(m, one+two)
	case "pid":
		f.say(m, strconv.Itoa(os.Getpid()))
	case "refuse":
		f.refuse(m, -32603, "the disk is full")
	case "vanish":
		f.gone = true
		if !f.is("quiet") {
			os.Stdout.WriteString(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` + "\n")
		}
		f.say(m, "gone")
	default:
		f.refuse(m, -32602, "Unknown tool: "+m.Params.Name)
	}
}
