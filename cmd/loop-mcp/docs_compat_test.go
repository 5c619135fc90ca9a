package main

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

const compatibility = "docs/compatibility.md"

// TestCompatibilityVersions: what the page says was run is what the commands
// install.
func TestCompatibilityVersions(t *testing.T) {
	installed := map[string]string{}
	for _, folder := range []string{"clients", "agents"} {
		var p struct{ Dependencies map[string]string }
		if err := json.Unmarshal([]byte(readFile(t, filepath.Join(root, ".ci", folder, "package.json"))), &p); err != nil {
			t.Fatal(err)
		}
		maps.Copy(installed, p.Dependencies)
	}
	seen := 0
	for line := range strings.Lines(readFile(t, filepath.Join(root, compatibility))) {
		cells := strings.Split(line, "|")
		if len(cells) != 10 || !strings.HasPrefix(strings.TrimSpace(cells[2]), "`") {
			continue
		}
		name, version := strings.Trim(cells[2], " `"), strings.TrimSpace(cells[3])
		if installed[name] != version {
			t.Errorf("%s says that %s %s was run; the commands install %q", compatibility, name, version, installed[name])
		}
		seen++
	}
	if seen < 7 {
		t.Errorf("%s names %d packages", compatibility, seen)
	}
}

// conformanceExceptions are the checks that are expected to fail.
func conformanceExceptions(t *testing.T) string {
	t.Helper()
	var all []struct{ Server, Revision, Scenario, Check, Why string }
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(root, ".ci/clients/conformance-expected.json"))), &all); err != nil {
		t.Fatal(err)
	}
	b := tableOf("against", "revision", "scenario", "why")
	for _, e := range all {
		b.row(e.Server, e.Revision, "`"+e.Scenario+"`", e.Why)
	}
	return b.String()
}
