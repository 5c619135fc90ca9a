package mcptools

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
)

func TestPatternsChooseTools(t *testing.T) {
	all := []string{"files__read_file", "files__write_file", "wiki__search"}
	for _, tt := range []struct{ patterns, want string }{
		{"", ""},
		{"*", "files__read_file files__write_file wiki__search"},
		{"files__*", "files__read_file files__write_file"},
		{"files__* !files__write_file", "files__read_file"},
		{"!files__write_file files__*", "files__read_file"}, // the order does not matter
		{"*_file !*write*", "files__read_file"},
		{"files__rea?_file wiki__search", "files__read_file wiki__search"},
		{"* !*", ""},
		{"!wiki__search", ""},
		{"FILES__*", ""},
	} {
		p := parsePatterns(strings.Fields(tt.patterns))
		var got []string
		for _, name := range all {
			if p.mean(name) == included {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q chooses %q, want %q", tt.patterns, got, tt.want)
		}
	}
}

func TestOnlyServersThatCanBeMeantAreStarted(t *testing.T) {
	servers := []string{"files", "file", "wiki"}
	for _, tt := range []struct{ patterns, want string }{
		{"*", "files file wiki"},
		{"files__read", "files"},
		{"file?__read", "files file"}, // file may have a tool _read
		{"f*", "files file"},
		{"*__read", "files file wiki"},
		{"* !wiki__*", "files file"},
		{"* !wiki__search", "files file wiki"},
		{"* !w*", "files file"},
		{"* !*", ""},
		{"files__", ""},
	} {
		p := parsePatterns(strings.Fields(tt.patterns))
		var got []string
		for _, s := range servers {
			if p.wants(s) {
				got = append(got, s)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q starts %q, want %q", tt.patterns, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	servers := []string{"files", "wiki"}
	for _, tt := range []struct{ patterns, want string }{
		{"files__* !files__write_file", ""},
		{"*", ""},
		{"w*__search", ""},
		{"flies__*", `tools[0]: "flies__*" means the MCP server flies, which is not configured (files, wiki), did you mean files?`},
		{"* !flies__write_file", `tools[1]: "!flies__write_file" means the MCP server flies, which is not configured (files, wiki), did you mean files?`},
		{"files", `tools[0]: "files" names a server and none of its tools: write files__*`},
		{"files__", `tools[0]: "files__" names a server and none of its tools: write files__*`},
		{"x*__read", `tools[0]: "x*__read" matches no configured MCP server (files, wiki)`},
		{"off__read", `tools[0]: "off__read" means the MCP server off, which is disabled in the configuration`},
		{"!files__write_file", `tools: holds only exclusions`},
		{"* !", `tools[1]: "!" must name tools`},
		{strings.Repeat("a", 300), `is 300 bytes, at most 256 are allowed`},
	} {
		err := checkPatterns(strings.Fields(tt.patterns), servers, []string{"off"})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q gives %v, want %q", tt.patterns, err, tt.want)
		}
		if err != nil && len(loops.FieldErrors(err)) == 0 {
			t.Errorf("%v names no field", err)
		}
	}
	if err := checkPatterns([]string{"files__*"}, nil, nil); err == nil || !strings.Contains(err.Error(), "none is configured") {
		t.Errorf("without servers: %v", err)
	}
}

// FuzzGlob compares with regular expressions.
func FuzzGlob(f *testing.F) {
	f.Add("files__*", "files__", "x")
	f.Add("*a?b**", "aab", "bab")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, glob, prefix, rest string) {
		if len(glob) > 20 || len(prefix)+len(rest) > 30 {
			return
		}
		// Byte by byte, as matchGlob does.
		var b strings.Builder
		for i := range len(glob) {
			switch glob[i] {
			case '*':
				b.WriteString(".*")
			case '?':
				b.WriteString(".")
			default:
				b.WriteString(regexp.QuoteMeta(latin(glob[i : i+1])))
			}
		}
		re := regexp.MustCompile(`(?s)\A` + b.String() + `\z`)
		matches := matchGlob(glob, prefix+rest)
		if want := re.MatchString(latin(prefix + rest)); matches != want {
			t.Errorf("%q on %q: %t, want %t", glob, prefix+rest, matches, want)
		}
		if matches && rest != "" && !canBegin(glob, prefix) {
			t.Errorf("%q matches %q and can't begin with %q", glob, prefix+rest, prefix)
		}
		if strings.HasSuffix(glob, "*") && matchGlob(glob, prefix) && !matches {
			t.Errorf("%q covers %q and not %q", glob, prefix, prefix+rest)
		}
	})
}

// latin makes each byte one character.
func latin(text string) string {
	var runes []rune
	for i := range len(text) {
		runes = append(runes, rune(text[i]))
	}
	return string(runes)
}

func TestToolNames(t *testing.T) {
	long := strings.Repeat("long_", 20)
	tools := []offered{{Name: "read"}, {Name: "web.search"}, {Name: "web/search"}, {Name: long}, {Name: long + "2"}, {Name: "ünï"}, {Name: "web_search"}}
	got := toolNames("srv", tools)
	valid := regexp.MustCompile(`\A[a-zA-Z0-9_-]{1,64}\z`)
	var names []string
	for own, name := range got {
		if !valid.MatchString(name) || !strings.HasPrefix(name, "srv__") {
			t.Errorf("%q became %q", own, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(tools) {
		t.Errorf("names are not unique: %q", names)
	}
	if got["read"] != "srv__read" || got["web_search"] != "srv__web_search" {
		t.Errorf("plain names were changed: %q", got)
	}
	alone := toolNames("srv", []offered{{Name: "web.search"}})
	if alone["web.search"] != got["web.search"] {
		t.Errorf("the name depends on the others: %q and %q", alone["web.search"], got["web.search"])
	}
	// A tool whose plain name is another one's shortened name.
	trap := toolNames("srv", []offered{{Name: "web.search"}, {Name: strings.TrimPrefix(alone["web.search"], "srv__")}})
	if len(trap) != 2 || trap["web.search"] == alone["web.search"] {
		t.Errorf("two tools share a name: %q", trap)
	}
}

func TestPrices(t *testing.T) {
	s := Server{PricePerCallUSD: map[string]loops.USD{"search": 1, "s*": 5, "*": 3, "wiki__get": 0, "wiki__g*": 9}}
	for own, want := range map[string]loops.USD{"search": 1, "submit": 5, "get": 0, "gather": 9, "other": 3} {
		if got := s.price([]string{own, "wiki__" + own}); got != want {
			t.Errorf("%s costs %d, want %d", own, got, want)
		}
	}
}
