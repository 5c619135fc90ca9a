package jsonedit

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var entry = []Field{{"command", "/opt/loop-mcp"}, {"args", []string{}}}

func parse(t *testing.T, text string) *Document {
	t.Helper()
	d, err := Parse([]byte(text), Comments)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

func added(t *testing.T, text string) string {
	t.Helper()
	data, err := parse(t, text).Set("mcpServers", "loop", entry)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func removed(t *testing.T, text string) string {
	t.Helper()
	data, ok, err := parse(t, text).Remove("mcpServers", "loop")
	if err != nil || !ok {
		t.Fatalf("remove: %v, %v\n%s", ok, err, text)
	}
	return string(data)
}

// TestSetAndRemove shows what an entry looks like in files of many hands, and
// that taking it out restores each to the byte.
func TestSetAndRemove(t *testing.T) {
	block := "\"loop\": {\n      \"command\": \"/opt/loop-mcp\",\n      \"args\": []\n    }"
	line := `"loop": {"command": "/opt/loop-mcp", "args": []}`
	for name, test := range map[string]struct{ text, want string }{
		"no entries yet": {"{\n  \"theme\": \"dark\"\n}\n",
			"{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    " + block + "\n  }\n}\n"},
		"an empty object": {`{}`, "{\n  \"mcpServers\": {\n    " + block + "\n  }\n}"},
		"no entries in a list of them": {"{\n  \"mcpServers\": {}\n}\n",
			"{\n  \"mcpServers\": {" + line + "}\n}\n"},
		"one line": {`{"mcpServers": {"a": {"command": "x"}}}`, `{"mcpServers": {"a": {"command": "x"}, ` + line + `}}`},
		"others": {"{\n  \"mcpServers\": {\n    \"a\": {}\n  }\n}",
			"{\n  \"mcpServers\": {\n    \"a\": {},\n    " + block + "\n  }\n}"},
		"a comment behind the last one": {"{\n  \"mcpServers\": {\n    \"a\": {} // mine\n    // more to come\n  }\n}",
			"{\n  \"mcpServers\": {\n    \"a\": {}, // mine\n    " + block + "\n    // more to come\n  }\n}"},
		"commas at the end": {"{\n  \"mcpServers\": {\n    \"a\": {}, // mine\n  },\n}",
			"{\n  \"mcpServers\": {\n    \"a\": {}, // mine\n    " + block + ",\n  },\n}"},
		"a comment alone": {"{\n  \"mcpServers\": {\n    // none yet\n  }\n}",
			"{\n  \"mcpServers\": {\n    " + block + "\n    // none yet\n  }\n}"},
		"a bracket behind the last one": {"{\"mcpServers\": {\n    \"a\": {} /* mine */ }}",
			"{\"mcpServers\": {\n    \"a\": {}, " + line + " /* mine */ }}"},
		"all on one line": {`{"a": 1}`,
			"{\"a\": 1, \"mcpServers\": {\n  \"loop\": {\n    \"command\": \"/opt/loop-mcp\",\n    \"args\": []\n  }\n}}"},
	} {
		t.Run(name, func(t *testing.T) {
			got := added(t, test.text)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.text, removed(t, got)); diff != "" {
				t.Errorf("set and remove (-before +after):\n%s", diff)
			}
		})
	}
}

// TestSetKeepsTheHandOfTheFile: tabs, CRLF and a BOM are the file's, and ours.
func TestSetKeepsTheHandOfTheFile(t *testing.T) {
	text := bom + "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {}\r\n\t}\r\n}\r\n"
	want := bom + "{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {},\r\n\t\t\"loop\": {\r\n\t\t\t\"command\": \"/opt/loop-mcp\",\r\n\t\t\t\"args\": []\r\n\t\t}\r\n\t}\r\n}\r\n"
	got := added(t, text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(text, removed(t, got)); diff != "" {
		t.Error(diff)
	}
}

func TestSetIntoAFileWithoutAValue(t *testing.T) {
	for _, text := range []string{"", "\n", bom, "// to be filled", "/* x */\n"} {
		got := added(t, text)
		if !strings.HasPrefix(got, text) || !strings.HasSuffix(got, "}\n") {
			t.Errorf("%q became %q", text, got)
		}
		parse(t, got)
		if after := removed(t, got); !strings.HasSuffix(after, "{}\n") {
			t.Errorf("%q without its entry is %q", got, after)
		}
	}
}

func TestSetReplaces(t *testing.T) {
	for text, want := range map[string]string{
		`{"mcpServers": {"loop": {"command": "x", "env": {}}, "b": {}}}`: `{"mcpServers": {"loop": {"command": "/opt/loop-mcp", "args": []}, "b": {}}}`,
		"{\"mcpServers\": {\n  \"loop\": {\n  }, // mine\n  \"b\": {}}}": "{\"mcpServers\": {\n  \"loop\": {\n    \"command\": \"/opt/loop-mcp\",\n    \"args\": []\n  }, // mine\n  \"b\": {}}}",
	} {
		if diff := cmp.Diff(want, added(t, text)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSetField(t *testing.T) {
	for text, want := range map[string]string{
		`{"mcpServers": {"loop": {"command": "x", "env": {"A": "b"}}}}`:           `{"mcpServers": {"loop": {"command": "C:\\x", "env": {"A": "b"}}}}`,
		"{\"mcpServers\": {\"loop\": {\n  \"timeout\": 5 // s\n}}}":               "{\"mcpServers\": {\"loop\": {\n  \"timeout\": 5, // s\n  \"command\": \"C:\\\\x\"\n}}}",
		"{\"mcpServers\": {\"loop\": {/* old */ \"command\": /* path */ \"a\"}}}": "{\"mcpServers\": {\"loop\": {/* old */ \"command\": /* path */ \"C:\\\\x\"}}}",
	} {
		got, ok, err := parse(t, text).SetField("mcpServers", "loop", "command", `C:\x`)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestRemoveLeavesTheRest: entries that others put anywhere, with comments.
func TestRemoveLeavesTheRest(t *testing.T) {
	for text, want := range map[string]string{
		`{"mcpServers": {"loop": {}, "b": 1}}`:                            `{"mcpServers": {"b": 1}}`,
		`{"mcpServers": {"a": 1, "loop": {}, "b": 1}}`:                    `{"mcpServers": {"a": 1, "b": 1}}`,
		`{"mcpServers": {"loop": {}}}`:                                    `{"mcpServers": {}}`,
		"{\n  \"mcpServers\": {\n    \"loop\": {},\n    \"b\": 1\n  }\n}": "{\n  \"mcpServers\": {\n    \"b\": 1\n  }\n}",
		"{\n  \"mcpServers\": {\n    \"a\": 1, // one\n\n    // ours\n    \"loop\": {}, // two\n\n    \"b\": 1\n  }\n}": "{\n  \"mcpServers\": {\n    \"a\": 1, // one\n\n    // ours\n    // two\n\n    \"b\": 1\n  }\n}",
		"{\"mcpServers\": {\n  \"a\": 1, // one\n  \"loop\": {} }}":                                                     "{\"mcpServers\": {\n  \"a\": 1 // one\n  }}",
		"{\"mcpServers\": {\"a\": 1, \"loop\": {} /* x */, \"b\": 2}}":                                                  "{\"mcpServers\": {\"a\": 1,  /* x */ \"b\": 2}}",
	} {
		got := removed(t, text)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		parse(t, got)
	}
	if _, ok, err := parse(t, `{"mcpServers": {}}`).Remove("mcpServers", "loop"); ok || err != nil {
		t.Error("something that is not there was removed")
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"a\": 1\n  \"b\": 2\n}": "line 3, column 3: a comma or } is expected",
		"{\n  'a': 1\n}":               "line 2, column 3: a key in \"quotes\" is expected",
		"{\n  \"a\": tru\n}":           "line 2, column 8: \"tru\" is no value",
		"{\"a\": \"b\n\"}":             "line 1, column 7: a string without its end",
		"{\"a\": 1":                    "line 1, column 8: a comma or } is expected",
		"{\"a\"":                       "line 1, column 5: a colon is expected",
		"{\"a\": ":                     "line 1, column 7: the file ends where a value is expected",
		"{} x":                         "line 1, column 4: there is more behind the end of the value",
		"/* {}":                        "line 1, column 1: a comment without its end */",
		"{\"ä\": 1, ?}":                "line 1, column 10: a key in \"quotes\" is expected",
		"\xff\xfe{\x00}\x00":           "line 1, column 1: the file is UTF-16; save it as UTF-8",
		strings.Repeat("[", 600):       "line 1, column 501: nested deeper than 500",
		"{\"a\": [1,, 2]}":             "line 1, column 10: unexpected ','",
		"{\"a\": \"\\x\"}":             "line 1, column 7: a string that is not well-formed",
	} {
		_, err := Parse([]byte(text), Comments)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"{\n// x\n}":  "line 2, column 1: a comment, which this client does not read",
		`{"a": 1,}`:   `line 1, column 9: a key in "quotes" is expected`,
		`{"a": [1,]}`: `line 1, column 10: unexpected ']'`,
	} {
		if _, err := Parse([]byte(text), Plain); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestWhatIsNotOursToGuess: a file of another shape is not touched.
func TestWhatIsNotOursToGuess(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                      "line 1: the file holds no object",
		"{\n \"mcpServers\": []}": "line 2: mcpServers is no object",
		"{\"mcpServers\": {},\n\"mcpServers\": {}}":             `line 2: "mcpServers" stands here for the second time (first on line 1)`,
		"{\"mcpServers\": {\"loop\": {},\n\"l\\u006fop\": {}}}": `line 2: "loop" stands here for the second time (first on line 1)`,
	} {
		d := parse(t, text)
		_, setErr := d.Set("mcpServers", "loop", entry)
		_, _, removeErr := d.Remove("mcpServers", "loop")
		_, _, entryErr := d.Entry("mcpServers", "loop")
		for _, err := range []error{setErr, removeErr, entryErr} {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", text, err, want)
			}
		}
	}
}

// TestRealFiles: configurations as people have them, each restored to the byte.
func TestRealFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.json*")
	if err != nil || len(paths) < 4 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			checkEdits(t, string(data), Comments)
		})
	}
}

var emptySpread = regexp.MustCompile(`\{\s*\}`)

// checkEdits holds Set and Remove to what they promise.
func checkEdits(t *testing.T, text string, dialect Dialect) {
	t.Helper()
	d, err := Parse([]byte(text), dialect)
	if err != nil {
		return
	}
	if _, there, err := d.Entry("mcpServers", "loop"); err != nil || there {
		return
	}
	if f, err := d.find("mcpServers", "loop"); err != nil || f.member != nil {
		return
	}
	with, err := d.Set("mcpServers", "loop", entry)
	if err != nil {
		t.Fatal(err)
	}
	d2, err := Parse(with, dialect)
	if err != nil {
		t.Fatalf("after set: %v\n%s", err, with)
	}
	want, _ := d.All().(map[string]any)
	if want == nil {
		want = map[string]any{}
	}
	servers, had := want["mcpServers"].(map[string]any)
	if !had {
		servers = map[string]any{}
		want["mcpServers"] = servers
	}
	servers["loop"] = map[string]any{"command": "/opt/loop-mcp", "args": []any{}}
	if diff := cmp.Diff(want, d2.All()); diff != "" {
		t.Fatalf("set (-want +got):\n%s\n%s", diff, with)
	}
	if !inOrder(text, string(with)) {
		t.Fatalf("set lost something of\n%s\n%s", text, with)
	}
	without, ok, err := d2.Remove("mcpServers", "loop")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	exact := d.root != nil && len(emptyObjects(d)) == 0
	if exact && string(without) != text {
		t.Fatalf("remove (-before +after):\n%s", cmp.Diff(text, string(without)))
	}
	d3, err := Parse(without, dialect)
	if err != nil {
		t.Fatalf("after remove: %v\n%s", err, without)
	}
	after, _ := d3.All().(map[string]any)
	left, still := after["mcpServers"].(map[string]any)
	delete(servers, "loop")
	if still && len(left) == 0 || !still {
		delete(after, "mcpServers")
		if len(servers) == 0 {
			delete(want, "mcpServers")
		}
	}
	if after == nil {
		after = map[string]any{}
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Fatalf("remove (-want +got):\n%s\n%s", diff, without)
	}
}

// emptyObjects are the root and the container when they are empty and not
// written {}: their inner space is not restored.
func emptyObjects(d *Document) (empty []*node) {
	f, _ := d.find("mcpServers", "")
	for _, n := range []*node{d.root, f.container} {
		if n != nil && len(n.members) == 0 && n.end-n.start > 2 && emptySpread.Match(d.data[n.start:n.end]) {
			empty = append(empty, n)
		}
	}
	return empty
}

// inOrder reports whether all bytes of a stand in b, in their order.
func inOrder(a, b string) bool {
	i := 0
	for j := 0; i < len(a) && j < len(b); j++ {
		if a[i] == b[j] {
			i++
		}
	}
	return i == len(a)
}

func FuzzEdits(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"mcpServers": {}}`, "{\n\t\"a\": 1, // x\n}", "{\r\n  \"mcpServers\": {\r\n    \"b\": {},\r\n  },\r\n}\r\n", `{"a":1,}`, "{ }", "{/* c */}",
		"{\"mcpServers\": {\n\"a\": {} /* x */ }}", bom + "{}", "// x", "{\"mcpServers\": {// x\n}}", "{\"mcpServers\":{\"a\":[1,{\"b\":null}],\n\n\"c\":-1e9/**/,}}",
		"{\"a\":1// x\n}", "{\"a\":1/*x*/,/*y*/}", "{\n\"a\":1\r}", "{\"mcpServers\":{\n\"a\":1,\"b\":2\n}}", "{\"mcpServers\":{\n\"loop\":{}\r\"b\":2\n}}",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, text string, plain bool) {
		dialect := Comments
		if plain {
			dialect = Plain
		}
		checkEdits(t, text, dialect)
		if d, err := Parse([]byte(text), dialect); err == nil { // an entry that others wrote
			if data, ok, err := d.Remove("mcpServers", "loop"); err == nil && ok {
				if _, err := Parse(data, dialect); err != nil {
					t.Fatalf("after remove: %v\n%q\n%q", err, text, data)
				}
			}
		}
	})
}
