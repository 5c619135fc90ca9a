package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// serveTools is an MCP server with two tools: look may be called twice, write
// must not. What they do happens outside, where it outlives this process.
func serveTools() int {
	out := json.NewEncoder(os.Stdout)
	calls := make(chan func(), 16)
	go func() {
		for call := range calls {
			call()
		}
	}()
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return 0 // also when a call is under way: its client is gone
		}
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name            string
				Arguments       json.RawMessage
				ProtocolVersion string
			}
		}
		if json.Unmarshal(line, &m) != nil || m.ID == nil {
			continue
		}
		calls <- func() {
			reply := map[string]any{"jsonrpc": "2.0", "id": m.ID}
			switch m.Method {
			case "initialize":
				reply["result"] = map[string]any{"protocolVersion": m.Params.ProtocolVersion, "capabilities": map[string]any{"tools": map[string]any{}},
					"serverInfo": map[string]any{"name": "outside", "version": "1"}}
			case "tools/list":
				tool := func(name string, readOnly bool) any {
					return map[string]any{"name": name, "description": name + " outside", "inputSchema": map[string]any{"type": "object"}, "annotations": map[string]any{"readOnlyHint": readOnly, "destructiveHint": false}}
				}
				reply["result"] = map[string]any{"tools": []any{tool("look", true), tool("write", false)}}
			case "tools/call":
				reply["result"] = callOutside(m.Params.Name, m.Params.Arguments)
			default:
				reply["error"] = map[string]any{"code": -32601, "message": "Method not found"}
			}
			_ = out.Encode(reply) // fails when the client is gone: then nobody waits
		}
	}
}

func callOutside(name string, args json.RawMessage) any {
	result := func(text string, failed bool) any {
		return map[string]any{"isError": failed, "content": []any{map[string]any{"type": "text", "text": text}}}
	}
	response, err := http.Post(os.Getenv("OUTSIDE")+"/tool/"+name, "application/json", strings.NewReader(string(args)))
	if err != nil {
		return result(err.Error(), true)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return result(err.Error(), true)
	}
	return result(string(text), response.StatusCode != http.StatusOK)
}

// tool is a run of a tool.
func (o *outside) tool(w http.ResponseWriter, r *http.Request) {
	var args struct{ Job, Answer, Call int }
	if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := r.PathValue("name")
	gen, _ := strconv.Atoi(r.PathValue("gen"))
	nth := o.happened(event{gen: gen, job: args.Job, kind: "tool", tool: name, what: fmt.Sprintf("run of %s for call %d of answer %d", name, args.Call, args.Answer)})
	for _, stage := range []string{begun, done} {
		o.pass(r.Context(), point{gen: gen, kind: "tool", nth: nth, stage: stage})
	}
	fmt.Fprintf(w, "%s did it: %s", name, strings.Repeat("r", o.below(4*o.jobs[args.Job].padding)))
}
