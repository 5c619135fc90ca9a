package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
)

// FuzzURI: whatever a client sends as an address is refused or has exactly this
// spelling.
func FuzzURI(f *testing.F) {
	for _, seed := range []string{
		"loops://recent", "loop://fix-build-7k3q", "loop://fix-build-7k3q/transcript", "loop://fix-build-7k3q/iterations/12",
		"loop://fix-build-7k3q/iterations/012", "loop://fix-build-7k3q/iterations/99999999999999999999", "loop://../../etc/passwd", "loop://fix%2Fbuild",
		"LOOP://fix-build-7k3q", "loop://fix-build-7k3q/", "loop://fix-build-7k3q?x", "loop:///fix-build-7k3q", "loop://fix-build-7k3q/iterations/-1", "loop://a\x00bcd",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		r, ok := parseURI(uri)
		if !ok {
			return
		}
		if r.String() != uri {
			t.Errorf("%q is read as %q", uri, r)
		}
		if r.kind != kindRecent && (!loops.ValidID(r.id) || strings.ContainsAny(string(r.id), "./%")) {
			t.Errorf("%q has the id %q", uri, r.id)
		}
		if (r.kind == kindIteration) != (r.iteration > 0) {
			t.Errorf("%q has the iteration %d", uri, r.iteration)
		}
	})
}

// TestURIsThatAreRefused: an id is never a path.
func TestURIsThatAreRefused(t *testing.T) {
	for _, uri := range []string{
		"", "loop", "loop:", "loop://", "loop:///", "loops://", "loops://recent/", "loops://recent?limit=1", "LOOP://fix-build-7k3q", "loop://Fix-build-7k3q",
		"loop://fix-build-7k3q/", "loop://fix-build-7k3q//transcript", "loop://fix-build-7k3q/transcript/", "loop://fix-build-7k3q/iterations", "loop://fix-build-7k3q/iterations/",
		"loop://fix-build-7k3q/iterations/0", "loop://fix-build-7k3q/iterations/01", "loop://fix-build-7k3q/iterations/+1", "loop://fix-build-7k3q/iterations/1e3",
		"loop://fix-build-7k3q/iterations/9223372036854775808", "loop://fix-build-7k3q/iterations/1/2", "loop://fix-build-7k3q/../x-abcd", "loop://../fix-build-7k3q",
		"loop://fix%2dbuild-7k3q", "loop://fix-build-7k3q%2ftranscript", "loop://fix.build-7k3q", "loop://fix-build-7k3q#x", "loop://fix-build-7k3q\n", " loop://fix-build-7k3q",
		"loop://" + strings.Repeat("a", 97), "file:///etc/passwd",
	} {
		if r, ok := parseURI(uri); ok {
			t.Errorf("%q is read as %+v", uri, r)
		}
	}
}

// TestReadsThatAreRefused: unknown resources have the code of their era and
// name the URI; a huge one does not come back whole.
func TestReadsThatAreRefused(t *testing.T) {
	inEras(t, func(t *testing.T, modern bool) {
		w := newWorld(t, nil, nil)
		id := w.startClient("")
		p := dial(t, w.s, modern)
		code := map[bool]int{false: -32002, true: -32602}[modern]
		for _, uri := range []string{"test://nothing", "loop://nope-1234", "loop://" + id + "/iterations/1", "loop://../x", "loops://all"} {
			a := p.refused(code, "resources/read", fmt.Sprintf(`{"uri":%q}`, uri))
			want(t, "data.uri", fmt.Sprint(a.Error.Data["uri"]), uri)
		}
		a := p.refused(code, "resources/read", fmt.Sprintf(`{"uri":"loop://%s"}`, strings.Repeat("x", 1<<20)))
		if data, _ := json.Marshal(a.Error); len(data) > 4000 {
			t.Errorf("an error of %d bytes", len(data))
		}
		p.refused(-32602, "resources/read", `{"uri":["loop://x"]}`)
		p.refused(-32602, "resources/read", `{}`, "uri: is missing")
	})
}

// TestReadsThatFail: what is nobody's mistake is logged under an id, and the
// client is not told what it was.
func TestReadsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		e := &fakeEngine{err: errors.New("disk 7 is on fire")}
		p := dial(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, &Options{Logger: slog.New(&log)}), false)
		for method, params := range map[string]string{
			"resources/list": `{}`, "resources/read": `{"uri":"loop://fix-0001"}`, "resources/subscribe": `{"uri":"loop://fix-0001"}`,
			"completion/complete": `{"ref":{"type":"ref/resource","uri":"loop://{id}"},"argument":{"name":"id","value":""}}`,
			"prompts/get":         `{"name":"loop_review","arguments":{"loop_id":"fix-0001"}}`,
		} {
			a := p.refused(-32603, method, params, "internal error")
			if strings.Contains(a.Error.Message, "fire") {
				t.Errorf("%s: %s", method, a.Error.Message)
			}
		}
		if log.count("fire") < 5 {
			t.Errorf("logged %q", log.lines)
		}
		closed := dial(t, newServer(func(context.Context) (engineAPI, error) { return nil, errors.New("process 4711 holds the store") }, nil), true)
		closed.refused(-32603, "resources/read", `{"uri":"loops://recent"}`, "process 4711 holds the store")
		closed.refused(-32603, "resources/list", `{}`, "process 4711 holds the store")
	})
}
