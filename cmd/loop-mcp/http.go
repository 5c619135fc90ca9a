package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver"
	"example.com/loop-mcp/mcpserver/streamhttp"
)

// defaultListen is where serve --http listens when nobody says otherwise.
const defaultListen = "127.0.0.1:7717"

// configured stands for the configured address: --http without one.
const configured = "configured"

// serveHTTP answers MCP clients over HTTP until it is told to end.
func (a *app) serveHTTP(ctx context.Context, address string) error {
	ctx, stop := signal.NotifyContext(ctx, endSignals()...)
	defer stop()
	bearClosedPipes()
	s, err := a.settings()
	if err != nil {
		return err
	}
	log, err := a.logger()
	if err != nil {
		return err
	}
	if address == configured {
		address = orElse(s.HTTP.Listen, defaultListen)
	}
	if address, err = listenAddress(address); err != nil {
		return usagef("--http: %w", err)
	}
	tokens, err := s.HTTP.tokens(s.env)
	if err != nil {
		return err
	}
	lazy := newLazyHost(s, engineOptions{log: log, parent: a.parent(), role: roleHTTP})
	defer lazy.close()
	server, around := lazy.server()
	h := streamhttp.New(server, &streamhttp.Options{
		Before: mcpserver.KeepArguments, Around: around, Context: mcpserver.WithOwner, Tokens: tokens, AllowedOrigins: s.HTTP.AllowedOrigins, Logger: log,
	})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		who := another
		if whoListens(ctx, "http://"+reachable(address)+"/") == ours {
			who = "another loop-mcp"
		}
		return fmt.Errorf("serve over HTTP: %s listens on %s already: end it, or choose another address, such as --http 127.0.0.1:0 for any free port", who, address)
	}
	if err != nil {
		return fmt.Errorf("serve over HTTP: %w", err)
	}
	if err := h.MayServe(l.Addr()); err != nil {
		return errors.Join(fmt.Errorf("%w; listen on 127.0.0.1, or set %s to a token (http.token_env names another variable)", err, defaultTokenEnv), l.Close())
	}
	lazy.wake() // nobody has to call for loops to go on
	if _, err := fmt.Fprintf(a.stdout, "Serving MCP at http://%s/mcp, %s. Ctrl-C or SIGTERM ends it.\n", l.Addr(), tokenText(tokens)); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := h.Serve(ctx, l); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func tokenText(tokens map[string]string) string {
	switch len(tokens) {
	case 0:
		return "without a token to programs of this machine"
	case 1:
		return "to who has the token"
	}
	return fmt.Sprintf("to who has one of %d tokens", len(tokens))
}

// httpConfig is what serve --http needs to know.
type httpConfig struct {
	Listen         string   `json:"listen"`          // host:port
	TokenEnv       string   `json:"token_env"`       // names the variable with the tokens; empty: defaultTokenEnv
	AllowedOrigins []string `json:"allowed_origins"` // of pages that may call
}

func (c *httpConfig) check() error {
	var problems []error
	if c.Listen != "" {
		if _, err := listenAddress(c.Listen); err != nil {
			problems = append(problems, &loops.FieldError{Field: "http.listen", Problem: err.Error()})
		}
	}
	for i, origin := range c.AllowedOrigins {
		if u, err := url.Parse(origin); err != nil || u.Scheme == "" || u.Hostname() == "" || strings.TrimSuffix(origin, "/") != u.Scheme+"://"+u.Host {
			problems = append(problems, &loops.FieldError{Field: fmt.Sprintf("http.allowed_origins[%d]", i),
				Problem: fmt.Sprintf("must be a scheme and a host such as https://app.example, got %q", clip(origin, 60))})
		}
	}
	return errors.Join(problems...)
}

// listenAddress completes an address: a port alone, and a port without a host,
// are on this machine only.
func listenAddress(text string) (string, error) {
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("must be an address such as %s, got %q", defaultListen, clip(text, 60))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", fmt.Errorf("must end with a port from 0 to 65535, got %q", clip(text, 60))
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// minToken is how many characters a token must have: shorter ones can be guessed.
const minToken = 16

var namedToken = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_.-]{0,31})=(.+)$`)

// defaultTokenEnv is the variable with the tokens when the configuration names none.
const defaultTokenEnv = "LOOP_MCP_TOKEN"

// tokens reads the tokens of the variable that the configuration names, or of the
// default one, by their owner. Only the latter may be missing: then there are none.
func (c *httpConfig) tokens(env func(string) string) (map[string]string, error) {
	if c.TokenEnv == "" && env(defaultTokenEnv) == "" {
		return nil, nil
	}
	name := orElse(c.TokenEnv, defaultTokenEnv)
	words := strings.FieldsFunc(env(name), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(words) == 0 {
		return nil, fmt.Errorf("http.token_env: the environment variable %s is not set; set it to a token, or to several as name=token", name)
	}
	tokens := make(map[string]string, len(words))
	for i, word := range words {
		owner, token := splitToken(word)
		switch {
		case len(token) < minToken:
			return nil, fmt.Errorf("http.token_env: token %d in %s has %d characters and must have at least %d, such as those of openssl rand -hex 32", i+1, name, len(token), minToken)
		case tokens[owner] != "":
			return nil, fmt.Errorf("http.token_env: %s has two tokens named %s; give each a name of its own", name, owner)
		case slices.Contains(slices.Collect(maps.Values(tokens)), token):
			return nil, fmt.Errorf("http.token_env: %s has the token of %s twice; each owner needs one of its own", name, owner)
		}
		tokens[owner] = token
	}
	return tokens, nil
}

// splitToken parts name=token. What has no name that can be meant as one is a
// token whose owner is named after it.
func splitToken(word string) (owner, token string) {
	if m := namedToken.FindStringSubmatch(word); m != nil && strings.Trim(m[2], "=") != "" {
		return m[1], m[2]
	}
	sum := sha256.Sum256([]byte(word))
	return fmt.Sprintf("token-%x", sum[:4]), word
}
