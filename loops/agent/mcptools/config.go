package mcptools

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/loop-mcp/loops"
)

// Config is what the operator decided about the servers whose tools agents may
// use. The zero value has none.
type Config struct {
	Servers map[string]Server `json:"mcp_servers"`
	PassEnv []string          `json:"pass_env"` // further variables of the host that servers see
}

// Server is one server, in the shape that MCP clients share.
type Server struct {
	Type string `json:"type"` // stdio, http or sse; empty: http with a url, else stdio

	Command string            `json:"command"` // looked up on the PATH of this process
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env"` // beside the allowed variables of the host
	Cwd     string            `json:"cwd"` // relative to the loop's folder; empty: that folder

	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`

	Disabled     bool           `json:"disabled"`
	Timeout      loops.Duration `json:"timeout"`       // of one call to a server that runs; 0: 60s
	StartTimeout loops.Duration `json:"start_timeout"` // until it has listed its tools; 0: 30s
	AllowNested  bool           `json:"allow_nested"`  // the server is loop-mcp, and that is meant

	// The keys and items below are patterns over the server's tools: the tool's
	// own name or server__tool, with * and ?. In the lists "!" excludes.
	PricePerCallUSD map[string]loops.USD `json:"price_per_call_usd"` // an exact name wins, then the highest price
	Approve         []string             `json:"approve"`            // each call needs a person's approval
	ReadOnly        []string             `json:"read_only"`          // overrules the server's hint, both ways
	Idempotent      []string             `json:"idempotent"`         // likewise
}

// The kinds of connection.
const (
	typeStdio = "stdio"
	typeHTTP  = "http"
	typeSSE   = "sse"
)

const (
	defaultTimeout      = 60 * time.Second
	defaultStartTimeout = 30 * time.Second
)

func (s Server) kind() string {
	switch {
	case s.Type != "":
		return s.Type
	case s.URL != "":
		return typeHTTP
	}
	return typeStdio
}

func (s Server) timeout() time.Duration {
	return cmp.Or(time.Duration(s.Timeout), defaultTimeout)
}

func (s Server) startTimeout() time.Duration {
	return cmp.Or(time.Duration(s.StartTimeout), defaultStartTimeout)
}

// Validate reports what is wrong, every problem at once, as joined
// [loops.FieldError]s. It looks at no file and starts nothing.
func (c Config) Validate() error {
	var v problems
	for _, name := range slices.Sorted(maps.Keys(c.Servers)) {
		at := "mcp_servers." + name
		if !serverName.MatchString(name) || strings.Contains(name, separator) {
			v.add(fmt.Sprintf("mcp_servers[%q]", name), "must be 1 to 32 letters, digits, hyphens and single underscores, a letter or digit first and last: it is the first part of the names of its tools")
			continue
		}
		v.server(at, c.Servers[name])
	}
	return v.err()
}

var serverName = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?\z`)

type problems []error

func (v problems) err() error { return errors.Join(v...) }

func (v *problems) add(field, format string, args ...any) {
	*v = append(*v, &loops.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (v *problems) server(at string, s Server) {
	switch kind := s.kind(); kind {
	case typeStdio:
		v.stdio(at, s)
	case typeHTTP, typeSSE:
		v.web(at, kind, s)
	default:
		v.add(at+".type", "must be stdio, http or sse, got %q%s", s.Type, loops.DidYouMean(s.Type, []string{typeStdio, typeHTTP, typeSSE}))
	}
	v.notNegative(at+".timeout", s.Timeout)
	v.notNegative(at+".start_timeout", s.StartTimeout)
	for _, key := range slices.Sorted(maps.Keys(s.PricePerCallUSD)) {
		if problem := globProblem(key); problem != "" {
			v.add(at+".price_per_call_usd", "%q %s", key, problem)
		} else if s.PricePerCallUSD[key] < 0 {
			v.add(at+".price_per_call_usd."+key, "must not be negative, got %s", s.PricePerCallUSD[key])
		}
	}
	v.patterns(at+".approve", s.Approve)
	v.patterns(at+".read_only", s.ReadOnly)
	v.patterns(at+".idempotent", s.Idempotent)
}

func (v *problems) notNegative(field string, d loops.Duration) {
	if d < 0 {
		v.add(field, "must not be negative, got %s", d)
	}
}

func (v *problems) patterns(at string, list []string) {
	for i, text := range list {
		if problem := globProblem(strings.TrimPrefix(text, "!")); problem != "" {
			v.add(fmt.Sprintf("%s[%d]", at, i), "%q %s", text, problem)
		}
	}
}

func (v *problems) stdio(at string, s Server) {
	switch {
	case strings.TrimSpace(s.Command) == "" && s.URL != "":
		v.add(at+".type", "is stdio, and the server has a url: leave type out, or write http or sse")
	case strings.TrimSpace(s.Command) == "":
		v.add(at, "needs a command to start, or a url to connect to")
	case s.URL != "":
		v.add(at+".url", "belongs to the types http and sse, this server has a command: leave one of them out")
	case !s.Disabled && !s.AllowNested && namesSelf(s):
		v.add(at+".command", "%s", selfProblem)
	}
	if len(s.Headers) > 0 {
		v.add(at+".headers", "belongs to the types http and sse, this server is stdio")
	}
}

func (v *problems) web(at, kind string, s Server) {
	for _, field := range []struct {
		key string
		set bool
	}{{"command", s.Command != ""}, {"args", len(s.Args) > 0}, {"env", len(s.Env) > 0}, {"cwd", s.Cwd != ""}, {"allow_nested", s.AllowNested}} {
		if field.set {
			v.add(at+"."+field.key, "belongs to the type stdio, this server is %s", kind)
		}
	}
	address, err := url.Parse(s.URL)
	switch {
	case s.URL == "":
		v.add(at+".url", "is missing: the server is %s", kind)
	case err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https":
		v.add(at+".url", "must be an address such as https://tools.example/mcp")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		if !headerName.MatchString(name) {
			v.add(at+".headers", "%q is not a name for a header", name)
		} else if strings.ContainsFunc(s.Headers[name], func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
			v.add(at+".headers."+name, "must not hold control characters or line breaks")
		}
	}
}

var headerName = regexp.MustCompile("\\A[A-Za-z0-9!#$%&'*+.^_`|~-]+\\z")

const selfProblem = "is loop-mcp itself, and an agent that starts loops which start agents is seldom meant: leave the server out, disable it, or set allow_nested: true"

// namesSelf reports whether the server is loop-mcp by its name, directly or
// through a launcher.
func namesSelf(s Server) bool {
	if isSelfName(s.Command) {
		return true
	}
	switch strings.TrimSuffix(filepath.Base(s.Command), ".exe") {
	case "npx", "bunx", "uvx", "env":
		i := slices.IndexFunc(s.Args, func(a string) bool { return !strings.HasPrefix(a, "-") && !strings.Contains(a, "=") })
		return i >= 0 && isSelfName(s.Args[i])
	}
	return false
}

func isSelfName(program string) bool {
	name, _, _ := strings.Cut(filepath.Base(program), "@")
	return strings.TrimSuffix(name, ".exe") == "loop-mcp"
}
