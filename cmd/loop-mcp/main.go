// Command loop-mcp runs durable agent loops: as an MCP server, and from the
// command line.
//
// The package reads flags, environment and files, and wires the parts together;
// it holds no rule of a loop. wire.go is the place where they meet and reads as
// the architecture:
//
//	embed, cluster (NATS) ─► kvstate ─┐
//	command (bodies, runner) ────────┼─► loops.Engine ─► mcpserver ─► stdio
//	judge (stop conditions) ─────────┘         └─► run, start, ls, show, …
//
// Any number of processes share the store: one of them hosts it, whichever ends
// is replaced (package kvstate/embed). Results go to stdout, everything else to stderr; while the program is
// an MCP server, os.Stdout points at stderr, so that nothing but the protocol
// can reach the client.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// app is what every command shares.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File
	env            func(string) string

	configPath string
	logLevel   string
	logFormat  string
	natsURL    string
	natsCreds  string
	json       bool
}

// run carries out one command line and returns its exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	a.report(err)
	return codeOf(err)
}

// report prints an error, one line of JSON for a program that asked for it.
func (a *app) report(err error) {
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.err == nil {
		return
	}
	if a.json {
		line, _ := json.Marshal(map[string]any{"error": map[string]any{"code": codeOf(err), "message": err.Error()}})
		fmt.Fprintln(a.stderr, string(line))
		return
	}
	fmt.Fprintln(a.stderr, "loop-mcp:", strings.TrimSpace(harmless(err.Error())))
}
