package tasks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/tasks"
	"example.com/loop-mcp/mcpserver/tasks/taskstest"
	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
)

// TestDiscoverNamesTheExtension: and nothing else changes, nor for others.
func TestDiscoverNamesTheExtension(t *testing.T) {
	h := newHost(t, &tasks.Options{Info: &mcp.Implementation{Name: "host", Version: "1"}})
	for range 2 {
		r := h.send("server/discover", plain, "")
		capabilities, _ := r.Result["capabilities"].(map[string]any)
		if diff := cmp.Diff(map[string]any{"com.example/other": map[string]any{}, "io.modelcontextprotocol/tasks": map[string]any{}}, capabilities["extensions"]); diff != "" {
			t.Errorf("extensions:\n%s", diff)
		}
		if capabilities["tools"] == nil || capabilities["tasks"] != nil {
			t.Errorf("capabilities %v, want tools, and no tasks of the older form", capabilities)
		}
	}
	init := h.raw(t.Context(), newSession(1), `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
	if data, _ := json.Marshal(init.Result["capabilities"]); bytes.Contains(data, []byte("tasks")) {
		t.Errorf("initialize says %s to a client to which the extension means nothing", data)
	}
}

// TestOlderClientsSeeNoTasks: whatever they declare, and however.
func TestOlderClientsSeeNoTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, nil)
		meta := `"_meta":{"io.modelcontextprotocol/clientCapabilities":` + takesAsks + `}`
		for _, meta := range []string{meta, strings.Replace(meta, `{"io`, `{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io`, 1)} {
			call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow_compute","arguments":{"seconds":3},` + meta + `}}`
			if r := h.raw(t.Context(), newSession(1), call); r.Error != nil || r.Result["taskId"] != nil || r.Result["content"] == nil {
				t.Errorf("an older tools/call: %+v, want the plain result", r)
			}
			for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result"} {
				msg := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"taskId":"x",%s}}`, method, meta)
				h.raw(t.Context(), newSession(1), msg).refused(t, mcp.METHOD_NOT_FOUND)
			}
		}
	})
}

// TestRemovedMethods: of the older form, to a client of the newer.
func TestRemovedMethods(t *testing.T) {
	h := newHost(t, nil)
	for _, method := range []string{"tasks/list", "tasks/result", "tasks/start"} {
		h.send(method, takes, `"taskId":"x"`).refused(t, mcp.METHOD_NOT_FOUND)
	}
}

// TestTheLifeOfATask: from the call to the result, which is what the call would have been answered
// with.
func TestTheLifeOfATask(t *testing.T) {
	bubble(t, &tasks.Options{Info: &mcp.Implementation{Name: "host", Version: "1"}}, func(h *host) {
		began := time.Now().UTC()
		r := h.send("tools/call", takes, `"name":"slow_compute","arguments":{"seconds":2,"label":"x"},"task":{"ttl":1}`)
		id, _ := r.Result["taskId"].(string)
		stamp := began.Format("2006-01-02T15:04:05.000Z")
		want := map[string]any{
			"resultType": "task", "taskId": id, "status": "working", "statusMessage": "at work", "ttlMs": 3600000.0, "pollIntervalMs": 1000.0,
			"createdAt": stamp, "lastUpdatedAt": stamp,
			"_meta": map[string]any{"io.modelcontextprotocol/serverInfo": map[string]any{"name": "host", "version": "1"}},
		}
		if diff := cmp.Diff(want, r.Result); diff != "" {
			t.Fatalf("the answer to the call:\n%s", diff)
		}
		want["resultType"] = "complete"
		if diff := cmp.Diff(want, h.get(id)); diff != "" {
			t.Errorf("at work:\n%s", diff)
		}
		time.Sleep(3 * time.Second)
		want["status"], want["statusMessage"], want["lastUpdatedAt"] = "completed", "done", began.Add(2*time.Second).Format("2006-01-02T15:04:05.000Z")
		want["result"] = map[string]any{"resultType": "complete", "content": []any{map[string]any{"type": "text", "text": "computed x for 2s"}}}
		for range 2 {
			if diff := cmp.Diff(want, h.get(id)); diff != "" {
				t.Errorf("at the end:\n%s", diff)
			}
		}
	})
}

// TestHowTasksEnd: an error of the tool is a result; failed is for the protocol alone.
func TestHowTasksEnd(t *testing.T) {
	bubble(t, nil, func(h *host) {
		failing, crashing, endless := h.begin("failing_job", `{}`), h.begin("protocol_error_job", `{}`), h.begin("slow_compute", `{"seconds":60}`)
		synctest.Wait()
		for range 2 {
			h.ack("tasks/cancel", fmt.Sprintf(`"taskId":%q`, endless))
			h.ack("tasks/cancel", fmt.Sprintf(`"taskId":%q`, failing))
		}
		synctest.Wait()
		if got := h.get(failing); got["status"] != "completed" || got["result"].(map[string]any)["isError"] != true || got["error"] != nil {
			t.Errorf("a tool that fails: %v", got)
		}
		if got := h.get(crashing); got["status"] != "failed" || got["error"].(map[string]any)["code"] != -32603.0 || got["result"] != nil {
			t.Errorf("a call that ends with a JSON-RPC error: %v", got)
		}
		if got := h.get(endless); got["status"] != "cancelled" || got["result"] != nil || got["error"] != nil {
			t.Errorf("a cancelled task: %v", got)
		}
	})
}

// TestAQuickAnswerStaysOne: a tool that makes no task, a hint of the older form, an error.
func TestAQuickAnswerStaysOne(t *testing.T) {
	h := newHost(t, nil)
	for _, more := range []string{"", `,"task":{"ttl":60000}`, `,"task":null`, `,"task":7`} {
		r := h.send("tools/call", takes, `"name":"greet","arguments":{"name":"Ada"}`+more)
		if r.Error != nil || r.Result["taskId"] != nil || r.Result["resultType"] != "complete" || !strings.Contains(fmt.Sprint(r.Result["content"]), "Hello, Ada!") {
			t.Errorf("greet%s: %+v", more, r)
		}
	}
	h.send("tools/call", takes, `"name":"no_such_tool","arguments":{}`).refused(t, mcp.INVALID_PARAMS)
}

// TestUndeclared: nothing of the extension for a client that did not declare it on this very request.
func TestUndeclared(t *testing.T) {
	bubble(t, nil, func(h *host) {
		id := h.begin("slow_compute", `{"seconds":5}`)
		for _, caps := range []string{plain, `{"extensions":{}}`, `{"extensions":{"io.modelcontextprotocol/tasks":null}}`, `{"extensions":{"other/tasks":{}}}`, `{"tasks":{}}`} {
			for method, params := range map[string]string{
				"tasks/get": fmt.Sprintf(`"taskId":%q`, id), "tasks/update": `"taskId":"nope","inputResponses":{}`, "tasks/cancel": fmt.Sprintf(`"taskId":%q`, id),
				"subscriptions/listen": `"notifications":{"taskIds":["nope"],"toolsListChanged":true}`,
				"tools/call":           `"name":"failing_job","arguments":{}`,
			} {
				r := h.send(method, caps, params)
				r.refused(t, -32021, "io.modelcontextprotocol/tasks")
				want := map[string]any{"requiredCapabilities": map[string]any{"extensions": map[string]any{"io.modelcontextprotocol/tasks": map[string]any{}}}}
				if diff := cmp.Diff(want, r.Error.Data); diff != "" {
					t.Errorf("%s: data:\n%s", method, diff)
				}
			}
			if r := h.send("tools/call", caps, `"name":"slow_compute","arguments":{"seconds":1}`); r.Error != nil || r.Result["taskId"] != nil || r.Result["resultType"] != "complete" {
				t.Errorf("a tool that can do without, for %s: %+v", caps, r)
			}
		}
	})
}

// TestIncompleteRequests: what every modern request needs is mcp-go's to refuse, before any task.
func TestIncompleteRequests(t *testing.T) {
	h := newHost(t, nil)
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		for meta, code := range map[string]int{
			`"io.modelcontextprotocol/protocolVersion":"2026-07-28"`:                                                         mcp.INVALID_PARAMS,
			`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":7`:          mcp.INVALID_PARAMS,
			`"io.modelcontextprotocol/protocolVersion":"2999-01-01","io.modelcontextprotocol/clientCapabilities":` + takes:   mcp.UNSUPPORTED_PROTOCOL_VERSION,
			`"io.modelcontextprotocol/protocolVersion":["2026-07-28"],"io.modelcontextprotocol/clientCapabilities":` + takes: mcp.METHOD_NOT_FOUND,
		} {
			msg := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"_meta":{%s},"taskId":"x"}}`, method, meta)
			h.raw(t.Context(), newSession(1), msg).refused(t, code)
		}
		for _, msg := range []string{`{"jsonrpc":"2.0","id":1,"method":"%s"}`, `{"jsonrpc":"2.0","id":1,"method":"%s","params":[]}`, `{"jsonrpc":"2.0","id":1,"method":"%s","params":{"_meta":null}}`} {
			h.raw(t.Context(), newSession(1), fmt.Sprintf(msg, method)).refused(t, mcp.METHOD_NOT_FOUND)
		}
	}
}

// TestMalformedFields: each field of each request, named.
func TestMalformedFields(t *testing.T) {
	bubble(t, nil, func(h *host) {
		id := h.begin("confirm_delete", `{}`)
		synctest.Wait()
		known := fmt.Sprintf(`"taskId":%q`, id)
		long := `"` + strings.Repeat("k", 300) + `"`
		for _, c := range []struct{ method, params, says string }{
			{"tasks/get", ``, "taskId: is missing"},
			{"tasks/get", `"taskId":null`, "taskId: must be a string"},
			{"tasks/get", `"taskId":7`, "taskId: must be a string"},
			{"tasks/get", `"taskId":["x"]`, "taskId: must be a string"},
			{"tasks/get", `"taskId":{}`, "taskId: must be a string"},
			{"tasks/get", `"taskId":""`, "task not found"},
			{"tasks/get", `"taskId":"../x"`, "task not found"},
			{"tasks/get", `"taskId":"\u0000"`, "task not found"},
			{"tasks/get", `"taskId":` + long, "task not found"},
			{"tasks/cancel", ``, "taskId: is missing"},
			{"tasks/cancel", `"taskId":false`, "taskId: must be a string"},
			{"tasks/cancel", `"taskId":"nope"`, "task not found"},
			{"tasks/update", `"inputResponses":{}`, "taskId: is missing"},
			{"tasks/update", `"taskId":"nope","inputResponses":{}`, "task not found"},
			{"tasks/update", known, "inputResponses: is missing"},
			{"tasks/update", known + `,"inputResponses":null`, "inputResponses: must be an object"},
			{"tasks/update", known + `,"inputResponses":[]`, "inputResponses: must be an object"},
			{"tasks/update", known + `,"inputResponses":"yes"`, "inputResponses: must be an object"},
			{"tasks/update", known + `,"inputResponses":{"confirm":true}`, "inputResponses.confirm: must be an object"},
			{"tasks/update", known + `,"inputResponses":{"confirm":null}`, "inputResponses.confirm: must be an object"},
			{"tasks/update", known + `,"inputResponses":{` + long + `:[]}`, "kkk…: must be an object"},
			{"tasks/update", known + `,"inputResponses":{` + strings.TrimSuffix(strings.Repeat(`"@":{},`, 101), ",") + `}`, "at most 100 keys"},
			{"subscriptions/listen", `"notifications":{"taskIds":"x"}`, "notifications.taskIds: must be a list"},
			{"subscriptions/listen", `"notifications":{"taskIds":{}}`, "notifications.taskIds: must be a list"},
			{"subscriptions/listen", `"notifications":{"taskIds":["x",7]}`, "notifications.taskIds[1]: must be a string"},
			{"subscriptions/listen", `"notifications":{"taskIds":[null]}`, "notifications.taskIds[0]: must be a string"},
			{"subscriptions/listen", `"notifications":{"taskIds":[` + strings.TrimSuffix(strings.Repeat(`"@",`, 101), ",") + `]}`, "at most 100 tasks"},
		} {
			for n := 0; strings.Contains(c.params, "@"); n++ {
				c.params = strings.Replace(c.params, "@", fmt.Sprint("key", n), 1)
			}
			r := h.send(c.method, takesAsks, c.params)
			r.refused(t, mcp.INVALID_PARAMS, c.says)
			if r.Error != nil && (len(r.Error.Message) > 400 || strings.Contains(r.Error.Message, "\n")) {
				t.Errorf("%s %.80s: not one short line: %q", c.method, c.params, r.Error.Message)
			}
		}
		if got := h.get(id); got["status"] != "input_required" {
			t.Errorf("after all that the task is %v", got)
		}
	})
}

// TestInput: partial, unknown, late and repeated responses; only what is asked for counts.
func TestInput(t *testing.T) {
	bubble(t, nil, func(h *host) {
		id := h.begin("multi_input", `{}`)
		synctest.Wait()
		keys := func() (all []string) {
			requests, _ := h.get(id)["inputRequests"].(map[string]any)
			for key, request := range requests {
				if request.(map[string]any)["method"] != "elicitation/create" {
					t.Errorf("%s asks %v", key, request)
				}
				all = append(all, key)
			}
			return all
		}
		if got := keys(); len(got) != 2 {
			t.Fatalf("asked for %v, want two things", got)
		}
		for _, responses := range []string{`{}`, `{"three":{"action":"accept"}}`, `{"one":{"action":"accept"},"three":{}}`, `{"one":{"action":"decline"}}`} {
			h.ack("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":%s`, id, responses))
		}
		if got := keys(); !cmp.Equal(got, []string{"two"}) {
			t.Errorf("still asked for: %v, want two", got)
		}
		h.ack("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":{"two":{"action":"accept"}}`, id))
		synctest.Wait()
		if got := h.get(id); got["status"] != "completed" {
			t.Errorf("after the last response: %v", got)
		}
		h.ack("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":{"two":{"action":"accept"}}`, id))
	})
}

