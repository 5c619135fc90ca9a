package streamhttp

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
)

// with changes some headers of a request.
func (q request) with(header map[string]string) request {
	merged := map[string]string{}
	for _, all := range []map[string]string{q.header, header} {
		maps.Copy(merged, all)
	}
	q.header = merged
	return q
}

func TestModernRequests(t *testing.T) {
	w := live(t, nil, nil)
	method := func(body, method string) request { return request{body: body, header: modernHeader(method, "")} }
	for name, test := range map[string]struct {
		q      request
		status int
		want   string
	}{
		"call":              {modernCall("1", "echo", `{"text":"hi"}`), 200, "1: hi"},
		"id as a text":      {modernCall(`"a"`, "echo", `{"text":"hi"}`), 200, `"a": hi`},
		"who":               {modernCall("1", "whoami", `{}`), 200, "1: m roots=false 2026-07-28"},
		"progress":          {modernProgress("1", "count", `{"to":2}`, `"p"`), 200, "p 1\np 2\n1: 2"},
		"panic":             {modernCall("1", "panic", `{}`), 200, "1: error -32603"},
		"session ignored":   {modernCall("1", "echo", `{"text":"hi"}`).with(map[string]string{headerSession: "nonsense", mcp.HeaderLastEventID: "9"}), 200, "1: hi"},
		"unknown method":    {method(`{"jsonrpc":"2.0","id":1,"method":"no/such","params":{"_meta":{`+modernMeta+`}}}`, "no/such"), 404, "1: error -32601"},
		"removed method":    {method(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{`+modernMeta+`}}}`, "ping"), 404, "1: error -32601"},
		"no method header":  {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderMethod: ""}), 400, "1: error -32020"},
		"other method":      {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderMethod: "TOOLS/CALL"}), 400, "1: error -32020"},
		"no name header":    {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderName: ""}), 400, "1: error -32020"},
		"other name":        {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderName: "panic"}), 400, "1: error -32020"},
		"encoded name":      {modernCall("1", "echo", `{"text":"hi"}`).with(map[string]string{mcp.HeaderName: "=?base64?ZWNobw==?="}), 200, "1: hi"},
		"no version header": {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderProtocolVersion: ""}), 400, "1: error -32020"},
		"older header":      {modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderProtocolVersion: "2025-11-25"}), 400, "1: error -32020"},
		"no _meta":          {request{body: callBody("1", "echo", `{}`, ""), header: modernHeader("tools/call", "echo")}, 400, "1: error -32602"},
		"no capabilities":   {request{body: callBody("1", "echo", `{}`, `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`), header: modernHeader("tools/call", "echo")}, 400, "1: error -32602"},
		"task without name": {method(`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t","_meta":{`+modernMeta+`}}}`, "tasks/get"), 400, "1: error -32020"},
		"task of old":       {method(`{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"t","_meta":{`+modernMeta+`}}}`, "tasks/result"), 404, "1: error -32601"},
		"response":          {method(`{"jsonrpc":"2.0","id":1,"result":{}}`, ""), 400, "null: error -32600"},
		"notification":      {method(`{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{`+modernMeta+`}}}`, ""), 202, ""},
		"GET":               {request{http: "GET", header: modernHeader("", "")}, 405, ""},
		"DELETE":            {request{http: "DELETE", header: modernHeader("", "")}, 405, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.T = t
			got := w.ask(test.q)
			if got.status != test.status {
				t.Errorf("status %d, want %d: %s", got.status, test.status, got.body)
			}
			if got.header.Get(headerSession) != "" {
				t.Error("a modern answer names a session")
			}
			if test.want != "" && !cmp.Equal(got.summaries(), strings.Split(test.want, "\n")) {
				t.Errorf("got %q, want %q", got.summaries(), test.want)
			}
		})
	}
}

func TestUnknownVersion(t *testing.T) {
	w := live(t, nil, nil)
	q := modernCall("1", "echo", `{}`).with(map[string]string{mcp.HeaderProtocolVersion: "2027-01-01"})
	q.body = strings.ReplaceAll(q.body, "2026-07-28", "2027-01-01")
	got := w.ask(q)
	if got.status != 400 || !strings.Contains(got.body, `"code":-32022`) || !strings.Contains(got.body, `"supported":["2026-07-28"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestSessionLife(t *testing.T) {
	w := live(t, nil, nil)
	if got := w.ask(request{body: callBody("1", "echo", `{}`, "")}); got.status != http.StatusBadRequest {
		t.Errorf("without a session: %d %s", got.status, got.body)
	}
	w.greet()
	if len(w.session) < 26 {
		t.Errorf("session %q can be guessed", w.session)
	}
	for _, test := range []struct{ body, want string }{
		{callBody("1", "echo", `{"text":"hi"}`, ""), "1: hi"},
		{callBody("2", "whoami", `{}`, ""), "2: l roots=true 2025-11-25"},
		{callBody("3", "count", `{"to":3}`, `"progressToken":7`), "7 1\n7 2\n7 3\n3: 3"},
		{callBody("4", "panic", `{}`, ""), "4: error -32603"},
		{`{"jsonrpc":"2.0","id":5,"method":"ping"}`, "5: result"},
		{`{"jsonrpc":"2.0","id":6,"method":"no/such"}`, "6: error -32601"},
	} {
		got := w.ask(request{body: test.body})
		if got.status != 200 || !cmp.Equal(got.summaries(), strings.Split(test.want, "\n")) {
			t.Errorf("%s: %d %q, want %q", test.body, got.status, got.summaries(), test.want)
		}
	}
	if got := w.ask(request{http: "DELETE"}); got.status/100 != 2 {
		t.Errorf("DELETE: %d %s", got.status, got.body)
	}
	for _, q := range []request{{body: callBody("1", "echo", `{}`, "")}, {http: "GET"}, {http: "DELETE"}} {
		if got := w.ask(q); got.status != http.StatusNotFound {
			t.Errorf("%s after DELETE: %d %s", q.http, got.status, got.body)
		}
	}
}
