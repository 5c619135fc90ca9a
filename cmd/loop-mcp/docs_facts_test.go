package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/loop-mcp/judge"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
	"github.com/google/go-cmp/cmp"
)

// constants returns the values of the constants of a type, or, for an empty
// type, of those whose name begins with "exit", in the order of the source.
func constants(t *testing.T, file, typeName string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		kind, _ := spec.Type.(*ast.Ident)
		if ok && (kind != nil && kind.Name == typeName || typeName == "" && strings.HasPrefix(spec.Names[0].Name, "exit")) {
			values = append(values, strings.Trim(literal.Value, `"`))
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("%s has no constants of the type %q", file, typeName)
	}
	return values
}

func TestStatusesTable(t *testing.T) {
	var want []string
	for _, s := range loops.Statuses() {
		want = append(want, string(s))
	}
	if diff := cmp.Diff(want, column(readPage(t, "README.md").rows(t, "status"), 0)); diff != "" {
		t.Errorf("-code +README\n%s", diff)
	}
}

func TestExitCodesInREADME(t *testing.T) {
	_, text, ok := strings.Cut(readPage(t, "README.md").prose(), "Exit codes:")
	text, _, ended := strings.Cut(text, ".")
	if !ok || !ended {
		t.Fatal("README has no sentence that begins with Exit codes:")
	}
	var codes []string
	for phrase := range strings.SplitSeq(text, ",") {
		words := strings.Fields(phrase)
		codes = append(codes, words[0])
		for _, s := range loops.Statuses() {
			if slices.Contains(words[1:], string(s)) && strconv.Itoa(codeOfStatus(s)) != words[0] {
				t.Errorf("a %s loop ends with %d, README says %s", s, codeOfStatus(s), words[0])
			}
		}
	}
	if diff := cmp.Diff(constants(t, "cmd/loop-mcp/exit.go", ""), codes); diff != "" {
		t.Errorf("-code +README\n%s", diff)
	}
}

func TestStopReasonsTable(t *testing.T) {
	rows := readPage(t, "docs/tools.md").rows(t, "stop reason")
	status := map[string]string{"goal": "completed", "cap": "capped", "stall": "stalled", "blocked": "blocked", "fail": "failed", "cancel": "cancelled"}
	for _, row := range rows {
		reason := strings.Trim(row[0], "`")
		family, _, _ := strings.Cut(reason, ".")
		if strings.Trim(row[1], "`") != status[family] {
			t.Errorf("%s is %s, docs/tools.md says %s", reason, status[family], row[1])
		}
	}
	if diff := cmp.Diff(constants(t, "loops/status.go", "StopReason"), column(rows, 0)); diff != "" {
		t.Errorf("-code +docs/tools.md\n%s", diff)
	}
}

func TestEventsTable(t *testing.T) {
	if diff := cmp.Diff(constants(t, "loops/state.go", "EventType"), column(readPage(t, "docs/tools.md").rows(t, "event"), 0)); diff != "" {
		t.Errorf("-code +docs/tools.md\n%s", diff)
	}
}

func TestSnapshotTable(t *testing.T) {
	var want []string
	for f := range reflect.TypeFor[mcpserver.Answer]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		want = append(want, name)
	}
	if diff := cmp.Diff(want, column(readPage(t, "docs/tools.md").rows(t, "field"), 0)); diff != "" {
		t.Errorf("-code +docs/tools.md\n%s", diff)
	}
}

func TestViewsTable(t *testing.T) {
	var want []string
	for _, tool := range tools(t) {
		for _, p := range tool.InputSchema.Properties {
			if tool.Name == "loop_inspect" && p.name == "view" {
				want = p.Enum
			}
		}
	}
	if diff := cmp.Diff(want, column(readPage(t, "docs/tools.md").rows(t, "view"), 0)); diff != "" {
		t.Errorf("-code +docs/tools.md\n%s", diff)
	}
}

