package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// soon is when a server has to have listed its tools: some clients give up after
// ten seconds, and several servers start at once.
const soon = time.Second

// server is whether this program answers a client as a client would start it.
func (d *doctor) server(ctx context.Context, e *examination) {
	took, tools, err := d.handshake(ctx)
	switch {
	case err != nil:
		e.add(levelBroken, "run loop-mcp serve in a terminal and read what it says; nothing but the protocol may go to its standard output", "as an MCP server: %s", problemText(err))
	case took > soon:
		e.add(levelNote, "a busy machine or a scan of each program that starts; clients wait ten seconds or more", "as an MCP server it listed %d tools after %s", tools, span(took))
	default:
		e.ok("as an MCP server it listed %d tools after %s", tools, span(took))
	}
}

// clientHello is what a client says first.
const clientHello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"loop-mcp doctor","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}
`

// handshake starts this program as a client does, asks for the tools and ends
// it. Its data folder is one that is not there, so that no store is opened.
func (d *doctor) handshake(ctx context.Context) (took time.Duration, tools int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	args := []string{"serve"}
	if d.app.configPath != "" {
		args = append(args, "--config", d.app.configPath)
	}
	cmd := exec.CommandContext(ctx, d.executable, args...)
	cmd.Env = append(d.environ, "LOOP_MCP_HOME="+filepath.Join(os.TempDir(), fmt.Sprintf("loop-mcp-doctor-%d", os.Getpid())))
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	_, _ = io.WriteString(stdin, clientHello) // what it says tells more than that it did not listen
	lines := bufio.NewReader(stdout)
	tools, err = toolsOf(lines)
	took = time.Since(began)
	if err != nil {
		cancel()
	}
	_ = stdin.Close() // it may be gone
	rest, _ := io.ReadAll(lines)
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("it did not end when its client went: %w", waitErr)
	}
	if err == nil && len(bytes.TrimSpace(rest)) > 0 {
		err = fmt.Errorf("it wrote to its standard output at its end: %s", clip(string(rest), 200))
	}
	if err != nil && stderr.Len() > 0 {
		err = fmt.Errorf("%w; it says: %s", err, clip(strings.TrimSpace(stderr.String()), 500))
	}
	return took, tools, err
}

// toolsOf reads answers until the tools are listed.
func toolsOf(lines *bufio.Reader) (int, error) {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return 0, errors.New("it ended before it had answered")
		}
		var answer struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Error   *struct{ Message string }
			Result  struct{ Tools []json.RawMessage }
		}
		switch err := json.Unmarshal(line, &answer); {
		case err != nil || answer.JSONRPC != "2.0":
			return 0, fmt.Errorf("it wrote to its standard output what is no message: %s", clip(string(line), 200))
		case answer.Error != nil:
			return 0, errors.New(answer.Error.Message)
		case string(answer.ID) == "2" && len(answer.Result.Tools) == 0:
			return 0, errors.New("it has no tools")
		case string(answer.ID) == "2":
			return len(answer.Result.Tools), nil
		}
	}
}
