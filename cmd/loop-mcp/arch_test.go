package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "example.com/loop-mcp"

// importRule says what the packages below a path may import, of ours and of
// others, tests left aside. Whatever is not named is forbidden, for the reason
// that why gives.
type importRule struct {
	path   string
	ours   []string
	others []string // prefixes
	why    string
}

// The hub imports nothing, spokes import the hub, only cmd and examples see all
// of them.
var importRules = []importRule{
	{path: "internal/bugs", why: "constants that are false, so that the chaos suite can be shown mistakes: what everybody may import imports nothing"},
	{path: "loops", ours: []string{"internal/bugs"}, why: "the hub is what everything depends on: with the standard library alone, and constants of ours, any program can hold it"},
	{path: "loops/model", why: "what a model is must not depend on who makes one, nor on loops: any program can use it"},
	{path: "loops/model/script", ours: []string{"loops/model"}, why: "a provider brings its vendor's library and nothing else"},
	{path: "loops/modelcall", ours: []string{"loops", "loops/model"}, why: "the one place where a paid call meets the ledger; agent and judge share it, so it knows neither"},
	{path: "loops/agent", ours: []string{"loops", "loops/model", "loops/modelcall"}, why: "a body knows the contract of bodies, not the store, the server or other parts"},
	{path: "loops/command", ours: []string{"loops"}, others: []string{"golang.org/x/sys"}, why: "a body knows the contract of bodies, not the store, the server or other parts"},
	{path: "loops/remote", ours: []string{"loops"}, others: []string{"github.com/nats-io/nats.go"}, why: "a wire for handlers anywhere: who uses it brings a connection, and no store, server or program comes with it"},
	{path: "loops/remote/program", ours: []string{"loops", "loops/command", "loops/remote"}, why: "programs as handlers: it knows how a program is run and what a handler says, not how that travels"},
	{path: "loops/model/prices", ours: []string{"loops/model"}, why: "a table of numbers: who looks up which model is decided where the configuration is read"},
	{path: "loops/agent/mcptools", ours: []string{"loops", "loops/agent", "loops/command"}, others: []string{"github.com/mark3labs/mcp-go"}, why: "tools of other servers for the agent; their processes end the way command's do, and nothing else of us concerns them"},
	{path: "loops/loopfile", ours: []string{"loops"}, others: []string{"github.com/goccy/go-yaml", "github.com/invopop/jsonschema"}, why: "a file format is not to bring a server or a store with it"},
	{path: "loops/loopstest", ours: []string{"loops", "loops/model"}, others: []string{"github.com/google/go-cmp"}, why: "the suite for stores must not favour one of them"},
	{path: "judge", ours: []string{"loops", "loops/command", "loops/model", "loops/modelcall"}, others: []string{"cel.dev/cel-go"}, why: "conditions are asked by the engine; where loops are stored or shown is not their business"},
	{path: "loops/model/gemini", ours: []string{"loops/model", "loops/model/wire"}, others: []string{"google.golang.org/genai"}, why: "a provider brings its vendor's library and knows nothing of loops"},
	{path: "loops/model/wire", ours: []string{"loops/model"}, why: "what providers share is HTTP, which needs no library"},
	{path: "loops/model/anthropic", ours: []string{"loops/model", "loops/model/wire"}, others: []string{"github.com/anthropics/anthropic-sdk-go"}, why: "a provider brings its vendor's library and knows nothing of loops"},
	{path: "loops/model/openai", ours: []string{"loops/model", "loops/model/wire"}, others: []string{"github.com/sashabaranov/go-openai"}, why: "a provider brings its library and knows nothing of loops"},
	{path: "kvstate", ours: []string{"loops", "kvstate/mark", "internal/bugs"}, others: []string{"github.com/nats-io/nats.go", "github.com/klauspost/compress"}, why: "a store keeps loops and knows nothing of who runs or shows them; the server comes from embed or from outside"},
	{path: "kvstate/mark", why: "what shows that a store lost something must not need that store, nor know what is kept in it"},
	{path: "kvstate/embed", ours: []string{"internal/bugs"}, others: []string{"github.com/nats-io", "github.com/gofrs/flock", "github.com/minio/highwayhash", "golang.org/x/sys"}, why: "the embedded server knows nothing of loops, so that it can be replaced by a cluster"},
	{path: "kvstate/cluster", others: []string{"github.com/nats-io/nats.go"}, why: "the way to servers that run already knows nothing of loops and brings no server"},
	{path: "kvstate/cluster/clustertest", others: []string{"github.com/nats-io"}, why: "servers for tests of any package know nothing of what is kept in them"},
	{path: "mcpserver", ours: []string{"loops", "mcpserver/tasks"}, others: []string{"github.com/mark3labs/mcp-go", "github.com/invopop/jsonschema"}, why: "the tools talk to the engine alone: the same for every store and body; tasks is a form of answer"},
	{path: "mcpserver/tasks", others: []string{"github.com/mark3labs/mcp-go"}, why: "an extension of the protocol for any MCP server: what a task is, its backend decides"},
	{path: "mcpserver/tasks/taskstest", ours: []string{"mcpserver/tasks"}, others: []string{"github.com/mark3labs/mcp-go"}, why: "tasks without loops: the layer is tested, and shown to the conformance suite, without an engine"},
	{path: "internal/leaktest", why: "a look at what tests leave behind, for any package"},
	{path: "internal/rush", why: "how the program treats the runtime while many loops commit, so that benchmarks can do the same"},
	{path: "internal/kepttest", why: "a folder that outlives a failed test of any package"},
	{path: "internal/disktest", others: []string{"golang.org/x/sys"}, why: "a small disk for tests of any package"},
	{path: "mcpserver/stdio", ours: []string{"mcpserver/internal/rpc"}, others: []string{"github.com/mark3labs/mcp-go"}, why: "a transport serves any MCP server"},
	{path: "mcpserver/streamhttp", ours: []string{"mcpserver/internal/rpc"}, others: []string{"github.com/mark3labs/mcp-go"}, why: "a transport serves any MCP server"},
}