// TestExpressions evaluates the example expressions as the engine would.
func TestExpressions(t *testing.T) {
	rows := readPage(t, "docs/loop-files.md").rows(t, "expression")
	if len(rows) < 6 {
		t.Errorf("only %d expressions", len(rows))
	}
	var predicate judge.Predicate
	for _, row := range rows {
		expression, output := strings.Trim(row[0], "`"), strings.Trim(row[1], "`")
		config, err := json.Marshal(loops.Condition{Kind: loops.StopPredicate, Expression: expression})
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{output: true, "something else": false} {
			e := loops.Evidence{Config: config, Output: text, Iteration: 4, Pass: 3, Inputs: map[string]any{"least": int64(2)},
				Limits: loops.DefaultLimits(), History: []string{"first draft", "1.4 is faster"}}
			var scored struct{ Score *float64 }
			if json.Unmarshal([]byte(text), &scored) == nil {
				e.Score = scored.Score
			}
			v, err := predicate.Judge(t.Context(), e)
			if want && err != nil || v.Met != want {
				t.Errorf("%s on %s: met is %v, %v; want %v", expression, text, v.Met, err, want)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)]+)\)`)

func TestLinks(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose(), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := p.path
			if target != "" {
				file = path.Join(path.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which is not there", p.path, m[1])
			} else if anchor != "" && !slices.Contains(anchors(readPage(t, file)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", p.path, m[1])
			}
		}
	}
}

// anchors are the headings of a page as links name them.
func anchors(p page) []string {
	var found []string
	for line := range strings.Lines(p.prose()) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			kept := strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
					return r
				}
				return -1
			}, strings.ToLower(strings.TrimSpace(heading)))
			found = append(found, kept)
		}
	}
	return found
}

var (
	hosts        = regexp.MustCompile(`\b([a-z0-9-]+\.)+(com|org|net|io|dev|ai)\b`)
	machinePaths = regexp.MustCompile("(^|[\\s`\"(=])/(work|tmp|root|home|Users|mnt|private)\\b\\S*")
)

// allowedHosts are not registries, and nothing is fetched from them.
var allowedHosts = []string{"example.com", "keepachangelog.com", "www.apple.com"}

func TestNoHostsAndNoMachinePaths(t *testing.T) {
	for _, p := range pages(t) {
		for _, host := range hosts.FindAllString(p.text, -1) {
			if !slices.Contains(allowedHosts, host) {
				t.Errorf("%s names the host %s", p.path, host)
			}
		}
		if found := machinePaths.FindString(p.text); found != "" {
			t.Errorf("%s names the path %s", p.path, found)
		}
	}
}

func TestREADMEShowsEveryConfigurationKey(t *testing.T) {
	var shown string
	for _, b := range readPage(t, "README.md").blocks() {
		if b.lang == "yaml" && strings.Contains(b.text, "config.yaml") {
			shown = "\n" + b.text
		}
	}
	for f := range reflect.TypeFor[config]().Fields() {
		if key := f.Tag.Get("json"); key != "" && !strings.Contains(shown, "\n"+key+":") {
			t.Errorf("the configuration in README lacks %s", key)
		}
	}
}

var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z]+)`")

// TestNamedTestsExist: a page that names a test as its proof names one that is there.
func TestNamedTestsExist(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			sources.WriteString(readFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, p := range pages(t) {
		for _, m := range testName.FindAllStringSubmatch(p.prose(), -1) {
			if named++; !strings.Contains(sources.String(), "func "+m[1]+"(t *testing.T)") {
				t.Errorf("%s names %s, which is not there", p.path, m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test")
	}
}

func TestREADMEIsShort(t *testing.T) {
	if lines := strings.Count(readPage(t, "README.md").text, "\n"); lines > 250 {
		t.Errorf("README has %d lines", lines)
	}
}

// TestServiceFilesStartTheProgram: the command lines that the documentation gives
// to service managers are ones of this program.
func TestServiceFilesStartTheProgram(t *testing.T) {
	tag := regexp.MustCompile(`<string>([^<]*)</string>`)
	found := 0
	for _, b := range readPage(t, "docs/background.md").blocks() {
		var argv []string
		for line := range strings.Lines(b.text) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok && b.lang == "ini" {
				argv = strings.Fields(text)
			}
			if b.lang == "xml" && strings.Contains(line, "<array>") {
				for _, m := range tag.FindAllStringSubmatch(line, -1) {
					argv = append(argv, m[1])
				}
			}
		}
		if len(argv) < 2 {
			continue
		}
		found++
		if !strings.HasSuffix(argv[0], "/loop-mcp") {
			t.Errorf("line %d starts %s", b.line, argv[0])
		}
		newBox(t).want(0, append(argv[1:], "--help"), "Usage:", "loop-mcp "+argv[1])
	}
	if found != 2 {
		t.Errorf("%d service files were found, want 2", found)
	}
}