// TestClientsAreAskedForWhatTheyDeclared: a task that waits for what this client can't ask anybody
// is at work, for it.
func TestClientsAreAskedForWhatTheyDeclared(t *testing.T) {
	bubble(t, nil, func(h *host) {
		inputs := map[string]mcp.InputRequest{
			"form": mcp.NewElicitationInputRequest(mcp.ElicitationParams{Message: "?", RequestedSchema: map[string]any{"type": "object"}}),
			"url":  mcp.NewElicitationInputRequest(mcp.ElicitationParams{Mode: "url", Message: "?", URL: "https://example.com"}),
			"samp": mcp.NewSamplingInputRequest(mcp.CreateMessageParams{MaxTokens: 1}),
			"root": mcp.NewRootsInputRequest(),
		}
		h.backend.Start("t1", func(ctx context.Context, ask taskstest.Ask) (*mcp.CallToolResult, *mcp.JSONRPCErrorDetails) {
			_, _ = ask(ctx, inputs)
			return nil, nil
		})
		synctest.Wait()
		for caps, want := range map[string]string{
			``: "", `"elicitation":{}`: "form", `"elicitation":{"form":{}}`: "form", `"elicitation":{"url":{}}`: "url",
			`"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}`: "form,root,samp,url",
		} {
			declared := `{"extensions":{"io.modelcontextprotocol/tasks":{}}`
			if caps != "" {
				declared += "," + caps
			}
			r := h.send("tasks/get", declared+"}", `"taskId":"t1"`)
			requests, _ := r.Result["inputRequests"].(map[string]any)
			var got []string
			for _, key := range []string{"form", "root", "samp", "url"} {
				if requests[key] != nil {
					got = append(got, key)
				}
			}
			status := "input_required"
			if want == "" {
				status = "working"
			}
			if strings.Join(got, ",") != want || r.Result["status"] != status {
				t.Errorf("with {%s}: %v %v, want %s", caps, r.Result["status"], requests, want)
			}
		}
	})
}

