package tomledit

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var entry = []Field{{"command", "/opt/loop-mcp"}, {"args", []string{}}}

const table = "[mcp_servers.loop]\ncommand = \"/opt/loop-mcp\"\nargs = []\n"

func parse(t *testing.T, text string) *Document {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// TestSetAndRemove: a table is put behind everything else, and taking it out
// restores the file to the byte.
func TestSetAndRemove(t *testing.T) {
	crlf := strings.ReplaceAll(table, "\n", "\r\n")
	for text, want := range map[string]string{
		"":                                table,
		bom:                               bom + table,
		"model = \"x\" # mine\n":          "model = \"x\" # mine\n\n" + table,
		"model = \"x\"\n\n\n":             "model = \"x\"\n\n\n\n" + table,
		"model = \"x\"":                   "model = \"x\"\n" + strings.TrimSuffix(table, "\n"),
		"model = \"x\"\r\n":               "model = \"x\"\r\n\r\n" + crlf,
		"[mcp_servers.a]\nargs = [\n]\n":  "[mcp_servers.a]\nargs = [\n]\n\n" + table,
		"[mcp_servers]\na = {b = 1}\n":    "[mcp_servers]\na = {b = 1}\n\n" + table,
		"# nothing but a comment":         "# nothing but a comment\n" + strings.TrimSuffix(table, "\n"),
		"mcp_servers.a.command = \"x\"\n": "mcp_servers.a.command = \"x\"\n\n" + table,
	} {
		got, err := parse(t, text).Set("mcp_servers", "loop", entry)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("set in %q (-want +got):\n%s", text, diff)
		}
		without, ok, err := parse(t, string(got)).Remove("mcp_servers", "loop")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if diff := cmp.Diff(text, string(without)); diff != "" {
			t.Errorf("set and remove (-before +after):\n%s", diff)
		}
	}
}

func TestSetReplaces(t *testing.T) {
	text := "a = 1\n\n[mcp_servers.loop] # mine\ncommand = \"old\"\n# said of it\nargs = [\n  \"x\", # y\n]\n\n[mcp_servers.loop.env]\nKEY = 'v'\n\n# of b\n[mcp_servers.b]\ncommand = \"b\"\n"
	want := "a = 1\n\n" + table + "\n# of b\n[mcp_servers.b]\ncommand = \"b\"\n"
	got, err := parse(t, text).Set("mcp_servers", "loop", entry)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Error(err, diff)
	}
	without, ok, err := parse(t, text).Remove("mcp_servers", "loop")
	if diff := cmp.Diff("a = 1\n\n# of b\n[mcp_servers.b]\ncommand = \"b\"\n", string(without)); diff != "" || err != nil || !ok {
		t.Error(ok, err, diff)
	}
	if got := parse(t, text).Text("mcp_servers", "loop"); !strings.HasPrefix(got, "[mcp_servers.loop] # mine") || !strings.HasSuffix(got, "KEY = 'v'") {
		t.Errorf("as it stands there: %q", got)
	}
	if line := parse(t, text).Line("mcp_servers", "loop"); line != 3 {
		t.Errorf("it begins on line %d", line)
	}
}

func TestSetField(t *testing.T) {
	for text, want := range map[string]string{
		"[mcp_servers.loop]\ncommand = \"old\" # mine\ntool_timeout_sec = 5\n": "[mcp_servers.loop]\ncommand = 'C:\\x' # mine\ntool_timeout_sec = 5\n",
		"[mcp_servers.loop] # mine\nurl = \"x\"\n":                             "[mcp_servers.loop] # mine\ncommand = 'C:\\x'\nurl = \"x\"\n",
		"[mcp_servers . \"loop\"]":                                             "[mcp_servers . \"loop\"]\ncommand = 'C:\\x'",
	} {
		got, ok, err := parse(t, text).SetField("mcp_servers", "loop", "command", `C:\x`)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil || !ok {
			t.Error(ok, err, diff)
		}
	}
}

// TestEntriesInEveryForm are read, and refused when they are no table of their
// own.
func TestEntriesInEveryForm(t *testing.T) {
	for text, line := range map[string]string{
		"mcp_servers.loop.command = \"x\"":                                       "line 1",
		"\nmcp_servers = {loop = {command = 'x'}}":                               "line 2",
		"[mcp_servers]\nloop = {command = \"\"\"\nx\"\"\"}":                      "line 2",
		"[mcp_servers]\nloop.command = \"\\u0078\"":                              "line 2",
		"[mcp_servers]\nloop.command = \"x\"\n[mcp_servers.loop.env]\nA = 'b'\n": "line 2",
	} {
		d := parse(t, text)
		got, ok, err := d.Entry("mcp_servers", "loop")
		if err != nil || !ok || got["command"] != "x" {
			t.Errorf("%s: %v %v %v", text, got, ok, err)
		}
		_, setErr := d.Set("mcp_servers", "loop", entry)
		_, _, fieldErr := d.SetField("mcp_servers", "loop", "command", "y")
		_, _, removeErr := d.Remove("mcp_servers", "loop")
		for _, err := range []error{setErr, fieldErr, removeErr} {
			if err == nil || !strings.HasPrefix(err.Error(), line) || !strings.HasSuffix(err.Error(), "change it by hand") {
				t.Errorf("%s: %v, want %s", text, err, line)
			}
		}
	}
	if _, err := parse(t, "mcp_servers = {}").Set("mcp_servers", "loop", entry); err == nil || err.Error() != "line 1: mcp_servers is written on one line; change it by hand" {
		t.Error(err)
	}
	if _, _, err := parse(t, "[[mcp_servers]]\na=1").Entry("mcp_servers", "loop"); err == nil {
		t.Error("a list of tables was taken for entries")
	}
}

