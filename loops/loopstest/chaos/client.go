package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// server is a running MCP server with its one client.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	gone chan struct{} // closed when its output has ended

	ready chan struct{} // of a worker: closed when it works; nil: a server

	mu      sync.Mutex
	id      int
	waiting map[int]chan reply
}

type reply struct {
	Result map[string]any `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

var errGone = errors.New("the server is gone")

// refusedError is an answer that says no.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// launch starts a worker.
func launch(cmd *exec.Cmd) (*server, error) {
	s := &server{cmd: cmd, gone: make(chan struct{}), ready: make(chan struct{}), waiting: map[int]chan reply{}}
	return s, s.begin()
}

// begin starts the process.
func (s *server) begin() error {
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	s.in = in
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go s.read(out)
	return nil
}

// connect starts a server and says hello. With an error there is a server all the
// same when it did not answer.
func connect(ctx context.Context, cmd *exec.Cmd) (*server, error) {
	s := &server{cmd: cmd, gone: make(chan struct{}), waiting: map[int]chan reply{}}
	err := s.begin()
	if err != nil {
		return nil, err
	}
	_, err = s.request(ctx, "initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "chaos", "version": "1"}})
	if err == nil {
		err = s.send(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	}
	return s, err
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// read hands out answers until the output ends.
func (s *server) read(out io.Reader) {
	defer close(s.gone)
	in := bufio.NewReader(out)
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if s.ready != nil {
			if first { // it says once that it works
				close(s.ready)
			}
			continue
		}
		var m struct {
			ID int `json:"id"`
			reply
		}
		if json.Unmarshal(line, &m) != nil {
			continue
		}
		s.mu.Lock()
		c := s.waiting[m.ID]
		delete(s.waiting, m.ID)
		s.mu.Unlock()
		if c != nil {
			c <- m.reply
		}
	}
}

func (s *server) send(message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.in.Write(append(line, '\n'))
	return err
}

func (s *server) request(ctx context.Context, method string, params any) (map[string]any, error) {
	c := make(chan reply, 1)
	s.mu.Lock()
	s.id++
	id := s.id
	s.waiting[id] = c
	s.mu.Unlock()
	if err := s.send(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params}); err != nil {
		return nil, errGone
	}
	select {
	case r := <-c:
		if r.Error != nil {
			return nil, &refusedError{r.Error.Message}
		}
		return r.Result, nil
	case <-s.gone:
		return nil, errGone
	case <-ctx.Done():
		return nil, fmt.Errorf("%s is not answered: %w", method, context.Cause(ctx))
	}
}

// call calls a tool.
func (s *server) call(ctx context.Context, tool string, args map[string]any) (map[string]any, error) {
	result, err := s.request(ctx, "tools/call", map[string]any{"name": tool, "arguments": args})
	if err != nil {
		return nil, err
	}
	if result["isError"] == true {
		text, _ := json.Marshal(result["content"])
		return nil, &refusedError{string(text)}
	}
	answer, _ := result["structuredContent"].(map[string]any)
	return answer, nil
}

// kill ends the process as the kernel does it, and returns how many children it
// had then.
func (s *server) kill() int {
	inFlight := bodiesBelow(s.pid())
	_ = s.cmd.Process.Kill()
	<-s.gone
	_ = s.cmd.Wait()
	return inFlight
}

// end closes the connection; the server has to end by itself.
func (s *server) end(within time.Duration) error {
	_ = s.in.Close()
	done := make(chan error, 1)
	go func() { <-s.gone; done <- s.cmd.Wait() }()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		_ = s.cmd.Process.Signal(os.Kill)
		<-done
		return fmt.Errorf("process %d did not end within %s of the end of its input", s.pid(), within)
	}
}
