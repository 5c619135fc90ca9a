package mcptools

import (
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
	"github.com/google/go-cmp/cmp"
)

func TestTheUsualShapeIsRead(t *testing.T) {
	var got Config
	err := loopfile.DecodeYAML([]byte(`
mcp_servers:
  files: { command: npx, args: [-y, "@modelcontextprotocol/server-filesystem", "."], env: { DEBUG: "1" }, cwd: sub, timeout: 5s }
  wiki:  { url: "https://wiki.example/mcp", headers: { Authorization: "Bearer x" }, price_per_call_usd: { "search": 0.005 } }
  old:   { type: sse, url: "https://old.example/sse", disabled: true, start_timeout: 2m }
  loops: { command: loop-mcp, allow_nested: true, approve: ["*", "!loop_wait"], read_only: [loop_list], idempotent: [loop_pause] }
pass_env: [GH_TOKEN]
`), &got, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{PassEnv: []string{"GH_TOKEN"}, Servers: map[string]Server{
		"files": {Command: "npx", Args: []string{"-y", "@modelcontextprotocol/server-filesystem", "."}, Env: map[string]string{"DEBUG": "1"}, Cwd: "sub", Timeout: loops.Duration(5 * time.Second)},
		"wiki":  {URL: "https://wiki.example/mcp", Headers: map[string]string{"Authorization": "Bearer x"}, PricePerCallUSD: map[string]loops.USD{"search": 5000}},
		"old":   {Type: "sse", URL: "https://old.example/sse", Disabled: true, StartTimeout: loops.Duration(2 * time.Minute)},
		"loops": {Command: "loop-mcp", AllowNested: true, Approve: []string{"*", "!loop_wait"}, ReadOnly: []string{"loop_list"}, Idempotent: []string{"loop_pause"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	for name, kind := range map[string]string{"files": typeStdio, "wiki": typeHTTP, "old": typeSSE} {
		if got := got.Servers[name].kind(); got != kind {
			t.Errorf("%s is %s, want %s", name, got, kind)
		}
	}
}

func TestAMisspeltKeyIsNamed(t *testing.T) {
	var c Config
	err := loopfile.DecodeYAML([]byte("mcp_servers:\n  files:\n    comand: npx\n"), &c, nil)
	if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "did you mean command?") {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		server Server
		want   string // empty: fine
	}{
		"a command":                  {Server{Command: "npx"}, ""},
		"an address":                 {Server{URL: "http://127.0.0.1:1/mcp"}, ""},
		"nothing":                    {Server{}, "mcp_servers.x: needs a command to start, or a url to connect to"},
		"both":                       {Server{Command: "a", URL: "http://h/", Type: "stdio"}, "mcp_servers.x.url: belongs to the types http and sse"},
		"stdio with an address":      {Server{Type: "stdio", URL: "http://h/"}, "mcp_servers.x.type: is stdio, and the server has a url"},
		"an unknown type":            {Server{Type: "htp", URL: "http://h/"}, `mcp_servers.x.type: must be stdio, http or sse, got "htp", did you mean http?`},
		"http without an address":    {Server{Type: "http"}, "mcp_servers.x.url: is missing"},
		"no address":                 {Server{URL: "wiki.example/mcp"}, "mcp_servers.x.url: must be an address"},
		"another scheme":             {Server{URL: "ftp://h/"}, "mcp_servers.x.url: must be an address"},
		"arguments of an address":    {Server{URL: "http://h/", Args: []string{"x"}}, "mcp_servers.x.args: belongs to the type stdio"},
		"headers of a command":       {Server{Command: "a", Headers: map[string]string{"A": "b"}}, "mcp_servers.x.headers: belongs to"},
		"a header with a line break": {Server{URL: "http://h/", Headers: map[string]string{"A": "b\nC: d"}}, "mcp_servers.x.headers.A: must not hold control characters"},
		"no header":                  {Server{URL: "http://h/", Headers: map[string]string{"A B": "b"}}, `mcp_servers.x.headers: "A B" is not a name`},
		"a negative timeout":         {Server{Command: "a", Timeout: -1}, "mcp_servers.x.timeout: must not be negative"},
		"a negative price":           {Server{Command: "a", PricePerCallUSD: map[string]loops.USD{"a": -1}}, "mcp_servers.x.price_per_call_usd.a: must not be negative"},
		"an empty pattern":           {Server{Command: "a", Approve: []string{"a", "!"}}, `mcp_servers.x.approve[1]: "!" must name tools`},
		"itself":                     {Server{Command: "/usr/local/bin/loop-mcp", Args: []string{"serve"}}, "mcp_servers.x.command: is loop-mcp itself"},
		"itself on Windows":          {Server{Command: "loop-mcp.exe"}, "mcp_servers.x.command: is loop-mcp itself"},
		"itself through npx":         {Server{Command: "npx", Args: []string{"-y", "loop-mcp@latest"}}, "mcp_servers.x.command: is loop-mcp itself"},
		"itself through env":         {Server{Command: "/usr/bin/env", Args: []string{"A=b", "loop-mcp"}}, "mcp_servers.x.command: is loop-mcp itself"},
		"itself, meant":              {Server{Command: "loop-mcp", AllowNested: true}, ""},
		"itself, disabled":           {Server{Command: "loop-mcp", Disabled: true}, ""},
		"a folder of that name":      {Server{Command: "npx", Args: []string{"-y", "server-filesystem", "/src/loop-mcp"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Config{Servers: map[string]Server{"x": tt.server}}.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && len(loops.FieldErrors(err)) == 0 {
				t.Errorf("%v names no field", err)
			}
		})
	}
}

func TestServerNames(t *testing.T) {
	for name, fine := range map[string]bool{
		"files": true, "GitHub-2": true, "a": true, "a_b": true, strings.Repeat("a", 32): true,
		"": false, "a__b": false, "_a": false, "a_": false, "a.b": false, "a b": false, strings.Repeat("a", 33): false,
	} {
		err := Config{Servers: map[string]Server{name: {Command: "x"}}}.Validate()
		if (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	err := Config{Servers: map[string]Server{"b": {}, "a": {Type: "x"}, "c!": {}}}.Validate()
	var fields []string
	for _, e := range loops.FieldErrors(err) {
		fields = append(fields, e.Field)
	}
	if diff := cmp.Diff([]string{"mcp_servers.a.type", "mcp_servers.b", `mcp_servers["c!"]`}, fields); diff != "" {
		t.Error(diff)
	}
}

func TestAServerMustNotBeThisProgram(t *testing.T) {
	s := Server{Command: "/bin/sh"}
	_, err := New(Config{Servers: map[string]Server{"x": s}}, &Options{Self: "/bin/sh"})
	if err == nil || !strings.Contains(err.Error(), "mcp_servers.x.command: is loop-mcp itself") {
		t.Errorf("got %v", err)
	}
	s.AllowNested = true
	if _, err := New(Config{Servers: map[string]Server{"x": s}}, &Options{Self: "/bin/sh"}); err != nil {
		t.Error(err)
	}
}
