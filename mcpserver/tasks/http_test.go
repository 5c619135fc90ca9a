package tasks_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/loop-mcp/mcpserver/streamhttp"
	"github.com/mark3labs/mcp-go/mcp"
)

// overHTTP serves the host with the real transport until the test ends.
func overHTTP(t *testing.T, h *host) string {
	t.Helper()
	handler := streamhttp.New(h.server, &streamhttp.Options{Around: h.layer.Around})
	s := httptest.NewServer(handler)
	t.Cleanup(func() {
		if err := handler.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s.URL + "/mcp"
}

// post sends a request of 2026-07-28 with the headers that go with it.
func post(ctx context.Context, t *testing.T, url, method, name, params string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(modern(method, takesAsks, params)))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name,
	} {
		if value != "" {
			r.Header.Set(key, value)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestTasksOverHTTP: the answers have their status, the headers are checked, a stream pushes to its
// end, and a client that goes away leaves nothing behind.
func TestTasksOverHTTP(t *testing.T) {
	h := newHost(t, nil)
	url := overHTTP(t, h)
	h.backend.Start("t1", held)
	for _, c := range []struct {
		method, name, params string
		status, code         int
	}{
		{"tasks/get", "t1", `"taskId":"t1"`, 200, 0},
		{"tasks/get", "t2", `"taskId":"t1"`, 400, mcp.HEADER_MISMATCH},
		{"tasks/get", "", `"taskId":"t1"`, 400, mcp.HEADER_MISMATCH},
		{"tasks/get", "nope", `"taskId":"nope"`, 400, mcp.INVALID_PARAMS},
		{"tasks/update", "t1", `"taskId":"t1","inputResponses":7`, 400, mcp.INVALID_PARAMS},
		{"tasks/list", "", ``, 404, mcp.METHOD_NOT_FOUND},
		{"tools/call", "slow_compute", `"name":"slow_compute","arguments":{"seconds":9}`, 200, 0},
	} {
		resp := post(t.Context(), t, url, c.method, c.name, c.params)
		var r reply
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || resp.StatusCode != c.status || (r.Error == nil) != (c.code == 0) || r.Error != nil && r.Error.Code != c.code {
			t.Errorf("%s %s: %d %+v (%v), want %d %d", c.method, c.params, resp.StatusCode, r, err, c.status, c.code)
		}
	}

	var streams []*bufio.Scanner
	for range 20 {
		resp := post(t.Context(), t, url, "subscriptions/listen", "", `"notifications":{"taskIds":["t1","nope"]}`)
		streams = append(streams, bufio.NewScanner(resp.Body))
	}
	event := func(s *bufio.Scanner) (method string, params map[string]any) {
		for s.Scan() {
			var n struct {
				Method string
				Params map[string]any
			}
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok && json.Unmarshal([]byte(data), &n) == nil && n.Method != "" {
				return n.Method, n.Params
			}
		}
		return "", nil
	}
	for _, s := range streams {
		if method, params := event(s); method != "notifications/subscriptions/acknowledged" || fmt.Sprint(params["notifications"]) != "map[taskIds:[t1]]" {
			t.Errorf("the stream begins with %s %v", method, params)
		}
		if method, params := event(s); method != "notifications/tasks" || params["status"] != "working" {
			t.Errorf("then comes %s %v", method, params)
		}
	}
	post(t.Context(), t, url, "tasks/cancel", "t1", `"taskId":"t1"`)
	for _, s := range streams {
		if method, params := event(s); method != "notifications/tasks" || params["status"] != "cancelled" {
			t.Errorf("at the end comes %s %v", method, params)
		}
	}

	h.backend.Start("t2", held)
	for range 20 { // clients that go away at once
		ctx, leave := context.WithCancel(t.Context())
		post(ctx, t, url, "subscriptions/listen", "", `"notifications":{"taskIds":["t2"]}`)
		leave()
	}
}
