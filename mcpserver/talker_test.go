package mcpserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/mcpserver/stdio"
	"github.com/mark3labs/mcp-go/server"
)

// talker is a client over pipes, inside a synctest bubble. It leaves questions
// to its test, as a person does.
type talker struct {
	t      *testing.T
	modern string // _meta of each request; empty: the era before
	in     *io.PipeWriter
	last   int
	ended  chan error

	mu    sync.Mutex
	lines []map[string]any
}

// newTalker starts a transport for s and a client with those capabilities, of
// the era before 2026-07-28 or of that one.
func newTalker(t *testing.T, s *server.MCPServer, era, caps string) *talker {
	t.Helper()
	return talk(t, s, &stdio.Options{Before: KeepArguments}, era, caps)
}

// talk is newTalker with other choices of the transport.
func talk(t *testing.T, s *server.MCPServer, opts *stdio.Options, era, caps string) *talker {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &talker{t: t, in: inW, ended: make(chan error, 1)}
	go func() {
		p.ended <- stdio.Serve(context.WithoutCancel(t.Context()), s, inR, outW, opts)
		outW.Close()
	}()
	go func() {
		for lines := bufio.NewScanner(outR); lines.Scan(); {
			var m map[string]any
			if json.Unmarshal(lines.Bytes(), &m) != nil {
				t.Errorf("not JSON: %s", lines.Bytes())
			}
			p.mu.Lock()
			p.lines = append(p.lines, m)
			p.mu.Unlock()
		}
	}()
	if era == "modern" {
		p.modern = fmt.Sprintf(`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":%s,"io.modelcontextprotocol/clientInfo":{"name":"tester","version":"2"}}`, caps)
	} else {
		p.write(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":%s,"clientInfo":{"name":"tester","version":"1"}}}`, caps)
		p.read()
	}
	t.Cleanup(func() { p.hangUp() })
	return p
}

// hangUp closes the client's end.
func (p *talker) hangUp() {
	p.in.Close()
	if err := <-p.ended; err != nil {
		p.t.Errorf("the transport ended with %v", err)
	}
	p.ended <- nil
}

func (p *talker) write(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

// read returns what has been written since, once nothing moves any more.
func (p *talker) read() []map[string]any {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.lines
	p.lines = nil
	return got
}

// one is read for one message.
func (p *talker) one() message {
	p.t.Helper()
	got := p.read()
	if len(got) != 1 {
		p.t.Fatalf("%d messages, want one: %.1500v", len(got), got)
	}
	return got[0]
}

// call calls a tool; more are further members of its params.
func (p *talker) call(tool, args string, more ...string) {
	p.t.Helper()
	p.last++
	params := append([]string{fmt.Sprintf(`"name":%q,"arguments":%s`, tool, args)}, more...)
	if p.modern != "" {
		params = append(params, p.modern)
	}
	p.write(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s}}`, p.last, strings.Join(params, ","))
}

// ask calls a tool and returns what comes first.
func (p *talker) ask(tool, args string, more ...string) message {
	p.t.Helper()
	p.call(tool, args, more...)
	return p.one()
}

// answer sends the result of an elicitation/create.
func (p *talker) answer(question message, result string) {
	p.t.Helper()
	id, _ := json.Marshal(question["id"])
	p.write(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
}

// message is what a server sent.
type message map[string]any

func (m message) at(path string) any {
	return reply{answer: m}.get(path)
}

// want checks values, given as path and value by turns; a value that begins
// with ~ must be a part.
func (m message) want(t *testing.T, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		got, want := fmt.Sprint(m.at(pairs[i].(string))), fmt.Sprint(pairs[i+1])
		part, partly := strings.CutPrefix(want, "~")
		if got != want && !partly || partly && !strings.Contains(got, part) {
			data, _ := json.Marshal(m)
			t.Errorf("%s = %v, want %v, in %.2500s", pairs[i], got, pairs[i+1], data)
		}
	}
}

const (
	forms    = `{"elicitation":{}}`
	noForms  = `{}`
	accepted = `{"action":"accept","content":%s}`
)
