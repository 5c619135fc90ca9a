package streamhttp

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPagesOfOthersStayOutside: a browser lets any page send requests to this machine (DNS rebinding,
// cross-site requests).
func TestPagesOfOthersStayOutside(t *testing.T) {
	w := live(t, nil, &Options{AllowedOrigins: []string{"https://App.example/", "http://localhost:6274"}, AllowedHosts: []string{"proxied.example"}})
	w.handler.Handle("GET /other", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	address := strings.TrimPrefix(w.server.URL, "http://")
	_, port, _ := net.SplitHostPort(address)
	for name, test := range map[string]struct {
		host, origin string
		ok           bool
	}{
		"a program":                  {"", "", true},
		"localhost":                  {"localhost:" + port, "", true},
		"LOCALHOST":                  {"LOCALHOST", "", true},
		"another loopback address":   {"127.8.8.8:80", "", true},
		"IPv6":                       {"[::1]:" + port, "", true},
		"IPv6 without a port":        {"[::1]", "", true},
		"a rebound name":             {"evil.example:" + port, "", false},
		"a name that looks alike":    {"localhost.evil.example", "", false},
		"an address elsewhere":       {"10.0.0.1:" + port, "", false},
		"a user part":                {"localhost@evil.example", "", false},
		"an allowed host":            {"proxied.example", "", true},
		"an allowed origin's host":   {"app.example:443", "", true},
		"the server's own page":      {address, "http://" + address, true},
		"an allowed page":            {"", "https://app.example", true},
		"an allowed page, otherwise": {"", "HTTPS://APP.example", true},
		"a page elsewhere":           {"", "https://evil.example", false},
		"a page of another port":     {"", "http://127.0.0.1:1", false},
		"an allowed one":             {"", "http://localhost:6274", true},
		"a page without an origin":   {"", "null", false},
		"an allowed host's page":     {"", "http://app.example", false},
		"a rebound page":             {"evil.example:" + port, "http://evil.example:" + port, false},
		"a part of one":              {"", "https://app.example.evil.example", false},
		"with a path":                {"", "https://app.example/x", false},
	} {
		for _, q := range []request{modernCall("1", "echo", `{}`), {http: "GET"}, {http: "DELETE"}, {http: "OPTIONS"}} {
			header := map[string]string{}
			if test.origin != "" {
				header["Origin"] = test.origin
			}
			q = q.with(header)
			q.host = test.host
			got := w.ask(q)
			if (got.status == http.StatusForbidden) == test.ok {
				t.Errorf("%s %s: status %d", name, q.http, got.status)
			}
			if allow := got.header.Get("Access-Control-Allow-Origin"); allow != "" && (!test.ok || allow != test.origin) {
				t.Errorf("%s %s may read the answer: %q", name, q.http, allow)
			}
		}
	}
	r := *w
	r.url = w.server.URL + "/other"
	if got := r.ask(request{http: "GET", host: "evil.example"}); got.status != http.StatusForbidden {
		t.Errorf("another route: %d", got.status)
	}
	if got := r.ask(request{http: "GET"}); got.status != http.StatusTeapot {
		t.Errorf("another route: %d", got.status)
	}
}

func TestAnAllowedPageAsksFirst(t *testing.T) {
	w := live(t, nil, &Options{AllowedOrigins: []string{"https://app.example"}, Tokens: map[string]string{"a": "0123456789abcdef"}})
	got := w.ask(request{http: "OPTIONS", header: map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}})
	if got.status != http.StatusNoContent || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization") || got.header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("%d %s", got.status, got.header)
	}
}