// TestATaskAfterARound: a tool that asks before it begins.
func TestATaskAfterARound(t *testing.T) {
	bubble(t, nil, func(h *host) {
		r := h.send("tools/call", takesAsks, `"name":"test_tool_with_task","arguments":{}`)
		if r.Result["resultType"] != "input_required" || r.Result["taskId"] != nil {
			t.Fatalf("the first round: %+v", r)
		}
		r = h.send("tools/call", takesAsks, `"name":"test_tool_with_task","arguments":{},"requestState":"asked","inputResponses":{"user_name":{"action":"accept","content":{"name":"Alice"}}}`)
		id, _ := r.Result["taskId"].(string)
		if id == "" || r.Result["requestState"] != nil {
			t.Fatalf("the second round: %+v", r)
		}
		synctest.Wait()
		if got := h.get(id); !strings.Contains(fmt.Sprint(got["result"]), "Hello, Alice!") {
			t.Errorf("at the end: %v", got)
		}
	})
}

// broken is a backend with an error.
type broken struct{ err error }

func (b broken) Get(context.Context, string) (tasks.Task, error) { return tasks.Task{}, b.err }
func (b broken) Update(context.Context, string, map[string]json.RawMessage) error {
	return b.err
}
func (b broken) Cancel(context.Context, string) error { return b.err }
func (b broken) Watch(context.Context, string) iter.Seq2[tasks.Task, error] {
	return func(yield func(tasks.Task, error) bool) { yield(tasks.Task{}, b.err) }
}