type goPackage struct {
	ImportPath, Dir, Doc string
	Imports              []string
	GoFiles              []string
	TestGoFiles          []string
	XTestGoFiles         []string
}

// listed are the packages of the module.
func listed(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,Doc,Imports,GoFiles,TestGoFiles,XTestGoFiles", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			all = append(all, p)
		}
	}
	if len(all) < len(importRules) {
		t.Fatalf("go list names %d packages, the rules %d", len(all), len(importRules))
	}
	return all
}

func TestImportRules(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range listed(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "examples/") || strings.Contains(path, "/internal/") {
			continue
		}
		i := slices.IndexFunc(importRules, func(r importRule) bool { return r.path == path })
		if i < 0 {
			t.Errorf("%s has no import rule; add one with its reason", path)
			continue
		}
		seen[path] = true
		for _, imported := range p.Imports {
			if !importRules[i].allows(imported) {
				t.Errorf("%s imports %s: %s", path, imported, importRules[i].why)
			}
		}
	}
	for _, rule := range importRules {
		if !seen[rule.path] {
			t.Errorf("the rule for %s names no package", rule.path)
		}
	}
}

func (r importRule) allows(imported string) bool {
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(r.ours, ours) || strings.HasPrefix(ours, r.path+"/internal/")
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(r.others, func(prefix string) bool {
		return imported == prefix || strings.HasPrefix(imported, prefix+"/")
	})
}

func TestImportRulesForbid(t *testing.T) {
	for path, imported := range map[string]string{
		"loops": module + "/kvstate", "judge": module + "/kvstate", "kvstate": module + "/mcpserver", "mcpserver": module + "/loops/command",
		"mcpserver/stdio": module + "/loops", "loops/loopfile": "gopkg.in/yaml.v3", "kvstate/embed": module + "/loops",
	} {
		i := slices.IndexFunc(importRules, func(r importRule) bool { return r.path == path })
		if importRules[i].allows(imported) {
			t.Errorf("%s may import %s", path, imported)
		}
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range listed(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
	}
}

// TestNoSleepOutsideABubble keeps tests from waiting for real time: a sleep is
// either too short on a busy machine or a waste. What a helper process does is
// not a test.
func TestNoSleepOutsideABubble(t *testing.T) {
	for _, p := range listed(t) {
		for _, name := range append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...) {
			path := filepath.Join(p.Dir, name)
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if sleeps(file) && !imports(file, "testing/synctest") {
				t.Errorf("%s calls time.Sleep and does not use testing/synctest", path)
			}
		}
	}
}

// TestEveryPackageLooksForLeaks: the tests of each package end with a look at the
// goroutines that they left. Examples are what people copy, and bugs are constants.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	for _, p := range listed(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		names := append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
		if len(names) == 0 || strings.HasPrefix(path, "examples/") || path == "internal/bugs" {
			continue
		}
		looks := slices.ContainsFunc(names, func(name string) bool {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
			return err == nil && imports(file, module+"/internal/leaktest")
		})
		if !looks && path != "internal/leaktest" {
			t.Errorf("%s has tests and no TestMain with leaktest.Run", path)
		}
	}
}

func imports(file *ast.File, path string) bool {
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"`+path+`"` })
}

func sleeps(file *ast.File) bool {
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				found = true
			}
		}
		return !found
	})
	return found
}
