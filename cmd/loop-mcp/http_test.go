package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"github.com/google/go-cmp/cmp"
)

// webServer is a loop-mcp serve --http of its own.
type webServer struct {
	b      *box
	cmd    *exec.Cmd
	url    string
	stderr *watched
}

var servingAt = regexp.MustCompile(`http://\S+/mcp`)

// web starts a server on a free port; env are more variables.
func (b *box) web(address string, env ...string) *webServer {
	b.t.Helper()
	s := &webServer{b: b, cmd: b.command("serve", "--http", address), stderr: newWatched()}
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stderr = s.stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.end()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if s.url = servingAt.FindString(line); err != nil || s.url == "" {
		b.t.Fatalf("no address in %q (%v): %s", line, err, s.stderr.text())
	}
	return s
}

// TestAnAddressThatIsTakenIsSaidToBe, and by whom.
func TestAnAddressThatIsTakenIsSaidToBe(t *testing.T) {
	b := newBox(t)
	s := b.web("0")
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/mcp")
	b.want(1, []string{"serve", "--http", address}, "another loop-mcp listens on "+address+" already: end it, or choose another address")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	address = other.Listener.Addr().String()
	b.want(1, []string{"serve", "--http", address}, "another program listens on "+address+" already")
}

// end asks the server to end; it must end well.
func (s *webServer) end() {
	s.b.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.b.t.Errorf("the server ended with %v\n%s", err, s.stderr.text())
	}
}

func (s *webServer) kill() {
	s.b.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.b.t.Fatal(err)
	}
	_ = s.cmd.Wait() // it says that it was killed
}

// webClient is a client of the older or the newer era.
type webClient struct {
	t          testing.TB
	url, token string
	modern     bool
	session    string
	sent       int
	status     int // of the last answer
	challenge  string
}

func (s *webServer) client(token string, modern bool) *webClient {
	s.b.t.Helper()
	c := &webClient{t: s.b.t, url: s.url, token: token, modern: modern}
	if !modern {
		c.greet()
	}
	return c
}

