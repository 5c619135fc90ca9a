package judge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/command"
)

var (
	_ loops.StopCondition = (*Command)(nil)
	_ loops.Checker       = (*Command)(nil)
)

const (
	defaultTimeout = 10 * time.Minute
	feedbackTail   = 8 << 10 // bytes
)

// Command is met when a program ends with the exit code of the condition (kind
// "command"). The zero value is ready and refuses what comes through a tool.
//
// The tail of what the program prints, both streams in order of arrival, is the
// feedback and the evidence. A program that is ended at its timeout is a
// verdict: not met. One that can't be started is an error.
type Command struct {
	Policy command.Policy
	Runner *command.Runner // nil: one of its own
	own    command.Runner
}

// Judge runs the program once.
func (c *Command) Judge(ctx context.Context, e loops.Evidence) (loops.Verdict, error) {
	spec, err := decodeCommand(e.Config)
	if err != nil {
		return loops.Verdict{}, err
	}
	run, err := c.Policy.Prepare(command.Job{
		Source: e.Source, Dir: e.Dir, Run: spec.Run, Cwd: spec.Cwd,
		Loop: e.Loop, Iteration: e.Iteration, Pass: e.Pass,
	})
	if err != nil {
		return loops.Verdict{}, fmt.Errorf("the command condition can't run: %w", err)
	}
	seen := &witness{whole: sha256.New()}
	run.Merge, run.Tee, run.Emit, run.Timeout = true, seen, e.Emit, timeoutOf(spec)
	runner := c.Runner
	if runner == nil {
		runner = &c.own
	}
	out, err := runner.Run(ctx, run)
	var start *command.StartError
	switch {
	case errors.As(err, &start):
		return loops.Verdict{}, fmt.Errorf("the command condition can't run: %w: check its run and cwd", err)
	case err != nil:
		return loops.Verdict{}, err
	}
	return verdict(spec, e, out, seen), nil
}

// Check refuses programs that are not there or not allowed, and folders out of
// reach.
func (c *Command) Check(s loops.Setup) error {
	spec, err := decodeCommand(s.Config)
	if err != nil {
		return err
	}
	_, err = c.Policy.Prepare(command.Job{Source: s.Source, Dir: s.Dir, Run: spec.Run, Cwd: spec.Cwd})
	return err
}

func decodeCommand(config json.RawMessage) (loops.Condition, error) {
	var spec loops.Condition
	if err := json.Unmarshal(config, &spec); err != nil {
		return spec, &loops.FieldError{Problem: fmt.Sprintf("the command condition's settings are not readable: %v", err)}
	}
	if spec.Exit < 0 || spec.Exit > 255 {
		return spec, &loops.FieldError{Field: "exit", Problem: fmt.Sprintf("must be an exit code from 0 to 255, got %d", spec.Exit)}
	}
	return spec, nil
}

func timeoutOf(spec loops.Condition) time.Duration {
	if spec.Timeout > 0 {
		return time.Duration(spec.Timeout)
	}
	return defaultTimeout
}

func verdict(spec loops.Condition, e loops.Evidence, out command.Outcome, seen *witness) loops.Verdict {
	tail := command.Tail(out.Stdout, feedbackTail)
	v := loops.Verdict{
		Iteration: e.Iteration, Pass: e.Pass, Kind: loops.StopCommand,
		Met:    !out.TimedOut && out.Signal == "" && out.Exit == spec.Exit,
		Reason: reason(spec, out),
		Evidence: []loops.Exhibit{{
			Source: commandLine(spec.Run), Observed: true, Text: tail, Hash: hex.EncodeToString(seen.whole.Sum(nil)),
		}},
	}
	v.Fingerprint = digest(v.Reason + "\n" + seen.stable(out.Stdout))
	if v.Met {
		return v
	}
	v.Feedback = tail
	if tail == "" {
		v.Feedback = fmt.Sprintf("%s: %s; it printed nothing", commandLine(spec.Run), v.Reason)
	}
	return v
}

func reason(spec loops.Condition, out command.Outcome) string {
	switch {
	case out.TimedOut:
		return "timed out after " + shortDuration(timeoutOf(spec))
	case out.Signal != "":
		return "ended by a signal (" + out.Signal + ")"
	case spec.Exit != 0 && out.Exit != spec.Exit:
		return fmt.Sprintf("exit %d, not %d", out.Exit, spec.Exit)
	}
	return fmt.Sprintf("exit %d", out.Exit)
}

// shortDuration writes 10m for Go's 10m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// commandLine writes an argument vector for people; what a shell would split is
// quoted.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$`|&;<>(){}*?#~") {
			words[i] = strconv.Quote(word)
		}
	}
	return clip(strings.Join(words, " "), 500)
}
