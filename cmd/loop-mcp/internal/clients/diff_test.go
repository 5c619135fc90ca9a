package clients

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiffs are shown as people know them.
func TestDiffs(t *testing.T) {
	b := newBox(t)
	b.write(".config/zed/settings.json", "// Zed\n{\n  \"theme\": \"One\",\n  \"context_servers\": {\n    \"docs\": {\n      \"command\": \"docs\",\n      \"env\": { \"API_TOKEN\": \"s3cret\", \"LANG\": \"de\" }\n    }, // mine\n  },\n}\n")
	b.write(".codex/config.toml", "model = \"x\"\n\n[mcp_servers.loop]\ncommand = \"/old/loop-mcp\"\ntool_timeout_sec = 5\n\n[tui]\nnotifications = true\n")
	var all strings.Builder
	all.WriteString(b.must("zed", loop, Options{}, Add).Diff)
	all.WriteString(b.must("codex", loop, Options{}, Update).Diff)
	all.WriteString(b.must("cursor", loop, Options{}, Add).Diff)
	all.WriteString(b.must("codex", loop, Options{Remove: true}, Remove).Diff)
	golden(t, "diffs.txt", all.String())
	if strings.Contains(all.String(), "s3cret") {
		t.Error("a secret is shown")
	}
}

// TestSecretsAreNotShown in whatever way they are written.
func TestSecretsAreNotShown(t *testing.T) {
	for text, want := range map[string]string{
		`{"env": {"GITHUB_TOKEN": "s3cret \" s3cret", "A": "b"}}`:           `{"env": {"GITHUB_TOKEN": "…", "A": "b"}}`,
		`"Authorization": "Bearer s3cret"`:                                  `"Authorization": "…"`,
		"api_key = 's3cret'\nmodel = 'x'":                                   "api_key = \"…\"\nmodel = 'x'",
		"PRIVATE_KEY = \"\"\"\ns3cret\ns3cret\"\"\"\nb = \"x\"":             "PRIVATE_KEY = …\n…\n…\nb = \"x\"",
		`"keyboard": "qwerty", "tokens": 5, "bearer_token_env_var": "NAME"`: `"keyboard": "qwerty", "tokens": 5, "bearer_token_env_var": "…"`,
	} {
		if diff := cmp.Diff(want, Masked(text)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestADiffOfEverythingIsCut.
func TestADiffOfEverythingIsCut(t *testing.T) {
	got := Diff([]byte(strings.Repeat("a\n", 1000)), []byte(strings.Repeat("b\n", 1000)+strings.Repeat("x", 1000)))
	if n := strings.Count(got, "\n"); n != maxShown+2 || !strings.HasSuffix(got, " … and 1881 lines more\n") {
		t.Errorf("%d lines, the end is %q", n, got[len(got)-40:])
	}
}