// TestErrorsOfTheBackend: those for the client reach it, others stay in the log.
func TestErrorsOfTheBackend(t *testing.T) {
	var log bytes.Buffer
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{fmt.Errorf("get: %w", tasks.ErrNotFound), -32602, "task not found"},
		{errors.Join(&tasks.ParamError{Param: "a", Problem: "is wrong"}, &tasks.ParamError{Param: "b", Problem: "too"}), -32602, "a: is wrong; b: too"},
		{&tasks.Error{Code: -32603, Message: "no loop can be reached"}, -32603, "no loop can be reached"},
		{errors.New("secret path"), -32603, "internal error"},
	} {
		h := newHost(t, nil)
		h.layer = tasks.New(broken{c.err}, &tasks.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for method, params := range map[string]string{"tasks/get": "", "tasks/cancel": "", "tasks/update": `,"inputResponses":{}`} {
			r := h.send(method, takes, `"taskId":"x"`+params)
			r.refused(t, c.code, c.says)
			if strings.Contains(r.Error.Message, "secret") {
				t.Errorf("%s tells the client %q", method, r.Error.Message)
			}
		}
	}
	if n := strings.Count(log.String(), "secret path"); n != 3 {
		t.Errorf("the log has the internal error %d times, want 3:\n%s", n, log.String())
	}
}

