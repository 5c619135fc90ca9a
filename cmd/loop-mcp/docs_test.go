package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops/loopfile"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated parts of the documentation anew")

const root = "../.."

// page is a Markdown file of the repository.
type page struct {
	path string // relative to the root, with slashes
	text string
}

// pages reads README, docs, the examples' READMEs and the other pages at the root.
func pages(t *testing.T) []page {
	t.Helper()
	var found []page
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*/README.md"} {
		paths, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			found = append(found, page{path: path, text: readFile(t, filepath.Join(root, path))})
		}
	}
	if len(found) < 6 {
		t.Fatalf("only %d pages were found", len(found))
	}
	return found
}

func readPage(t *testing.T, path string) page {
	t.Helper()
	return page{path: path, text: readFile(t, filepath.Join(root, path))}
}

// block is a piece of code in a page.
type block struct {
	lang, text string
	line       int
}

// blocks returns the fenced blocks, and the indented ones as lang "indented".
func (p page) blocks() []block {
	var all []block
	open := -1 // index of the fenced block that is open
	indented := -1
	for i, line := range strings.Split(p.text, "\n") {
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open < 0:
			all, open, indented = append(all, block{lang: strings.TrimSpace(lang), line: i + 1}), len(all), -1
		case fence:
			open = -1
		case open >= 0:
			all[open].text += line + "\n"
		case strings.HasPrefix(line, "    "):
			if indented < 0 {
				all, indented = append(all, block{lang: "indented", line: i + 1}), len(all)
			}
			all[indented].text += line[4:] + "\n"
		default:
			indented = -1
		}
	}
	return all
}

// prose is the page without its fenced blocks.
func (p page) prose() string {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(p.text) {
		if strings.HasPrefix(line, "```") {
			inside = !inside
			continue
		}
		if !inside {
			b.WriteString(line)
		}
	}
	return b.String()
}

// rows returns the cells of the table whose head begins with the given cells.
func (p page) rows(t *testing.T, head ...string) [][]string {
	t.Helper()
	var rows [][]string
	inside := false
	for line := range strings.SplitSeq(p.text, "\n") {
		if !strings.HasPrefix(line, "|") {
			if inside {
				break
			}
			continue
		}
		cells := cellsOf(line)
		switch {
		case inside && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		case !inside && len(cells) >= len(head) && slices.Equal(cells[:len(head)], head):
			inside = true
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table with the head %v", p.path, head)
	}
	return rows
}

func cellsOf(line string) []string {
	const bar = "\x00"
	line = strings.Trim(strings.ReplaceAll(line, `\|`, bar), "| ")
	cells := strings.Split(line, "|")
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(strings.TrimSpace(c), bar, "|")
	}
	return cells
}

// column returns one column of a table, without backticks.
func column(rows [][]string, i int) []string {
	cells := make([]string, len(rows))
	for n, row := range rows {
		cells[n] = strings.Trim(row[i], "`")
	}
	return cells
}

// TestGeneratedParts compares what stands between <!-- name --> and
// <!-- /name --> with what the program says.
func TestGeneratedParts(t *testing.T) {
	seen := map[string]bool{}
	part := regexp.MustCompile(`(?s)<!-- ([a-z ]+) -->\n(.*?)<!-- /([a-z ]+) -->`)
	for _, p := range pages(t) {
		fresh := part.ReplaceAllStringFunc(p.text, func(old string) string {
			m := part.FindStringSubmatch(old)
			make, known := generators[m[1]]
			if !known || m[1] != m[3] {
				t.Errorf("%s: <!-- %s --> ends with %s; generated are %v", p.path, m[1], m[3], generatorNames())
				return old
			}
			seen[m[1]] = true
			return fmt.Sprintf("<!-- %s -->\n%s<!-- /%s -->", m[1], make(t), m[1])
		})
		if *update && fresh != p.text {
			if err := os.WriteFile(filepath.Join(root, p.path), []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if diff := cmp.Diff(p.text, fresh); diff != "" {
			t.Errorf("%s is behind the program; go test ./cmd/loop-mcp -run TestGeneratedParts -update\n-page +program\n%s", p.path, diff)
		}
	}
	for _, name := range generatorNames() {
		if !seen[name] {
			t.Errorf("no page has the part <!-- %s -->", name)
		}
	}
}

// TestCodeBlocks reads every block of a language that we can read.
func TestCodeBlocks(t *testing.T) {
	count := map[string]int{}
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if check, known := readers[b.lang]; known {
				count[b.lang]++
				if err := check(b.text); err != nil {
					t.Errorf("%s:%d: ```%s: %v", p.path, b.line, b.lang, err)
				}
			} else if !slices.Contains([]string{"console", "text", "indented", ""}, b.lang) {
				t.Errorf("%s:%d: nobody checks blocks of the language %s", p.path, b.line, b.lang)
			}
		}
	}
	for lang := range readers {
		if count[lang] == 0 {
			t.Errorf("no page has a block of the language %s", lang)
		}
	}
}

var readers = map[string]func(text string) error{
	"json":     readJSON,
	"yaml":     readYAML,
	"markdown": func(text string) error { return readLoopFile("page.loop.md", text) },
	"toml":     readTOML,
	"go":       readGo,
	"ini": func(text string) error { // a unit of systemd
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			key, _, pair := strings.Cut(line, "=")
			if line != "" && !pair && !(line[0] == '[' && line[len(line)-1] == ']') || pair && (key == "" || strings.ContainsAny(key, " \t")) {
				return fmt.Errorf("%q is no line of a unit", line)
			}
		}
		return nil
	},
	"xml": func(text string) error {
		dec := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	},
}

