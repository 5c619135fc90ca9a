package mcptools

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"example.com/loop-mcp/loops"
)

// separator stands between a server and its tool; no server's name holds it.
const separator = "__"

// patterns choose tools. Their order does not matter: a tool is meant when a
// pattern matches it and none with "!" does.
type patterns struct {
	with, without []string // globs
}

func parsePatterns(texts []string) patterns {
	var p patterns
	for _, text := range texts {
		if glob, ok := strings.CutPrefix(text, "!"); ok {
			p.without = append(p.without, glob)
		} else {
			p.with = append(p.with, text)
		}
	}
	return p
}

// meaning is what a list of patterns says about a tool.
type meaning int

const (
	unmentioned meaning = iota
	included
	excluded
)

// mean looks at a tool under each of its names.
func (p patterns) mean(names ...string) meaning {
	matches := func(glob string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return matchGlob(glob, name) })
	}
	switch {
	case slices.ContainsFunc(p.without, matches):
		return excluded
	case slices.ContainsFunc(p.with, matches):
		return included
	}
	return unmentioned
}

// wants reports whether a tool of server can be meant at all.
func (p patterns) wants(server string) bool {
	prefix := server + separator
	return slices.ContainsFunc(p.with, func(glob string) bool { return canBegin(glob, prefix) }) &&
		!slices.ContainsFunc(p.without, func(glob string) bool { return strings.HasSuffix(glob, "*") && matchGlob(glob, prefix) })
}

// matchGlob reports whether text is what glob describes: * is any text, ? is
// any one byte.
func matchGlob(glob, text string) bool {
	star, mark := -1, 0
	g, t := 0, 0
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, t
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == text[t]):
			g++
			t++
		case star >= 0:
			mark++
			g, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// canBegin reports whether glob matches some text that begins with prefix.
func canBegin(glob, prefix string) bool {
	for i := range len(prefix) {
		if i == len(glob) {
			return false
		}
		if glob[i] == '*' {
			return true
		}
		if glob[i] != '?' && glob[i] != prefix[i] {
			return false
		}
	}
	return len(glob) > len(prefix)
}

func hasWildcard(glob string) bool { return strings.ContainsAny(glob, "*?") }

const maxPattern = 256

func globProblem(glob string) string {
	switch {
	case glob == "":
		return "must name tools, such as read_* or *"
	case len(glob) > maxPattern:
		return fmt.Sprintf("is %d bytes, at most %d are allowed", len(glob), maxPattern)
	case strings.ContainsFunc(glob, unicode.IsControl):
		return "must not hold control characters"
	}
	return ""
}

// checkPatterns says what is wrong with a loop's patterns, given the servers
// that exist and those of them that are disabled.
func checkPatterns(texts []string, servers, disabled []string) error {
	var v problems
	for i, text := range texts {
		glob := strings.TrimPrefix(text, "!")
		problem := globProblem(glob)
		if problem == "" {
			problem = serverProblem(glob, servers, disabled)
		}
		if problem != "" {
			v.add(fmt.Sprintf("tools[%d]", i), "%q %s", text, problem)
		}
	}
	if len(texts) > 0 && !slices.ContainsFunc(texts, func(text string) bool { return !strings.HasPrefix(text, "!") }) {
		v.add("tools", `holds only exclusions, which leave nothing: add what they are taken from, such as "*"`)
	}
	return v.err()
}

// serverProblem says why glob matches no tool of any server.
func serverProblem(glob string, servers, disabled []string) string {
	meant := func(server string) bool { return canBegin(glob, server+separator) }
	if slices.ContainsFunc(servers, meant) {
		return ""
	}
	if i := slices.IndexFunc(disabled, meant); i >= 0 {
		return fmt.Sprintf("means the MCP server %s, which is disabled in the configuration", disabled[i])
	}
	known := append(slices.Clone(servers), disabled...)
	part, _, _ := strings.Cut(glob, separator)
	switch {
	case len(known) == 0:
		return "names a tool of an MCP server, and none is configured: add it to mcp_servers"
	case slices.Contains(known, part):
		return fmt.Sprintf("names a server and none of its tools: write %s%s*", part, separator)
	case hasWildcard(part):
		return fmt.Sprintf("matches no configured MCP server (%s)", strings.Join(servers, ", "))
	}
	return fmt.Sprintf("means the MCP server %s, which is not configured (%s)%s", part, strings.Join(servers, ", "), loops.DidYouMean(part, known))
}