// FuzzAround: whatever a client sends, the layer answers, in JSON.
func FuzzAround(f *testing.F) {
	for _, params := range []string{
		`"taskId":"t1"`, `"taskId":7`, `"taskId":"t1","inputResponses":{"a":{}}`, `"notifications":{"taskIds":["nope"]}`, `"notifications":{"taskIds":[[]]}`,
		`"name":"greet","arguments":{},"task":7`, `"name":"slow_compute","arguments":{"seconds":0}`, `"taskId":"\ud800"`, `"TASKID":"t1","taskid":null`,
	} {
		f.Add("tasks/get", takes, params)
	}
	f.Add("subscriptions/listen", takesAsks, `"notifications":{"taskIds":[]}`)
	f.Add("tools/call", `{"extensions":7}`, `"name":"failing_job"`)
	f.Fuzz(func(t *testing.T, method, caps, params string) {
		h := newHost(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		msg := modern(method, caps, params)
		for _, method := range []string{"tools/call", "subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel", "server/discover"} {
			answer := h.layer.Around(h.server.WithContext(ctx, newSession(10)), method, json.RawMessage(msg), h.server.HandleMessage)
			if _, err := json.Marshal(answer); err != nil {
				t.Fatalf("%s %s: %v", method, msg, err)
			}
		}
	})
}
