package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent/mcptools"
	"github.com/google/go-cmp/cmp"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// environment is a set of variables.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	path := configFile(t, `
allow_commands: [go, "${EXTRA:-make}"]
roots: ["~", /srv]
pass_env: [GH_TOKEN]
loop_dirs: [/loops]
workers: 4
limits: { defaults: { max_passes: 5, max_total_tokens: 100k }, ceilings: { max_cost_usd: 20 } }
live_loops: 50
approvals: person
durability: process
retention: 7d
max_wait: 20s
daily_cost_usd: 12.5
models: { smart: { provider: openai, model: m, price: { input: 0.1, output: 2, cache_read: 0 }, context_window: 200k } }
judge: { model: smart }
mcp_servers: { files: { command: npx, args: [-y, files, "${EXTRA:-.}"] } }
`)
	env := environment{"HOME": "/home/me", "LOOP_MCP_WORKERS": "8", "LOOP_MCP_PASS_ENV": "A, B", "LOOP_MCP_NOPE": "x"}
	got, err := loadConfig(path, true, env.get)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		AllowCommands: []string{"go", "make"}, Roots: []string{"/home/me", "/srv"}, PassEnv: []string{"A", "B"}, LoopDirs: []string{"/loops"},
		Workers: 8, LiveLoops: 50, Approvals: "person", Durability: "process",
		Retention: days(7 * 24 * time.Hour), MaxWait: loops.Duration(20 * time.Second),
		DailyCostUSD: 12_500_000, Judge: judgeConfig{Model: "smart"},
		Models: map[string]modelConfig{"smart": {Provider: "openai", Model: "m", APIKeyEnv: "OPENAI_API_KEY", ContextWindow: 200_000,
			Price: &priceConfig{Input: new(loops.USD(100_000)), Output: new(2 * loops.Dollar), CacheRead: new(loops.USD(0))}}},
		MCPServers: map[string]mcptools.Server{"files": {Command: "npx", Args: []string{"-y", "files", "."}}},
		Limits:     limitsConfig{Defaults: loops.Limits{MaxPasses: 5, MaxTotalTokens: 100_000}, Ceilings: loops.Limits{MaxCostUSD: 20 * loops.Dollar}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestConfigDefaults(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "# nothing\n"} {
		c, err := loadConfig(configFile(t, text), true, environment{"HOME": "/h"}.get)
		if err != nil || len(c.AllowCommands) > 0 || !cmp.Equal(c.Roots, []string{"/h"}) || !cmp.Equal(c.LoopDirs, []string{filepath.Join(wd, ".loops")}) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := loadConfig(missing, false, environment{"HOME": "/h"}.get); err != nil {
		t.Errorf("no file at the usual place: %v", err)
	}
	if _, err := loadConfig(missing, true, environment{"HOME": "/h"}.get); err == nil {
		t.Error("a file that was named and is not there is passed over")
	}
}

func TestConfigProblems(t *testing.T) {
	tests := []struct {
		name, text string
		env        environment
		want       []string
	}{
		{"unknown key", "workers: 2\nallow_comands: [go]\n", nil, []string{"line 2", "allow_commands"}},
		{"unknown nested key", "limits:\n  default: {}\n", nil, []string{"line 2", "defaults"}},
		{"wrong type", "workers: many\n", nil, []string{"line 1", "workers"}},
		{"no workers", "workers: 0\n", nil, []string{"workers"}},
		{"wrong limit", "limits: {defaults: {max_passes: 3x}}\n", nil, []string{"limits.defaults.max_passes"}},
		{"bare number", "max_wait: 20\n", nil, []string{"max_wait"}},
		{"long wait", "max_wait: 5m\n", nil, []string{"max_wait", "50s"}},
		{"approvals", "approvals: never\n", nil, []string{"approvals", "auto or person"}},
		{"durability", "durability: none\n", nil, []string{"durability", "power or process"}},
		{"retention", "retention: soon\n", nil, []string{"retention", "30d"}},
		{"unset variable", "pass_env: [\"${NOPE}\"]\n", nil, []string{"line 1", "NOPE"}},
		{"http without a port", "http: {listen: x:y}\n", nil, []string{"http.listen", "port"}},
		{"http with a page", "http: {allowed_origins: [\"https://a.example/page\"]}\n", nil, []string{"http.allowed_origins[0]", "https://app.example"}},
		{"daily_cost_usd", "daily_cost_usd: 0\n", nil, []string{"daily_cost_usd"}},
		{"notify", "notify: ['', x]\n", nil, []string{"notify: must be a program"}},
		{"nats without a server", "nats: {creds_file: loop.creds}\n", nil, []string{"nats.url", "is missing"}},
		{"nats with another scheme", "nats: {url: \"http://me:secret@a\"}\n", nil, []string{"nats.url", "nats://", "http://me:xxxxx@a"}},
		{"nats with two replicas", "nats: {url: \"nats://a\", replicas: 2}\n", nil, []string{"nats.replicas", "1, 3 or 5, got 2"}},
		{"nats with half a certificate", "nats: {url: \"tls://a\", cert_file: a.pem}\n", nil, []string{"nats.cert_file", "nats.key_file"}},
		{"telemetry", "telemetry: {}\n", nil, []string{"telemetry"}},
		{"variable of a list", "", environment{"LOOP_MCP_ROOTS": "~,"}, nil},
		{"variable that is no number", "", environment{"LOOP_MCP_WORKERS": "many"}, []string{"LOOP_MCP_WORKERS"}},
		{"variable that is no choice", "", environment{"LOOP_MCP_APPROVALS": "never"}, []string{"approvals"}},
		{"variable that is no amount", "", environment{"LOOP_MCP_DAILY_COST_USD": "much"}, []string{"LOOP_MCP_DAILY_COST_USD"}},
		{"list", "- a\n", nil, []string{"mapping"}},
		{"broken", "a: [b\n", nil, []string{"YAML"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env := environment{"HOME": "/h"}
			maps.Copy(env, test.env)
			_, err := loadConfig(configFile(t, test.text), true, env.get)
			if len(test.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not say %q", err, want)
				}
			}
		})
	}
}

func TestFolders(t *testing.T) {
	tests := []struct {
		env          environment
		config, data string
	}{
		{environment{"HOME": "/h"}, "/h/.config/loop-mcp", "/h/.local/state/loop-mcp"},
		{environment{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/loop-mcp", "/s/loop-mcp"},
		{environment{"HOME": "/h", "XDG_CONFIG_HOME": "relative", "LOOP_MCP_HOME": "/data"}, "/h/.config/loop-mcp", "/data"},
		{environment{}, "", ""},
	}
	for _, test := range tests {
		gotConfig, errConfig := configDir(test.env.get)
		gotData, errData := dataDir(test.env.get)
		if gotConfig != test.config || gotData != test.data || (errConfig == nil) != (test.config != "") || (errData == nil) != (test.data != "") {
			t.Errorf("%v: %q %v, %q %v", test.env, gotConfig, errConfig, gotData, errData)
		}
	}
}

func TestHarmless(t *testing.T) {
	if got := plain("a\x1b[31m\tb\r\n\u202ec\x07"); got != "a[31m bc" && got != "a[31m b c" {
		t.Errorf("got %q", got)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Microsecond: "2ms", 12340 * time.Millisecond: "12.3s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m",
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 0: "0s",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