func TestTokens(t *testing.T) {
	const ann, bob = "ann's token has 24 bytes", "bob's token has 24 bytes"
	owners := make(chan string, 10)
	w := live(t, nil, &Options{Tokens: map[string]string{"ann": ann, "bob": bob}, Context: func(ctx context.Context, owner string) context.Context {
		owners <- owner
		return ctx
	}})
	for name, test := range map[string]struct{ authorization, owner string }{
		"none":             {"", ""},
		"no scheme":        {ann, ""},
		"another scheme":   {"Basic " + ann, ""},
		"half of it":       {"Bearer " + ann[:10], ""},
		"more than it":     {"Bearer " + ann + "x", ""},
		"an empty one":     {"Bearer ", ""},
		"ann's":            {"Bearer " + ann, "ann"},
		"bob's":            {"bearer  " + bob, "bob"},
		"the owner's name": {"Bearer ann", ""},
	} {
		q := modernCall("1", "echo", `{"text":"x"}`)
		q.header["Authorization"] = test.authorization
		got := w.ask(q)
		if test.owner == "" {
			challenge := got.header.Get("WWW-Authenticate")
			if got.status != http.StatusUnauthorized || !strings.Contains(challenge, `resource_metadata="`+w.server.URL+`/.well-known/oauth-protected-resource/mcp"`) ||
				strings.Contains(challenge, "invalid_token") != (test.authorization != "") {
				t.Errorf("%s: %d %s", name, got.status, challenge)
			}
			continue
		}
		if got.status != http.StatusOK || <-owners != test.owner {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

func TestWhatProtectsTheServer(t *testing.T) {
	w := live(t, nil, &Options{Tokens: map[string]string{"a": "0123456789abcdef"}})
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
		r := *w
		r.url = w.server.URL + path
		for scheme, header := range map[string]map[string]string{"http://": nil, "https://": {"X-Forwarded-Proto": "https"}} {
			got := r.ask(request{http: "GET", header: header})
			var said struct {
				Resource string   `json:"resource"`
				Methods  []string `json:"bearer_methods_supported"`
			}
			if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if want := scheme + strings.TrimPrefix(w.url, "http://"); said.Resource != want || !cmp.Equal(said.Methods, []string{"header"}) {
				t.Errorf("%+v, want %s", said, want)
			}
		}
	}
	open := live(t, nil, nil)
	open.url = open.server.URL + "/.well-known/oauth-protected-resource"
	if got := open.ask(request{http: "GET"}); got.status != http.StatusNotFound {
		t.Errorf("without tokens: %d %s", got.status, got.body)
	}
}

// TestASessionBelongsToItsToken: another one does not find it, nor what it missed.
func TestASessionBelongsToItsToken(t *testing.T) {
	w := live(t, nil, &Options{Tokens: map[string]string{"ann": "ann's token has 24 bytes", "bob": "bob's token has 24 bytes"}})
	w.token = "ann's token has 24 bytes"
	w.greet()
	thief := *w
	thief.token = "bob's token has 24 bytes"
	for _, q := range []request{{body: callBody("1", "echo", `{}`, "")}, {http: "GET"}, from("0-0"), {http: "DELETE"}, {body: `{"jsonrpc":"2.0","id":"ask-1","result":{}}`}} {
		if got := thief.ask(q); got.status != http.StatusNotFound {
			t.Errorf("%s %s: %d %s", q.http, q.body, got.status, got.body)
		}
	}
	if got := w.ask(request{body: callBody("1", "echo", `{"text":"x"}`, "")}); got.status != http.StatusOK {
		t.Errorf("its own: %d %s", got.status, got.body)
	}
}

// TestAProxyIsNoProgramOfThisMachine: what it passes on comes from elsewhere, where it says so.
func TestAProxyIsNoProgramOfThisMachine(t *testing.T) {
	w := live(t, nil, nil)
	for name, test := range map[string]struct {
		header, value string
		ok            bool
	}{
		"none":                     {"X-Forwarded-For", "", true},
		"from this machine":        {"X-Forwarded-For", "127.0.0.1, ::1", true},
		"from another":             {"X-Forwarded-For", "203.0.113.9", false},
		"from another, by proxies": {"X-Forwarded-For", "203.0.113.9, 127.0.0.1", false},
		"with a port":              {"X-Forwarded-For", "203.0.113.9:80", false},
		"nonsense":                 {"X-Forwarded-For", "unknown", false},
		"of the standard":          {"Forwarded", "for=203.0.113.9", false},
	} {
		got := w.ask(modernCall("1", "echo", `{"text":"x"}`).with(map[string]string{test.header: test.value}))
		if (got.status == http.StatusOK) != test.ok {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// TestWithoutATokenOnlyThisMachineIsServed.
func TestWithoutATokenOnlyThisMachineIsServed(t *testing.T) {
	for name, test := range map[string]struct {
		local  net.Addr
		tokens map[string]string
		status int
	}{
		"another address":          {&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, nil, http.StatusForbidden},
		"every address":            {&net.TCPAddr{}, nil, http.StatusForbidden},
		"nobody knows":             {nil, nil, http.StatusForbidden},
		"loopback":                 {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, nil, http.StatusOK},
		"IPv6":                     {&net.TCPAddr{IP: net.IPv6loopback}, nil, http.StatusOK},
		"a socket":                 {&net.UnixAddr{Name: "x"}, nil, http.StatusOK},
		"another, with tokens":     {&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, map[string]string{"a": "0123456789abcdef"}, http.StatusUnauthorized},
		"a loopback, with a token": {&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, map[string]string{"a": "0123456789abcdef"}, http.StatusUnauthorized},
	} {
		h := New(newServer(), &Options{Tokens: test.tokens})
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(initialize))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		if test.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, test.local))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		_ = h.Shutdown(t.Context())
	}
	h := New(newServer(), nil)
	for address, ok := range map[string]bool{"127.0.0.1": true, "::1": true, "0.0.0.0": false, "10.0.0.1": false} {
		if err := h.MayServe(&net.TCPAddr{IP: net.ParseIP(address)}); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
