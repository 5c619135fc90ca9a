package prices

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops/model"
)

var update = flag.Bool("update", false, "write the golden costs anew, with the npm package's own calculation")

// question asks what a usage of a model costs. Cost is the npm package's
// answer, in dollars; nil: it has no price for text in and out.
type question struct {
	Provider string      `json:"provider"`
	Model    string      `json:"model"`
	At       time.Time   `json:"at"`
	Usage    model.Usage `json:"usage"`
	Cost     *float64    `json:"cost,omitempty"`
}

// The questions take these in turn. Tiers begin at 128,000, 200,000, 272,000
// and 512,000 tokens, prices change in 2025 and on 2026-08-17.
var (
	usages = []model.Usage{
		{Input: 1234, Output: 567},
		{Input: 128_000, Output: 4001},
		{Input: 3, CacheRead: 127_998, CacheWrite: 1, Output: 10},
		{Input: 1001, CacheRead: 70_003, CacheWrite: 20_017, CacheWrite1h: 9_019, Output: 2003},
		{Input: 200_000, Output: 77},
		{Input: 1, CacheRead: 199_999, CacheWrite1h: 1, Output: 99},
		{Input: 271_999, Output: 1000},
		{Input: 271_999, CacheRead: 1, Output: 1000},
		{CacheRead: 272_001, Output: 1000},
		{Input: 412_345, CacheWrite: 100_001, Output: 32_768},
		{Input: 900_000, CacheRead: 99_999, Reasoning: 5, Output: 60_000},
	}
	times = []time.Time{
		autumn, time.Date(2026, 8, 16, 23, 59, 59, 0, time.UTC), time.Date(2026, 8, 17, 0, 0, 0, 0, time.UTC),
		time.Date(2025, 2, 1, 8, 0, 0, 0, time.UTC), time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC),
	}
)

// TestGolden compares with what the npm package calculated.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "golden.jsonl")
	if *update {
		var few []question
		for i, q := range questions(t) {
			if i%17 == 0 || slices.Contains([]string{"anthropic", "deepseek", "google", "openai"}, q.Provider) && i%5 == 0 {
				few = append(few, q)
			}
		}
		answers(t, few)
		var lines bytes.Buffer
		for _, q := range few {
			if err := json.NewEncoder(&lines).Encode(q); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var all []question
	for line := range strings.Lines(read(t, path)) {
		var q question
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		all = append(all, q)
	}
	compare(t, all, 300)
}

// TestEveryModelCostsWhatThePackageSays asks the installed package.
func TestEveryModelCostsWhatThePackageSays(t *testing.T) {
	all := questions(t)
	answers(t, all)
	compare(t, all, 3500)
}

// TestTableIsOfThePackage generates the table again.
func TestTableIsOfThePackage(t *testing.T) {
	dir := t.TempDir()
	node(t, nil, "generate.mjs", "0.1.8", Date().Format(time.DateOnly), dir)
	if got, want := unpacked(t, filepath.Join(dir, "table.ndjson.gz")), unpacked(t, "table.ndjson.gz"); got != want {
		t.Error("the table is not what the generator writes; run make prices")
	}
	if read(t, filepath.Join(dir, "table.LICENSE")) != read(t, "table.LICENSE") {
		t.Error("table.LICENSE is not that of the package; run make prices")
	}
}

func TestGeneratorRefusesAnotherVersion(t *testing.T) {
	node(t, nil, "oracle.mjs", "names") // skips without the package
	out, err := command(t, "generate.mjs", "0.0.1", "2026-09-23", t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "0.0.1 is wanted") {
		t.Errorf("the generator said %s, %v", out, err)
	}
}

// compare holds our costs to the package's: never below, and above by no more
// than the rounding.
func compare(t *testing.T, all []question, least int) {
	t.Helper()
	table, priced := open(), 0
	for _, q := range all {
		price, ok := table.find(q.Provider, q.Model, q.At)
		if ok != (q.Cost != nil) {
			t.Errorf("%s/%s at %s: a price is found: %t, by the package: %t", q.Provider, q.Model, q.At, ok, q.Cost != nil)
			continue
		}
		if !ok {
			continue
		}
		priced++
		want, got := *q.Cost*1e6, float64(price.Cost(q.Usage))
		noise, rounding := 1e-9*max(1, want), 1+float64(q.Usage.Total())/1e6
		if got < want-noise || got > want+rounding {
			t.Errorf("%s/%s at %s: %+v costs %v micro-dollars, the package says %v", q.Provider, q.Model, q.At, q.Usage, got, want)
		}
		if got < math.Floor(want) {
			t.Errorf("%s/%s: rounded down", q.Provider, q.Model)
		}
	}
	if priced < least {
		t.Errorf("only %d of %d questions have a price", priced, len(all))
	}
}

// questions are about every name in the package's own rules, and some more.
func questions(t *testing.T) []question {
	t.Helper()
	var all []question
	for line := range bytes.Lines(node(t, nil, "oracle.mjs", "names")) {
		var p struct {
			Provider string
			Models   []string
		}
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatal(err)
		}
		for _, name := range append(p.Models, "nothing-of-the-kind", "gpt-5-20250807", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5@20250929") {
			n := len(all)
			all = append(all, question{Provider: p.Provider, Model: name, At: times[n%len(times)], Usage: usages[n%len(usages)]})
			if n%7 == 0 {
				all = append(all, question{Provider: p.Provider, Model: " " + strings.ToUpper(name), At: autumn, Usage: usages[n%len(usages)]})
			}
		}
	}
	return all
}

// answers has the package calculate the costs.
func answers(t *testing.T, all []question) {
	t.Helper()
	var in bytes.Buffer
	for _, q := range all {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(node(t, &in, "oracle.mjs")))
	for i := range all {
		var answer struct{ Cost *float64 }
		if !lines.Scan() {
			t.Fatalf("the package answered %d of %d questions", i, len(all))
		}
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		all[i].Cost = answer.Cost
	}
}

// node runs a script. Without Node or the package the test is skipped, unless
// LOOP_MCP_NODE_TESTS says that they have to be there.
func node(t *testing.T, in io.Reader, args ...string) []byte {
	t.Helper()
	if err := installed(); err != nil {
		if os.Getenv("LOOP_MCP_NODE_TESTS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := command(t, args...)
	cmd.Stdin = in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %v: %v\n%s", args, err, &stderr)
	}
	return out
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "node", args...)
}

func installed() error {
	if _, err := exec.LookPath("node"); err != nil {
		return fmt.Errorf("node is not installed: %w", err)
	}
	modules := os.Getenv("LOOP_MCP_NODE_MODULES")
	if modules == "" {
		modules = filepath.Join("..", "..", "..", ".ci", "clients", "node_modules")
	}
	_, err := os.Stat(filepath.Join(modules, "@pydantic", "genai-prices"))
	return err
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func unpacked(t *testing.T, path string) string {
	t.Helper()
	unpack, err := gzip.NewReader(strings.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpack)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
