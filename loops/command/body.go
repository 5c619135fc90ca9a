package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
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
//
// An agent's command line has sessions. The id that its report named last is in
// the memory, and [loops.BodySpec] Resume with that id goes behind the arguments
// of the next start. Only what looks like an id does; a start that fails without
// naming its session makes the next one begin anew. What a provider refused is
// passing (408, 429, 5xx, no answer) or permanent (401, 402, 403), as far as
// the report tells.
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
	session, args := resumed(spec.Resume, t.Memory)
	c.Argv, c.Stdin, c.Emit = slices.Concat(c.Argv, args), t.Prompt, t.Emit
	forget, err := offerMemory(&c, t.Memory)
	if err != nil {
		return loops.Result{}, loops.Transient(err, 0)
	}
	defer forget()
	if t.Attempt > 1 {
		b.runner().EndLeftovers(c.Owner)
	}
	out, err := b.runner().Run(ctx, c)
	return resultOf(ctx, spec.Usage, t.Memory, session, out, err)
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
	if spec.Usage != "" && !slices.Contains(loops.Usages(), spec.Usage) {
		return spec, &loops.FieldError{Field: "usage", Problem: fmt.Sprintf("must be one of %s, got %q", strings.Join(loops.Usages(), ", "), spec.Usage)}
	}
	return spec, nil
}

// resultOf makes the result of a run that continued a session, if any.
func resultOf(ctx context.Context, usage string, memory json.RawMessage, session string, out Outcome, runErr error) (loops.Result, error) {
	if start, ok := errors.AsType[*StartError](runErr); ok {
		if start.Passing {
			return loops.Result{}, loops.Transient(runErr, 0)
		}
		return loops.Result{}, loops.Permanent(runErr)
	}
	r := read(usage, out.Stdout)
	if runErr != nil || out.Exit != 0 {
		r.failed(r.err)
	}
	lost := session != "" && r.session == "" && r.fault == faultOther && runErr == nil && out.Signal == ""
	if runErr == nil && out.Signal == "" || r.session != "" { // else nothing is known about the session
		r.account(memory, session)
	}
	switch {
	case runErr != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return r.Result, loops.Transient(errors.New("the process did not end within the iteration's time limit and was ended"+said(out)), 0)
	case runErr != nil:
		return r.Result, runErr
	case out.Exit == exitTransient:
		return r.Result, loops.Transient(errors.New("exit 75 (a fault that may pass)"+said(out)), 0)
	case out.Exit != 0 && lost:
		return r.Result, loops.Transient(fmt.Errorf("session %s was not continued; the next start begins a new one: %s%s", session, exitText(out), told(out, r.err)), 0)
	case out.Exit != 0:
		return r.Result, r.mark(errors.New(exitText(out) + told(out, r.err)))
	case r.err != nil:
		return r.Result, r.mark(r.err)
	}
	return r.Result, nil
}

func exitText(out Outcome) string {
	if out.Signal != "" {
		return "ended by a signal (" + out.Signal + ")"
	}
	return fmt.Sprintf("exit %d", out.Exit)
}

// told prefers what a report says about its failure to raw text: on stderr,
// agents tell much that is no reason.
func told(out Outcome, readErr error) string {
	if reported, ok := errors.AsType[*ReportedError](readErr); ok {
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
