package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
	"example.com/loop-mcp/loops/remote"
)

// Body runs a program for each start. Its programs see the environment that
// [command.Policy] passes on, and LOOP_ID, LOOP_ITERATION, LOOP_PASS and
// LOOP_MCP_PARENT.
type Body struct {
	Name   string          // of the handler
	Argv   []string        // program and arguments, without a shell
	Dir    string          // absolute: its working folder
	Policy command.Policy  // PassEnv of it counts
	Owner  string          // see [Owner]; empty: what a dead server left is not found
	Runner *command.Runner // must be set
}

var _ loops.Body = (*Body)(nil)

// Owner names the programs of a handler among all that share a store, so that
// [command.Runner] EndLeftovers finds what a dead server of it left.
func Owner(name, store string) string { return "handler " + name + "@" + store }

const (
	exitFine      = "exit 0"
	exitTransient = "exit 75"
	// maxLine is for the largest result, with room for escapes.
	maxLine = loops.MaxOutputSize + loops.MaxMemorySize + 16<<20
)

// Run runs the program once.
func (b *Body) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	c, err := b.Policy.Prepare(command.Job{Source: loops.SourceCommandLine, Dir: b.Dir, Run: b.Argv, Loop: t.Loop, Iteration: t.Iteration, Pass: t.Pass})
	if err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	c.Owner, c.Emit = b.Owner, t.Emit
	call, err := json.Marshal(remote.CallOf(b.Name, t, time.Now()))
	if err != nil {
		return loops.Result{}, loops.Permanent(fmt.Errorf("the call as JSON: %w", err))
	}
	service, err := b.Runner.Start(c)
	if err != nil {
		if start, ok := errors.AsType[*command.StartError](err); ok && start.Passing {
			return loops.Result{}, loops.Transient(err, 0)
		}
		return loops.Result{}, loops.Permanent(err)
	}
	defer service.End()
	return follow(ctx, service, call, t)
}

// said is what the program printed.
type said struct {
	result *remote.Message
	err    error // of the line that ended it
}

// follow talks to the program until it is gone.
func follow(ctx context.Context, service *command.Service, call []byte, t loops.Turn) (loops.Result, error) {
	stop := context.AfterFunc(ctx, service.End)
	defer stop()
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = service.Stdin.Write(call) // a program need not read all of it
		service.CloseStdin()
	}()
	s := listen(ctx, service.Stdout, t)
	if s.err != nil {
		go func() { _, _ = io.Copy(io.Discard, service.Stdout) }()
		service.End()
	}
	<-service.Done()
	<-written
	var r loops.Result
	var err error
	if s.result != nil {
		r, err = s.result.Result()
	}
	spent := loops.Result{Usage: r.Usage}
	exit := service.Exit()
	switch {
	case ctx.Err() != nil:
		return spent, context.Cause(ctx)
	case s.err != nil:
		return spent, s.err
	case exit == exitTransient:
		return spent, loops.Transient(fmt.Errorf("exit 75 (a fault that may pass)%s", tail(service)), 0)
	case exit != exitFine:
		return spent, fmt.Errorf("%s%s", exit, tail(service))
	case s.result == nil:
		return spent, fmt.Errorf(`the program ended without a result: print one line such as {"type":"result","output":"..."}%s`, tail(service))
	}
	return r, err
}

func tail(service *command.Service) string {
	if text := service.Stderr(); text != "" {
		return ": " + text
	}
	return ""
}

// listen reads the program's lines until they end or one is wrong.
func listen(ctx context.Context, stdout io.Reader, t loops.Turn) said {
	var s said
	lines := bufio.NewReaderSize(stdout, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if len(bytes.TrimSpace(line)) > 0 && err == nil {
			err = s.take(ctx, line, t)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s
		case err != nil:
			s.err = fmt.Errorf("line %d of standard output: %w", number, err)
			return s
		}
	}
}

// readLine returns a line without its end. The last one may have none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("is longer than %d MiB", maxLine>>20)
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}

// take does what a line says.
func (s *said) take(ctx context.Context, line []byte, t loops.Turn) error {
	m, err := remote.ReadMessage(line)
	if broken, ok := errors.AsType[*loops.FieldError](err); ok {
		broken.Line = 0 // it is always the first; listen tells which one it is
	}
	if err != nil {
		return fmt.Errorf("%w; got %s", err, shown(line))
	}
	switch {
	case m.V != 0 || m.Key != "" || m.By != "" || len(m.Parts) > 0:
		return errors.New("v, key, by and parts are for handlers that speak the wire themselves")
	case s.result != nil:
		return errors.New("the result came before: it must be the last")
	}
	switch m.Type {
	case remote.TypeEmit:
		t.Emit(loops.Live{Text: string(m.Text), Tool: m.Tool})
	case remote.TypeSave:
		if err := t.Save(ctx, json.RawMessage(m.Memory)); err != nil {
			return fmt.Errorf("save: %w", err)
		}
	case remote.TypeResult:
		s.result = &m
	default:
		return fmt.Errorf("type: a program says emit, save or result, not %s", m.Type)
	}
	return nil
}

func shown(line []byte) string {
	text := command.Clean(string(bytes.TrimSpace(line[:min(len(line), 200)])))
	if len(line) > 200 {
		text += "…"
	}
	return text
}