func readJSON(text string) error {
	var v any
	return json.Unmarshal([]byte(text), &v)
}

// readYAML takes a block with a goal for a loop file, any other for a
// configuration.
func readYAML(text string) error {
	if regexp.MustCompile(`(?m)^goal:`).MatchString(text) {
		return readLoopFile("page.loop.yaml", text)
	}
	home := func(name string) string { return map[string]string{"HOME": "/home"}[name] }
	var c config
	if err := c.decode([]byte(text), home); err != nil {
		return err
	}
	return c.check()
}

func readLoopFile(name, text string) error {
	spec, err := loopfile.Parse(name, []byte(text))
	if err != nil {
		return err
	}
	return spec.Validate()
}

// readTOML reads the little TOML that a client's configuration needs: tables
// and one value a line.
func readTOML(text string) error {
	table := regexp.MustCompile(`^\[[a-z_]+(\.[a-z_]+)*\]$`)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
		key, value, assigns := strings.Cut(strings.TrimSpace(line), " = ")
		switch {
		case line == "" || table.MatchString(line):
		case !assigns || strings.ContainsAny(key, " \"") || !json.Valid([]byte(value)):
			return fmt.Errorf("not a table and not a value: %s", line)
		}
	}
	return nil
}

// readGo wants Go code to be part of a program that is compiled and tested.
func readGo(text string) error {
	source, err := os.ReadFile(filepath.Join(root, "examples/handler/main.go"))
	if err == nil && !bytes.Contains(source, []byte(text)) {
		err = fmt.Errorf("stands nowhere in examples/handler/main.go")
	}
	return err
}

// TestCommandLines resolves every command line of the pages, and of the
// program's own help, through the program's commands.
func TestCommandLines(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, line := range p.commandLines() {
			count++
			checkCommandLine(t, p.path, line)
		}
	}
	top := newRoot(&app{})
	for _, c := range append(top.Commands(), top) {
		for line := range strings.Lines(c.Example) {
			count++
			checkCommandLine(t, c.CommandPath()+" --help", line)
		}
	}
	if count < 60 {
		t.Errorf("only %d command lines were found", count)
	}
}

var inBackticks = regexp.MustCompile("`([^`\n]+)`")

// commandLines returns what a reader may type: in blocks and in backticks.
func (p page) commandLines() []string {
	return slices.DeleteFunc(p.typed(), func(line string) bool { _, ok := ourArguments(line); return !ok })
}

// typed returns every line of a console or indented block, and what stands in
// backticks.
func (p page) typed() []string {
	var lines []string
	for _, b := range p.blocks() {
		for line := range strings.Lines(b.text) {
			command, typed := strings.CutPrefix(line, "$ ")
			if b.lang == "indented" || b.lang == "console" && typed {
				lines = append(lines, command)
			}
		}
	}
	for _, m := range inBackticks.FindAllStringSubmatch(p.prose(), -1) {
		lines = append(lines, m[1])
	}
	return lines
}

var (
	ownPath    = regexp.MustCompile(`(?:^|\s)(?:\./)?((?:cmd|examples|loops|\.ci)/[a-z0-9./_-]+[a-z])`)
	makeTarget = regexp.MustCompile(`^make ([a-z-]+)`)
)

// TestCommandsNameWhatIsThere looks for the paths and make targets of commands.
func TestCommandsNameWhatIsThere(t *testing.T) {
	makefile := readFile(t, filepath.Join(root, "Makefile"))
	count := 0
	for _, p := range pages(t) {
		for _, line := range p.typed() {
			for _, m := range ownPath.FindAllStringSubmatch(line, -1) {
				count++
				if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
					t.Errorf("%s: `%s` names %s, which is not there", p.path, strings.TrimSpace(line), m[1])
				}
			}
			if m := makeTarget.FindStringSubmatch(line); m != nil && !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: there is no %s", p.path, m[0])
			}
		}
	}
	if count < 5 {
		t.Errorf("only %d paths were found", count)
	}
}

var (
	variables = regexp.MustCompile(`^([A-Z_]+=\S+ +)+`)
	rest      = regexp.MustCompile(`(\s[#|>&]|;).*`) // comments, pipes and further commands
	word      = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// ourArguments returns the arguments of a command line that calls loop-mcp.
func ourArguments(line string) ([]string, bool) {
	line = rest.ReplaceAllString(variables.ReplaceAllString(strings.TrimSpace(line), ""), "")
	for _, program := range []string{"go run ./cmd/loop-mcp", "./loop-mcp", "loop-mcp"} {
		if after, ok := strings.CutPrefix(line, program); ok && (after == "" || after[0] == ' ') {
			return word.FindAllString(after, -1), true
		}
	}
	return nil, false
}

func checkCommandLine(t *testing.T, where, line string) {
	t.Helper()
	args, ok := ourArguments(line)
	if !ok {
		return
	}
	top := newRoot(&app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv})
	top.InitDefaultHelpCmd()
	top.InitDefaultCompletionCmd()
	cmd, flags, err := top.Find(args)
	if err == nil {
		cmd.InitDefaultHelpFlag()
		err = cmd.ParseFlags(flags)
	}
	if err == nil && cmd.Flags().NArg() > 0 { // else the command is only named
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: `%s`: %v", where, strings.TrimSpace(line), err)
	}
}
