package clientdriven

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"example.com/loop-mcp/examples/internal/exampletest"
	"github.com/google/go-cmp/cmp"
)

func TestTranscript(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	server := connect(t)
	names := map[string]string{}
	calls := 0
	var answer map[string]any
	for line := range strings.Lines(string(text)) {
		if call, ok := strings.CutPrefix(line, "→ "); ok {
			tool, arguments, _ := strings.Cut(call, " ")
			for name, value := range names {
				arguments = strings.ReplaceAll(arguments, name, value)
			}
			answer = server.call(tool, json.RawMessage(arguments))
			calls++
		}
		if want, ok := strings.CutPrefix(line, "← "); ok {
			var shape any
			if err := json.Unmarshal([]byte(want), &shape); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if problem := match(shape, answer, names); problem != "" {
				t.Errorf("the server answers otherwise than README.md says: %s\nwant %s\ngot  %v", problem, want, answer)
			}
		}
	}
	if calls != 4 {
		t.Errorf("README.md holds %d calls, want 4", calls)
	}
}

// match reports how got lacks something of want. A text such as $LOOP stands
// for a value that is seen there first and the same afterwards.
func match(want, got any, names map[string]string) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%v is no object", got)
		}
		for key, value := range want {
			if problem := match(value, object[key], names); problem != "" {
				return key + ": " + problem
			}
		}
		return ""
	case string:
		if text, ok := got.(string); ok && strings.HasPrefix(want, "$") && names[want] == "" {
			names[want] = text
			return ""
		}
	}
	return cmp.Diff(want, got)
}

// server is a loop-mcp that this test is the client of.
type server struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
	id  int
}

func connect(t *testing.T) *server {
	t.Helper()
	cmd := exampletest.Build(t).Command()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	s := &server{t: t, in: in, out: bufio.NewReader(out)}
	s.request("initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "transcript", "version": "1"}})
	s.send(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	return s
}

func (s *server) send(message any) {
	s.t.Helper()
	line, err := json.Marshal(message)
	if err == nil {
		_, err = s.in.Write(append(line, '\n'))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// request returns the result of a request; other messages are passed over.
func (s *server) request(method string, params any) map[string]any {
	s.t.Helper()
	s.id++
	s.send(map[string]any{"jsonrpc": "2.0", "id": s.id, "method": method, "params": params})
	for {
		line, err := s.out.ReadBytes('\n')
		if err != nil {
			s.t.Fatalf("%s: %v", method, err)
		}
		var reply struct {
			ID     int            `json:"id"`
			Result map[string]any `json:"result"`
			Error  any            `json:"error"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			s.t.Fatalf("stdout carries something else than the protocol: %s", line)
		}
		if reply.Error != nil {
			s.t.Fatalf("%s: %v", method, reply.Error)
		}
		if reply.ID == s.id {
			return reply.Result
		}
	}
}

func (s *server) call(tool string, arguments json.RawMessage) map[string]any {
	s.t.Helper()
	result := s.request("tools/call", map[string]any{"name": tool, "arguments": arguments})
	answer, ok := result["structuredContent"].(map[string]any)
	if !ok {
		s.t.Fatalf("%s: %v", tool, result)
	}
	return answer
}
