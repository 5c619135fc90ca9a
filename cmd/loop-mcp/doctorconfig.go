package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/loop-mcp/cmd/loop-mcp/internal/clients"
)

// programs is whether what may or has to be run is there.
func (d *doctor) programs(_ context.Context, e *examination) {
	s := d.settings
	own, _ := s.allow.programs() // an error is told with the configuration
	allowed := append(slices.Clone(s.AllowCommands), own...)
	for _, program := range slices.Compact(slices.Sorted(slices.Values(allowed))) {
		if program == "*" {
			e.ok("every program is allowed")
			continue
		}
		d.allowedProgram(e, program)
	}
	if len(allowed) == 0 {
		e.ok("no program is allowed to loops from tools; loop-mcp allow PROGRAM does that")
	}
	for _, name := range slices.Sorted(maps.Keys(s.MCPServers)) {
		server := s.MCPServers[name]
		if server.Command == "" || server.Disabled {
			continue
		}
		if _, err := d.machine.LookPath(server.Command); err != nil {
			e.add(levelBroken, "install it, or name its path in mcp_servers."+name+".command", "the MCP server %s starts %s, which is not on PATH: agents go without its tools", name, server.Command)
		}
	}
	if len(s.Notify) > 0 {
		if _, err := d.machine.LookPath(s.Notify[0]); err != nil {
			e.add(levelBroken, "mend notify in the configuration", "notify runs %s, which is not there: nobody is told", s.Notify[0])
		}
	}
}

// usualDirs are on the PATH of programs that are started from a window.
var usualDirs = []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"}

func (d *doctor) allowedProgram(e *examination, program string) {
	path, err := absolute(program, d.app.env)
	if isName(program) {
		path, err = d.machine.LookPath(program)
	} else if err == nil {
		_, err = d.machine.LookPath(path)
	}
	if err != nil {
		e.add(levelNote, "install it, or loop-mcp allow --remove "+program, "%s is allowed and not there: loops that need it stay queued", program)
		return
	}
	if isName(program) && d.machine.GOOS != "windows" && !slices.Contains(usualDirs, filepath.Dir(path)) && d.window() != "" {
		e.add(levelNote, "loop-mcp allow "+path+", and name it so in the loop; or give PATH to the client's entry as env",
			"%s is %s; %s, started from a window, may not look there", program, path, d.window())
		return
	}
	e.ok("%s is allowed: %s", program, path)
}

// window names a client that is started from a window and has loop-mcp; empty:
// there is none.
func (d *doctor) window() string {
	for _, c := range clients.All() {
		if found, err := c.Read(d.machine, clients.User); err == nil && c.Window() && len(oursOf(found)) > 0 {
			return c.Title
		}
	}
	return ""
}

// models is whether agents and judges have what they need. Keys are never shown,
// and nobody is asked.
func (d *doctor) models(_ context.Context, e *examination) {
	catalog := newCatalog(d.settings.config, d.app.env, dialer(d.app.env))
	names := catalog.names()
	if len(names) == 0 {
		e.ok("no model is configured and no key is set: loops of clients, commands and handlers need none")
		return
	}
	keys := map[string]bool{}
	for _, name := range names {
		c := catalog.configs[name]
		if c.APIKeyEnv != "" {
			keys[c.APIKeyEnv] = true
		}
		if _, err := catalog.chain(name); err != nil {
			e.add(levelBroken, "set the variable, or configure another model or a fallback", "%s", problemText(err))
			continue
		}
		key := "without a key"
		if c.APIKeyEnv != "" {
			key = "with the key in " + c.APIKeyEnv
			if d.app.env(c.APIKeyEnv) == "" {
				key = "by its fallback: " + c.APIKeyEnv + " is not set"
			}
		}
		e.ok("%s is %s %s, %s", name, c.Provider, c.Model, key)
	}
	if window := d.window(); window != "" && len(keys) > 0 && e.Level == levelOK {
		list := strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
		e.add(levelNote, "set it for the whole session, or in the env of the client's entry", "%s is set here; %s, started from a window, does not see what only the shell sets", list, window)
	}
}

// folders is whether loops may work where they are to, and which loop files
// there are.
func (d *doctor) folders(_ context.Context, e *examination) {
	for _, root := range d.settings.Roots {
		info, err := os.Stat(root)
		switch {
		case err != nil:
			e.add(levelNote, "make it, or correct roots in the configuration", "loops may work in %s, which is not there", root)
		case !info.IsDir():
			e.add(levelBroken, "correct roots in the configuration", "loops may work in %s, which is no folder", root)
		default:
			e.ok("loops may work in %s", root)
		}
	}
	library := d.settings.library()
	for _, name := range library.names() {
		path, err := library.find(name)
		if err == nil {
			_, err = library.load(name)
		}
		switch {
		case err != nil && strings.Contains(err.Error(), "trust"):
			e.add(levelNote, "read it, then loop-mcp trust "+path, "the loop file %s is not trusted: clients can't start it by its name", path)
		case err != nil:
			e.add(levelNote, "loop-mcp validate "+path, "the loop file %s has mistakes", path)
		default:
			e.ok("the loop file %s can be started by its name", path)
		}
	}
}

// http is whether the address of serve --http is free or ours.
func (d *doctor) http(ctx context.Context, e *examination) {
	c := d.settings.HTTP
	if _, err := c.tokens(d.app.env); err != nil {
		e.add(levelBroken, "set the variable where loop-mcp serve --http runs", "%s", problemText(err))
	}
	address, err := listenAddress(orElse(c.Listen, defaultListen))
	if err != nil {
		e.add(levelBroken, "correct http.listen", "%s", problemText(err))
		return
	}
	switch who := whoListens(ctx, "http://"+reachable(address)+"/"); who {
	case nobody:
		e.ok("nobody listens on %s; loop-mcp serve --http does", address)
	case another:
		if c.Listen == "" {
			e.ok("another program listens on %s; loop-mcp serve --http needs another address there", address)
			return
		}
		e.add(levelNote, "end that program, or choose another address: loop-mcp serve --http 127.0.0.1:0", "another program listens on %s, so loop-mcp serve --http can't", address)
	default:
		e.ok("loop-mcp listens on %s", address)
	}
}

// reachable is an address that a listener on all addresses can be dialled at.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// Who listens at an address.
const (
	nobody  = "nobody"
	another = "another program"
	ours    = "loop-mcp"
)

// whoListens says who listens at an address: what we serve names its endpoint to
// whoever asks for another page, or says where tokens come from.
func whoListens(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return another
	}
	direct := &http.Transport{DisableKeepAlives: true} // no proxy
	client := http.Client{Transport: direct, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "dial" {
		return nobody
	}
	if err != nil {
		return another
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096)) // what came before an error says enough
	if strings.Contains(string(text), "the MCP endpoint is") || strings.Contains(answer.Header.Get("WWW-Authenticate"), "resource_metadata") {
		return ours
	}
	return another
}