func (c *webClient) greet() {
	c.t.Helper()
	c.session = ""
	c.post("initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "t", "version": "1"}})
}

// post sends a request and returns its result; nil: there is none.
func (c *webClient) post(method string, params map[string]any) map[string]any {
	c.t.Helper()
	c.sent++
	if c.modern {
		params["_meta"] = map[string]any{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": map[string]any{}}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.sent, "method": method, "params": params})
	if err != nil {
		c.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	header := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
	if c.token != "" {
		header["Authorization"] = "Bearer " + c.token
	}
	if c.session != "" {
		header["Mcp-Session-Id"] = c.session
	}
	if c.modern {
		header["Mcp-Protocol-Version"], header["Mcp-Method"] = "2026-07-28", method
		if name, ok := params["name"].(string); ok {
			header["Mcp-Name"] = name
		}
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return c.read(r)
}

func (c *webClient) read(r *http.Request) map[string]any {
	c.t.Helper()
	resp, err := (&http.Client{Timeout: time.Minute}).Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	c.status, c.challenge = resp.StatusCode, resp.Header.Get("WWW-Authenticate")
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		c.session = id
	}
	if at := bytes.LastIndex(data, []byte("data: ")); at >= 0 {
		data = data[at+len("data: "):]
	}
	var reply struct{ Result map[string]any }
	_ = json.Unmarshal(data, &reply)
	return reply.Result
}

// call calls a tool; text is its answer when it is an error.
func (c *webClient) call(tool string, arguments map[string]any) (answer map[string]any, text string) {
	c.t.Helper()
	result := c.post("tools/call", map[string]any{"name": tool, "arguments": arguments})
	if result == nil {
		c.t.Fatalf("%s: status %d", tool, c.status)
	}
	return answerOf(result)
}

func TestServeHTTPWorksOnLoops(t *testing.T) {
	for _, modern := range []bool{false, true} {
		t.Run(fmt.Sprintf("modern %t", modern), func(t *testing.T) {
			b := newBox(t)
			b.write("config/loop-mcp/loops/good.loop.yaml", readFile(t, b.loop("good", "count", scoreThree)))
			s := b.web("0")
			c := s.client("", modern)
			answer, problem := c.call("loop_start", map[string]any{"loop_file": "good"})
			if problem != "" {
				t.Fatal(problem)
			}
			id, _ := answer["loop_id"].(string)
			if !loops.ID(id).Secret() {
				t.Errorf("the id %s can be guessed", id)
			}
			answer, problem = c.call("loop_wait", map[string]any{"loop_id": id, "wait_seconds": 40, "for": "settled"})
			if problem != "" || answer["status"] != "completed" {
				t.Errorf("the loop is %v, %s", answer, problem)
			}
			s.end()
			b.want(0, []string{"ls"}, "good-", "completed")
		})
	}
}

// TestARestartedServerSaysThatItKnowsNoSuchSession so that clients begin anew;
// their loops are all there.
func TestARestartedServerSaysThatItKnowsNoSuchSession(t *testing.T) {
	b := newBox(t)
	b.write("config/loop-mcp/loops/slow.loop.yaml", readFile(t, b.loop("slow", "slow", "until: {all: [{kind: claim}]}")))
	s := b.web("0")
	c := s.client("", false)
	answer, problem := c.call("loop_start", map[string]any{"loop_file": "slow"})
	if problem != "" {
		t.Fatal(problem)
	}
	s.kill()
	b.write("config/loop-mcp/loops/go-on", "")
	c.url = b.web(strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/mcp")).url
	if c.post("ping", map[string]any{}); c.status != http.StatusNotFound {
		t.Errorf("the old session got status %d", c.status)
	}
	c.greet()
	answer, problem = c.call("loop_wait", map[string]any{"loop_id": answer["loop_id"], "wait_seconds": 40, "for": "settled"})
	if problem != "" || answer["status"] != "completed" {
		t.Errorf("the loop is %v, %s", answer, problem)
	}
}

// TestRestingLoopsGoOnWithServeHTTP: no client has to come.
func TestRestingLoopsGoOnWithServeHTTP(t *testing.T) {
	b := newBox(t)
	b.want(0, []string{"start", b.loop("slow", "slow", "until: {all: [{kind: claim}]}")})
	b.write("go-on", "")
	b.web("0")
	id := b.only("slow")
	b.until("the loop does not go on", func() bool { return b.answer(b.run("show", id, "--json"))["status"] == "completed" })
}

func TestTwoTokensDoNotSeeEachOther(t *testing.T) {
	b := newBox(t)
	const ann, bob = "annsannsannsanns", "bobsbobsbobsbobs"
	s := b.web("0", "LOOP_MCP_TOKEN=ann="+ann+", bob="+bob) // counts without a configuration that names it
	if c := (&webClient{t: t, url: s.url, modern: true}); c.post("tools/list", map[string]any{}) != nil || c.status != http.StatusUnauthorized || !strings.Contains(c.challenge, "resource_metadata=") {
		t.Errorf("without a token: %d %s", c.status, c.challenge)
	}
	start := func(c *webClient) string {
		t.Helper()
		answer, problem := c.call("loop_start", map[string]any{"goal": "g", "request_id": "same", "until": map[string]any{"all": []any{map[string]any{"kind": "claim"}}}})
		if problem != "" {
			t.Fatal(problem)
		}
		return answer["loop_id"].(string)
	}
	a, c := s.client(ann, false), s.client(bob, true)
	first, second := start(a), start(c)
	if first == second {
		t.Fatalf("both got %s", first)
	}
	if _, problem := c.call("loop_inspect", map[string]any{"loop_id": first}); !strings.Contains(problem, "no loop") || !strings.Contains(problem, second) {
		t.Errorf("bob looks at ann's loop: %q", problem)
	}
	stolen := &webClient{t: t, url: s.url, token: bob, session: a.session}
	if stolen.post("ping", map[string]any{}); stolen.status != http.StatusNotFound {
		t.Errorf("bob in ann's session: %d", stolen.status)
	}
	b.want(0, []string{"ls"}, first, second)
}

func TestServeHTTPRefusals(t *testing.T) {
	b := newBox(t)
	for name, test := range map[string]struct {
		args []string
		env  []string
		code int
		says []string
	}{
		"every address without a token": {[]string{"--http", "0.0.0.0:0"}, nil, 1, []string{"a token is needed", "token_env"}},
		"a short token":                 {[]string{"--http", "0"}, []string{"LOOP_MCP_HTTP_TOKEN_ENV=T", "T=short"}, 1, []string{"at least 16"}},
		"a short token without a name":  {[]string{"--http", "0"}, []string{"LOOP_MCP_TOKEN=short"}, 1, []string{"in LOOP_MCP_TOKEN has 5 characters"}},
		"a token that is nothing":       {[]string{"--http", "0"}, []string{"LOOP_MCP_TOKEN= "}, 1, []string{"LOOP_MCP_TOKEN is not set"}},
		"no token in the variable":      {[]string{"--http", "0"}, []string{"LOOP_MCP_HTTP_TOKEN_ENV=T"}, 1, []string{"T is not set"}},
		"no port":                       {[]string{"--http", "host"}, nil, 2, []string{"port"}},
		"two addresses":                 {[]string{"--http=1", "2"}, nil, 2, []string{"two addresses"}},
		"an address without --http":     {[]string{":7717"}, nil, 2, []string{"usage"}},
		"over both":                     {[]string{"--http", "--stdio"}, nil, 2, []string{"serve: --stdio is another way to serve than --http"}},
		"a wrong origin":                {[]string{"--http", "0"}, []string{"LOOP_MCP_HTTP_ALLOWED_ORIGINS=app.example"}, 1, []string{"http.allowed_origins[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := *b
			b.t, b.env = t, append(slices.Clip(b.env), test.env...)
			b.want(test.code, append([]string{"serve"}, test.args...), test.says...)
		})
	}
}

func TestTokensOfTheVariable(t *testing.T) {
	const long, other = "0123456789abcdef", "fedcba9876543210"
	for name, want := range map[string]string{"": long, "T": other} {
		got, err := (&httpConfig{TokenEnv: name}).tokens(environment{"LOOP_MCP_TOKEN": "a=" + long, "T": "a=" + other}.get)
		if err != nil || got["a"] != want {
			t.Errorf("token_env %q: %v, %v", name, got, err)
		}
	}
	if got, err := (&httpConfig{}).tokens(environment{}.get); err != nil || got != nil {
		t.Errorf("with no variable: %v, %v", got, err)
	}
	for text, want := range map[string]map[string]string{
		long:                                    {"token-9f9f5111": long},
		"ci=" + long:                            {"ci": long},
		"a=" + long + "," + "b=" + other:        {"a": long, "b": other},
		" a=" + long + "\n\tb=" + other + "\n ": {"a": long, "b": other},
		"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0==":    {"token-b28e28a6": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0=="},
		"a=" + long + " a=" + other:             nil,
		"a=" + long + " b=" + long:              nil,
		"a=short":                               nil,
		"":                                      nil,
		", ,":                                   nil,
		"a=" + long + " " + strings.Repeat("x", 15): nil,
	} {
		got, err := (&httpConfig{TokenEnv: "T"}).tokens(environment{"T": text}.get)
		if (err == nil) != (want != nil) || err == nil && len(got) != len(want) {
			t.Errorf("%q: %v, %v", text, got, err)
			continue
		}
		if err == nil && !cmp.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		if err != nil && (strings.Contains(err.Error(), long) || strings.Contains(err.Error(), other)) {
			t.Errorf("%q: the error shows a token: %v", text, err)
		}
	}
}