func TestHasComments(t *testing.T) {
	for text, want := range map[string]bool{
		"a = 1\n": false, "a = '#'\n": false, "a = \"\"\"\n# x\n\"\"\"": false, "a = 1 # x": true, "# x": true, "a = [\n  1, # x\n]": true, "[a] # x": true,
	} {
		if got := parse(t, text).HasComments(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestValues of every kind are understood, so that no text inside one is taken
// for a table.
func TestValues(t *testing.T) {
	d := parse(t, `
a = """
[mcp_servers.loop]
\
   joined ""quotes"""""
b = '''
[x]'''
"quoted key" = 'C:\path'
c = [1, 2.5e3, 0xff, [true, false],
  # a comment ]
  "x",
]
d = 1979-05-27 07:32:00Z
e = { f.g = -inf, h = [] } # tail
i.j = "\t\"\u00e4"
[[list]]
k = 07:32:00
[[list]]
k = 1
[list.sub]
l = 2
`)
	want := map[string]any{
		"a": "[mcp_servers.loop]\njoined \"\"quotes\"\"", "b": "[x]", "quoted key": `C:\path`,
		"c": []any{Word("1"), Word("2.5e3"), Word("0xff"), []any{true, false}, "x"}, "d": Word("1979-05-27 07:32:00Z"),
		"e": map[string]any{"f": map[string]any{"g": Word("-inf")}, "h": []any{}}, "i": map[string]any{"j": "\t\"ä"},
		"list": []any{map[string]any{"k": Word("07:32:00")}, map[string]any{"k": Word("1"), "sub": map[string]any{"l": Word("2")}}},
	}
	if diff := cmp.Diff(want, d.all); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1\nb = ":                     "line 2: a value is expected, not \"\"",
		"a = 1\nb 2":                      "line 2: = is expected behind the key b",
		"[a":                              "line 1: ] is expected behind the name of a table",
		"\n[[a]":                          "line 2: ]] is expected behind the name of a table",
		"a = \"x":                         "line 1: a text without its end",
		"a = \"\"\"x":                     "line 1: a text without its end",
		"a = [1 2]":                       "line 1: a comma or ] is expected in a list",
		"a = [1,\n2":                      "line 2: a comma or ] is expected in a list",
		"a = {b = 1":                      "line 1: a comma or } is expected in an inline table",
		"a = {b}":                         "line 1: = is expected in an inline table",
		"a = 1 2":                         "line 1: unexpected \"2\" behind a value or table",
		"a = 1\na = 2":                    "line 2: the key a is there for the second time",
		"[a]\n[a]":                        "line 2: the table a is there for the second time",
		"a = 1\n[a.b]":                    "line 2: a is a value and no table",
		"a = \"\\q\"":                     `line 1: a text with \q, which means nothing`,
		"a = \"\\ud800\"":                 `line 1: a text with \ud800, which is no character`,
		"a = yes":                         "line 1: a value is expected, not \"yes\"",
		"= 1":                             "line 1: a key is expected, not \"= 1\"",
		"a = \xff":                        "line 1: the file is not UTF-8",
		"a = " + strings.Repeat("[", 300): "line 1: nested deeper than 200",
	} {
		_, err := Parse([]byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func TestRealFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parse(t, string(data))
		checkEdits(t, string(data))
	}
}

// checkEdits holds Set and Remove to what they promise.
func checkEdits(t *testing.T, text string) {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		return
	}
	if _, there, err := d.Entry("mcp_servers", "loop"); err != nil {
		return
	} else if there {
		without, ok, err := d.Remove("mcp_servers", "loop")
		if err == nil && ok {
			if _, err := Parse(without); err != nil {
				t.Fatalf("after remove: %v\n%q\n%q", err, text, without)
			}
		}
		return
	}
	with, err := d.Set("mcp_servers", "loop", entry)
	if err != nil {
		return // it is refused with a line
	}
	if !strings.HasPrefix(string(with), text) {
		t.Fatalf("set changed something of\n%q\n%q", text, with)
	}
	d2, err := Parse(with)
	if err != nil {
		t.Fatalf("after set: %v\n%q", err, with)
	}
	want := maps.Clone(d.all)
	servers, _ := want["mcp_servers"].(map[string]any)
	servers = maps.Clone(servers)
	if servers == nil {
		servers = map[string]any{}
	}
	servers["loop"], want["mcp_servers"] = map[string]any{"command": "/opt/loop-mcp", "args": []any{}}, servers
	if diff := cmp.Diff(want, d2.all); diff != "" {
		t.Fatalf("set (-want +got):\n%s\n%q", diff, with)
	}
	without, ok, err := d2.Remove("mcp_servers", "loop")
	if err != nil || !ok || string(without) != text {
		t.Fatalf("remove: %v, %v (-before +after):\n%s", ok, err, cmp.Diff(text, string(without)))
	}
}

func FuzzEdits(f *testing.F) {
	for _, seed := range []string{
		"", "a = 1", "[mcp_servers.a]\r\ncommand = 'x'\r\n", "mcp_servers.a.b = 1\n", "[mcp_servers]\n", bom, "a = \"\"\"\n[b]\"\"\" # c\n", "[[a]]\n[a.b]\n[[a]]\n[a.b]\n",
		"x = [\n1, # y\n]\n\n\n", "[mcp_servers.loop]\n[mcp_servers.loop.env]\na=1", "a = 1979-05-27 07:32:00", table,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { checkEdits(t, text) })
}
