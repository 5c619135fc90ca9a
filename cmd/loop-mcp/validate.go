package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopfile"
	"github.com/spf13/cobra"
)

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "validate FILE…",
		Short:             "Check loop files without starting anything",
		Long:              "Check loop files: form, fields, templates, expressions and programs. Nothing is started or stored.",
		Example:           "  loop-mcp validate fix-build.loop.yaml\n  loop-mcp validate --json .loops/*.loop.*",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: loopFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			return a.validate(cmd.Context(), files)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// checked is the answer about one file.
type checked struct {
	Path     string      `json:"path"`
	Valid    bool        `json:"valid"`
	Problems []complaint `json:"problems,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
}

// complaint is one thing that is wrong in a file.
type complaint struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Problem string `json:"problem"`
}

func (a *app) validate(ctx context.Context, files []string) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	var answers []checked
	valid := true
	for _, path := range files {
		file, warnings, err := a.checkFile(ctx, s, path)
		answer := checked{Path: path, Valid: err == nil, Warnings: warnings, Problems: complaints(err)}
		valid = valid && answer.Valid
		answers = append(answers, answer)
		if !a.json {
			a.printChecked(answer, file)
		}
	}
	if a.json {
		err = a.printJSON(map[string]any{"files": answers})
	}
	if err == nil && !valid {
		err = &exitError{code: exitUsage}
	}
	return err
}

// checkFile does all that starting the file would do first.
func (a *app) checkFile(ctx context.Context, s settings, path string) (loopfile.File, []string, error) {
	file, err := loopfile.Load(path)
	if err != nil {
		return file, nil, err
	}
	log, err := a.logger()
	if err != nil {
		return file, nil, err
	}
	tools, err := s.toolbox()
	if err != nil {
		return file, nil, err
	}
	_, warnings, err := s.engine(nil, engineOptions{log: log, tools: tools}).DryRun(ctx, loops.StartRequest{
		Spec: withoutRequired(file.Spec), Dir: file.Dir, Source: loops.SourceCommandLine})
	return file, warnings, file.Locate(err)
}

// withoutRequired lets a file be checked without the values that only whoever
// starts it has.
func withoutRequired(spec loops.Spec) loops.Spec {
	spec.Inputs = maps.Clone(spec.Inputs)
	for name, in := range spec.Inputs {
		in.Required = false
		spec.Inputs[name] = in
	}
	return spec
}

// complaints takes an error apart.
func complaints(err error) []complaint {
	if err == nil {
		return nil
	}
	var list []complaint
	for _, e := range loops.FieldErrors(err) {
		list = append(list, complaint{Line: e.Line, Column: e.Column, Field: e.Field, Problem: e.Problem})
	}
	if list == nil {
		list = []complaint{{Problem: err.Error()}}
	}
	return list
}

func (a *app) printChecked(answer checked, file loopfile.File) {
	if answer.Valid {
		fmt.Fprintf(a.stdout, "%s: valid\n", answer.Path)
	}
	for _, w := range answer.Warnings {
		fmt.Fprintf(a.stdout, "%s: warning: %s\n", answer.Path, w)
	}
	for _, c := range answer.Problems {
		fmt.Fprintln(a.stdout, c.text(answer.Path, file.Data))
	}
}

// text is how a compiler would say it: place, problem, the line with a caret.
func (c complaint) text(path string, data []byte) string {
	var b strings.Builder
	b.WriteString(path)
	if c.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", c.Line, max(c.Column, 1))
	}
	b.WriteString(": ")
	if c.Field != "" {
		b.WriteString(c.Field + ": ")
	}
	b.WriteString(harmless(c.Problem))
	lines := strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	if c.Line == 0 || c.Line > len(lines) {
		return b.String()
	}
	line := strings.ReplaceAll(harmless(lines[c.Line-1]), "\t", " ")
	fmt.Fprintf(&b, "\n%5d | %s\n      | %s^", c.Line, clip(line, 200), strings.Repeat(" ", max(c.Column, 1)-1))
	return b.String()
}

// loadProblem is the error of a command that was given a file that is wrong.
func loadProblem(path string, file loopfile.File, err error) error {
	if len(loops.FieldErrors(err)) == 0 {
		return err
	}
	var lines []string
	for _, c := range complaints(err) {
		lines = append(lines, c.text(path, file.Data))
	}
	return &exitError{code: exitUsage, err: errors.New(strings.Join(lines, "\n"))}
}
