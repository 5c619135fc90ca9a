package mcpserver

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver/tasks"
)

func (a *startArgs) check() error {
	var p problems
	p.notBelow("wait_seconds", a.WaitSeconds, 0)
	if a.LoopFile != "" {
		a.checkFile(&p)
	} else if len(a.Inputs) > 0 {
		p.add("inputs", "belong to a loop file: name it in loop_file, or write the values into the goal")
	}
	return p.err()
}

// fileName is what a loop file can be called: never a path.
var fileName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func (a *startArgs) checkFile(p *problems) {
	if !fileName.MatchString(a.LoopFile) {
		p.add("loop_file", "must be the name of a loop file such as fix-build (lower-case letters, digits, hyphens; no path, no ending), got %q", clip(a.LoopFile, 60))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"goal", a.Goal != ""}, {"body", a.Body != nil}, {"until", a.Until != nil}, {"context", a.Context != ""},
		{"protect", a.Protect != nil}, {"delay", a.Delay != 0}, {"retry", a.Retry != loops.Retry{}}, {"stall", a.Stall != nil},
		{"answer_timeout", a.AnswerTimeout != 0}, {"result", a.Result != ""}, {"name", a.Name != ""},
	} {
		if f.set {
			p.add(f.name, "cannot be combined with loop_file, which says it already; leave one of the two out")
		}
	}
}

// rest checks what the engine would check, for calls that never reach it.
func (a *startArgs) rest() error {
	if a.LoopFile != "" {
		return nil
	}
	return a.spec().Validate()
}

func (a *startArgs) spec() loops.Spec {
	s := loops.Spec{
		Name: a.Name, Goal: a.Goal, Context: a.Context, Protect: a.Protect, Until: a.Until, Limits: a.Limits,
		Delay: a.Delay, Retry: a.Retry, Stall: a.Stall, AnswerTimeout: a.AnswerTimeout, Result: a.Result,
		Body: loops.BodySpec{Kind: loops.BodyClient},
	}
	if a.Body != nil {
		s.Body = *a.Body
	}
	return s
}

func (t *tools) start(ctx context.Context, c *call, a startArgs) (any, error) {
	r, err := t.startRequest(ctx, a)
	if err != nil {
		return nil, err
	}
	e, err := t.engine(ctx)
	if err != nil {
		return nil, err
	}
	if a.DryRun {
		return dryRun(ctx, e, r)
	}
	r.SecretID = t.asTask(ctx, a, r)
	out, err := e.Start(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.SecretID && out.ID.Secret() { // a request_id may give a loop that is no task
		task, err := t.task(e, out.State)
		if err != nil {
			return nil, err
		}
		tasks.Accept(ctx, task)
		return t.snapshot(e, out.State, SnapshotOptions{}), nil
	}
	d, note := c.patience(a.WaitSeconds, 0)
	c.person.attends = true
	s, timedOut := c.follow(ctx, e, out.State, loops.ForAttention, d)
	answer := c.snapshot(e, s, SnapshotOptions{Limits: true, Warnings: out.Warnings})
	answer.Reused, answer.TimedOut = &out.Reused, timedOut
	answer.Next = note + answer.Next
	return answer, nil
}

// asTask reports whether a loop is started as a task: the client takes one for
// an answer and would wait longer than a call may, and the work is not its own.
func (t *tools) asTask(ctx context.Context, a startArgs, r loops.StartRequest) bool {
	return tasks.Offered(ctx) && a.WaitSeconds != nil && *a.WaitSeconds > int(t.opts.MaxWait/time.Second) &&
		r.Spec.Body.Kind != loops.BodyClient
}

func (t *tools) startRequest(ctx context.Context, a startArgs) (loops.StartRequest, error) {
	r := loops.StartRequest{Spec: a.spec(), Source: loops.SourceTool, Labels: a.Labels, RequestID: a.RequestID}
	if a.LoopFile == "" {
		return r, nil
	}
	if t.opts.Files == nil {
		return r, &loops.RefusedError{Code: "no_loop_files", Problem: "this server has no loop files", Remedy: "give goal, body and until instead of loop_file"}
	}
	f, err := t.opts.Files.Find(ctx, a.LoopFile)
	if err != nil {
		return r, fileError(a.LoopFile, err)
	}
	if !f.Trusted {
		return r, notTrusted(f)
	}
	r.Spec, r.Dir, r.Source, r.Inputs = f.Spec, f.Dir, loops.SourceTrustedFile, a.Inputs
	r.Spec.Limits = override(f.Spec.Limits, a.Limits)
	return r, nil
}

func notTrusted(f FoundFile) error {
	return &loops.RefusedError{
		Code:    "not_trusted",
		Problem: fmt.Sprintf("the loop file %s is not trusted, or has changed since it was", f.Path),
		Remedy:  fmt.Sprintf("ask the user to read it and run: loop-mcp trust %s", f.Path),
	}
}

// fileError puts what is wrong with a loop file under the argument that named
// it. A refusal says all that there is to say.
func fileError(name string, err error) error {
	if errors.Is(err, loops.ErrRefused) {
		return err
	}
	found := loops.FieldErrors(err)
	if len(found) == 0 {
		return &loops.FieldError{Field: "loop_file", Problem: err.Error()}
	}
	var all problems
	for _, f := range found {
		if f.Field == "loop_file" { // it names this argument already
			all = append(all, f)
			continue
		}
		all.add("loop_file", "%s is wrong: %s", name, f.Error())
	}
	return errors.Join(all...)
}

// override returns the limits of a file with those of the call in their place.
func override(file, call loops.Limits) loops.Limits {
	pick(&file.MaxIterations, call.MaxIterations)
	pick(&file.MaxPasses, call.MaxPasses)
	pick(&file.MaxDuration, call.MaxDuration)
	pick(&file.MaxActive, call.MaxActive)
	pick(&file.IterationTimeout, call.IterationTimeout)
	pick(&file.MaxTotalTokens, call.MaxTotalTokens)
	pick(&file.MaxCostUSD, call.MaxCostUSD)
	pick(&file.MaxToolCalls, call.MaxToolCalls)
	pick(&file.MaxFailures, call.MaxFailures)
	return file
}

func pick[N ~int64](into *N, n N) {
	if n != 0 {
		*into = n
	}
}

func dryRun(ctx context.Context, e engineAPI, r loops.StartRequest) (any, error) {
	spec, warnings, err := e.DryRun(ctx, r)
	if err != nil {
		return nil, err
	}
	return Answer{
		Name: spec.Name, DryRun: true, Spec: shortSpec(spec, maxSpec), Warnings: clipAll(warnings),
		Next: "Nothing was stored. Call loop_start again without dry_run to start it.",
	}, nil
}
