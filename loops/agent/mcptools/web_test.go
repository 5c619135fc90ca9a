//go:build unix

package mcptools

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

func TestToolsOverHTTP(t *testing.T) {
	for name, inner := range map[string]http.Handler{"of both eras": modern(), "with sessions": sessions()} {
		t.Run(name, func(t *testing.T) {
			web := newSite(t, inner)
			w := newWorld(t, map[string]Server{"web": web.server()})
			s := w.open("*")
			if got := toolNamesOf(s); !slices.Equal(got, []string{"web__echo", "web__hang"}) {
				t.Errorf("the tools are %q", got)
			}
			if !find(t, s, "web__echo").ReadOnly {
				t.Error("a hint was lost")
			}
			if got := w.says(s, "web__echo", ""); got != "{}" {
				t.Errorf("no arguments arrived as %s", got)
			}
			if got := w.says(s, "web__echo", `{"a":"b"}`); got != `{"a":"b"}` {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestASessionEndsWithItsLoop(t *testing.T) {
	web := newSite(t, sessions())
	w := newWorld(t, map[string]Server{"web": web.server()})
	w.says(w.open("*"), "web__echo", "")
	s := w.box.live[theLoop]
	w.box.Rest(theLoop, loops.Completed)
	<-s.gone
	if seen := web.saw(); seen[len(seen)-1] != "DELETE" {
		t.Errorf("the server was not told: %q", seen)
	}
}

// The server was restarted and knows nothing of the session: the call can't have
// run, and nobody is to notice.
func TestAStaleSessionIsReplaced(t *testing.T) {
	for name, restart := range map[string]func() http.Handler{
		"404": sessions,
		"400": func() http.Handler {
			inner, fresh := sessions(), false
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(body))
				if fresh = fresh || bytes.Contains(body, []byte(`"initialize"`)); fresh {
					inner.ServeHTTP(w, r)
					return
				}
				jsonRPCError(w, http.StatusBadRequest, "Bad Request: No valid session ID provided")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			web := newSite(t, sessions())
			w := newWorld(t, map[string]Server{"web": web.server()})
			s := w.open("*")
			w.says(s, "web__echo", "")
			web.set(func() { web.inner = restart() })
			if got := w.says(s, "web__echo", `{"after":1}`); got != `{"after":1}` {
				t.Errorf("got %s", got)
			}
			if n := web.calls(); n != 3 {
				t.Errorf("the server saw %d calls, want one before, one refused, one after: %q", n, web.saw())
			}
		})
	}
}

func TestHTTPServersThatDoNotOpen(t *testing.T) {
	status := func(code int, body string) func(http.ResponseWriter, *http.Request, string) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.WriteHeader(code)
			io.WriteString(w, body)
			return true
		}
	}
	for name, tt := range map[string]struct {
		disturb func(http.ResponseWriter, *http.Request, string) bool
		want    string
	}{
		"bad headers":   {status(401, "who are you?"), "it answered 401 Unauthorized (who are you?): check its headers in the configuration"},
		"not allowed":   {status(403, ""), "it answered 403 Forbidden: check its headers"},
		"another page":  {status(404, "<html>"), "it answered 404 Not Found (<html>); if it is a server of the older kind, write type: sse"},
		"an error":      {status(500, `{"message":"oops"}`), `it answered 500 Internal Server Error ({"message":"oops"})`},
		"no MCP server": {status(200, "hello"), "unexpected content type"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request, _ string) bool {
			http.Redirect(w, r, "http://other.invalid/mcp", http.StatusTemporaryRedirect)
			return true
		}, "it redirected to http://other.invalid: write that address"},
		"cut off": {func(http.ResponseWriter, *http.Request, string) bool { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			web := newSite(t, modern())
			web.disturb = tt.disturb
			w := newWorld(t, map[string]Server{"web": web.server()})
			_, err := w.box.Open(t.Context(), theLoop, w.dir, []string{"*"})
			if err == nil || !strings.Contains(err.Error(), "the MCP server web did not start: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

func TestHeadersAreSent(t *testing.T) {
	web := newSite(t, modern())
	web.disturb = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Header.Get("Authorization") == "Bearer good" {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	right := web.server()
	right.Headers = map[string]string{"Authorization": "Bearer good"}
	w := newWorld(t, map[string]Server{"web": right})
	w.says(w.open("*"), "web__echo", "")
}

// disturbed opens a site and then answers calls with disturb.
func disturbed(t *testing.T, inner http.Handler, timeout time.Duration, disturb http.HandlerFunc) (*world, *site, agent.Session) {
	web := newSite(t, inner)
	spec := web.server()
	spec.Timeout = loops.Duration(timeout)
	w := newWorld(t, map[string]Server{"web": spec})
	s := w.open("*")
	web.set(func() {
		web.disturb = func(w http.ResponseWriter, r *http.Request, method string) bool {
			if method != "tools/call" {
				return false
			}
			disturb(w, r)
			return true
		}
	})
	return w, web, s
}

func TestCallsOverHTTPThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		disturb http.HandlerFunc
		notSent bool
		want    string
	}{
		"not allowed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, true, "it answered 403 Forbidden: check its headers"},
		"too many":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, true, "it answered 429 Too Many Requests"},
		"a broken proxy": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			io.WriteString(w, "{}")
		}, false, "it answered 502 Bad Gateway ({}); whether the tool ran is not known"},
		"cut off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, "whether the tool ran is not known"},
		"cut in the answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"jsonrpc":"2.0","id":`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, false, "whether the tool ran is not known"},
		"an endless answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"a":"`)
			for chunk := strings.Repeat("x", 1<<20); r.Context().Err() == nil; {
				io.WriteString(w, chunk)
			}
		}, false, "a message of more than 32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			w, web, s := disturbed(t, modern(), time.Minute, tt.disturb)
			_, err := s.Call(t.Context(), "web__echo", nil)
			if err == nil || errors.Is(err, agent.ErrNotSent) != tt.notSent || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if n := web.calls(); n != 1 {
				t.Errorf("it was called %d times", n)
			}
			web.set(func() { web.disturb = nil })
			w.says(s, "web__echo", "")
		})
	}
}

func TestAServerThatIsDownForAWhile(t *testing.T) {
	web := newSite(t, sessions())
	spec := web.server()
	w := newWorld(t, map[string]Server{"web": spec})
	s := w.open("*")
	w.says(s, "web__echo", "")
	web.CloseClientConnections()
	address := web.Listener.Addr().String()
	web.Close()
	_, err := s.Call(t.Context(), "web__echo", nil)
	if err != nil && !errors.Is(err, agent.ErrNotSent) {
		// The request met the end of the connection, so that nobody knows.
		_, err = s.Call(t.Context(), "web__echo", nil)
	}
	if !errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("got %v", err)
	}
	again := httptest.NewUnstartedServer(sessions())
	again.Listener.Close()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again.Listener = listener
	again.Start()
	t.Cleanup(again.Close)
	w.says(s, "web__echo", "")
}

func TestACallOverHTTPThatHangs(t *testing.T) {
	for name, inner := range map[string]http.Handler{"of both eras": modern(), "with sessions": sessions()} {
		t.Run(name, func(t *testing.T) {
			web := newSite(t, inner)
			spec := web.server()
			spec.Timeout = loops.Duration(time.Second)
			w := newWorld(t, map[string]Server{"web": spec})
			s := w.open("*")
			_, err := s.Call(t.Context(), "web__hang", nil)
			if err == nil || errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "there was no answer within 1s") {
				t.Errorf("got %v", err)
			}
			w.says(s, "web__echo", "")
			if name == "with sessions" {
				eventually(t, func() bool { return slices.Contains(web.saw(), "POST notifications/cancelled") }, func() string { return "the server was not told that nobody waits" })
			}
		})
	}
}

func TestToolsOverServerSentEvents(t *testing.T) {
	events := mcpserver.NewSSEServer(webTools(t.Context().Done()))
	web := newSite(t, events)
	w := newWorld(t, map[string]Server{"web": {Type: "sse", URL: web.URL + "/sse"}})
	s := w.open("*")
	if got := w.says(s, "web__echo", `{"a":1}`); got != `{"a":1}` {
		t.Errorf("got %s", got)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Call(short, "web__hang", nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, agent.ErrNotSent) {
		t.Errorf("a call that hangs gave %v", err)
	}
	w.says(s, "web__echo", "")
	c := s.(*session).servers["web"].current()
	events.CloseSessions()
	<-c.lost
	if got := w.says(s, "web__echo", `{"after":1}`); got != `{"after":1}` {
		t.Errorf("got %s", got)
	}
}

// mcp-go would wait for the deadline: no other stream brings the answer.
func TestACallWhoseStreamOfAnswersEnds(t *testing.T) {
	events := mcpserver.NewSSEServer(webTools(t.Context().Done()))
	web := newSite(t, events)
	w := newWorld(t, map[string]Server{"web": {Type: "sse", URL: web.URL + "/sse"}})
	s := w.open("*")
	failed := make(chan error)
	go func() {
		_, err := s.Call(t.Context(), "web__hang", nil)
		failed <- err
	}()
	eventually(t, func() bool { return web.calls() == 1 }, func() string { return "the call did not arrive" })
	events.CloseSessions()
	if err := <-failed; err == nil || errors.Is(err, agent.ErrNotSent) || !strings.Contains(err.Error(), "its stream of answers ended; whether the tool ran is not known") {
		t.Errorf("got %v", err)
	}
}

func TestEventsMayComeWithoutEnd(t *testing.T) {
	event := "data: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"
	one := strings.NewReader(strings.Repeat(event, 3*maxMessage>>20))
	n, err := io.Copy(io.Discard, &webBody{ReadCloser: io.NopCloser(one), events: true, left: maxMessage, cancel: func() {}})
	if err != nil || n < 3*maxMessage {
		t.Errorf("many events ended after %d bytes: %v", n, err)
	}
	big := strings.NewReader(strings.Repeat("data: x\n", maxMessage/8+1))
	if _, err := io.Copy(io.Discard, &webBody{ReadCloser: io.NopCloser(big), events: true, left: maxMessage, cancel: func() {}}); !errors.Is(err, errTooLong) {
		t.Errorf("one endless event gave %v", err)
	}
}
