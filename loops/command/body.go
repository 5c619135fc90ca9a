package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/loop-mcp/loops"
)

var (
	_ loops.Body    = (*Body)(nil)
	_ loops.Checker = (*Body)(nil)
)

// Body runs a process for each start (kind "command"). Its settings are a
// [loops.BodySpec] as JSON; Turn.Prompt is its standard input. The zero value is
// ready and refuses what comes through a tool.
//
// The process sees LOOP_ID, LOOP_ITERATION, LOOP_PASS and LOOP_MCP_PARENT and,
// when its last iteration kept a memory, LOOP_MEMORY_FILE: the name of a private
// file with that memory as JSON, which is removed when the process has ended.
// How its output is read is told at [loops.BodySpec] Usage and in [Read].
type Body struct {
	Policy Policy
	Runner *Runner // nil: one of its own
	own    Runner
}

func (b *Body) runner() *Runner {
	if b.Runner != nil {
		return b.Runner
	}
	return &b.own
}

// exitTransient is EX_TEMPFAIL of sysexits.h: try again later.
const exitTransient = 75

// feedbackTail is how much of a failed process's words is kept, in bytes.
const feedbackTail = 8 << 10

// Run runs the process once. Exit 0 is an iteration; exit 75 and the iteration
// timeout are transient; any other exit is a failed iteration with the tail of
// stderr as its text; what can't be started is permanent. Usage that was
// reported is in the Result also beside an error.
func (b *Body) Run(ctx context.Context, t loops.Turn) (loops.Result, error) {
	spec, err := decodeSpec(t.Config)
	if err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	c, err := b.Policy.Prepare(Job{
		Source: t.Source, Dir: t.Dir, Run: spec.Run, Cwd: spec.Cwd, Env: spec.Env,
		Loop: t.Loop, Iteration: t.Iteration, Pass: t.Pass,
	})
	if err != nil {
		return loops.Result{}, loops.Permanent(err)
	}
	c.Stdin, c.Emit = t.Prompt, t.Emit
	forget, err := offerMemory(&c, t.Memory)
	if err != nil {
		return loops.Result{}, loops.Transient(err, 0)
	}
	defer forget()
	if t.Attempt > 1 {
		b.runner().EndLeftovers(c.Owner)
	}
	out, err := b.runner().Run(ctx, c)
	return resultOf(ctx, spec.Usage, t.Memory, out, err)
}

// EndLeftovers implements [loops.Ender].
func (b *Body) EndLeftovers(id loops.ID, dir string) { b.runner().EndLeftovers(Owner(id, dir)) }

// Check refuses settings that no run could use: programs that are not there or
// not allowed, and folders out of reach.
func (b *Body) Check(s loops.Setup) error {
	spec, err := decodeSpec(s.Config)
	if err != nil {
		return err
	}
	_, err = b.Policy.Prepare(Job{Source: s.Source, Dir: s.Dir, Run: spec.Run, Cwd: spec.Cwd, Env: spec.Env})
	return err
}

func decodeSpec(config json.RawMessage) (loops.BodySpec, error) {
	var spec loops.BodySpec
	if err := json.Unmarshal(config, &spec); err != nil {
		return spec, &loops.FieldError{Problem: fmt.Sprintf("the command's settings are not readable: %v", err)}
	}
	switch spec.Usage {
	case "", loops.UsageNone, loops.UsageJSON, loops.UsageClaudeJSON, loops.UsageCodexJSON:
		return spec, nil
	}
	return spec, &loops.FieldError{Field: "usage", Problem: fmt.Sprintf("must be none, json, claude-json or codex-json, got %q", spec.Usage)}
}

// resultOf makes the result of a run.
func resultOf(ctx context.Context, usage string, memory json.RawMessage, out Outcome, runErr error) (loops.Result, error) {
	if start, ok := errors.AsType[*StartError](runErr); ok {
		if start.Passing {
			return loops.Result{}, loops.Transient(runErr, 0)
		}
		return loops.Result{}, loops.Permanent(runErr)
	}
	result, readErr := Read(usage, out.Stdout, memory)
	ended := runErr != nil || out.Exit != 0
	if ended {
		result = loops.Result{Usage: result.Usage, Memory: kept(usage, result)}
	}
	switch {
	case runErr != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return result, loops.Transient(errors.New("the process did not end within the iteration's time limit and was ended"+said(out)), 0)
	case runErr != nil:
		return result, runErr
	case out.Exit == exitTransient:
		return result, loops.Transient(errors.New("exit 75 (a fault that may pass)"+said(out)), 0)
	case out.Exit != 0:
		return result, errors.New(exitText(out) + told(out, readErr))
	}
	return result, readErr
}

// kept is the memory that outlives a failed run: what a thread had used was
// used, whatever became of the run.
func kept(usage string, r loops.Result) json.RawMessage {
	if usage == loops.UsageCodexJSON {
		return r.Memory
	}
	return nil
}

func exitText(out Outcome) string {
	if out.Signal != "" {
		return "ended by a signal (" + out.Signal + ")"
	}
	return fmt.Sprintf("exit %d", out.Exit)
}

// told prefers what a report says about its failure to raw text.
func told(out Outcome, readErr error) string {
	var reported *ReportedError
	if errors.As(readErr, &reported) && strings.TrimSpace(out.Stderr) == "" {
		return ": " + reported.Error()
	}
	return said(out)
}

// said is the tail of what the process said: on stderr, else on stdout.
func said(out Outcome) string {
	text := Tail(out.Stderr, feedbackTail)
	if text == "" {
		text = Tail(lastBytes(out.Stdout, 4*feedbackTail), feedbackTail)
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

func lastBytes(text string, limit int) string { return text[max(0, len(text)-limit):] }

// offerMemory writes memory to a file that only this user can read and tells
// the process its name.
func offerMemory(c *Command, memory json.RawMessage) (forget func(), err error) {
	if len(memory) == 0 {
		return func() {}, nil
	}
	file, err := os.CreateTemp("", "loop-memory-*.json") // 0600
	if err != nil {
		return nil, fmt.Errorf("keep the memory for the process: %w", err)
	}
	forget = func() { _ = os.Remove(file.Name()) }
	_, err = file.Write(memory)
	if err = errors.Join(err, file.Close()); err != nil {
		forget()
		return nil, fmt.Errorf("keep the memory for the process: %w", err)
	}
	c.Env = append(c.Env, envMemory+"="+file.Name())
	return forget, nil
}
