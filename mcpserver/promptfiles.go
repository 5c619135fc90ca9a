package mcpserver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.com/loop-mcp/loops"
	"github.com/mark3labs/mcp-go/mcp"
)

// loopFiles are the trusted loop files that are prompts: those that loop_start
// finds by name. What is wrong with others is logged once.
func (t *tools) loopFiles(ctx context.Context) []FoundFile {
	if t.opts.Files == nil {
		return nil
	}
	found, err := t.opts.Files.List(ctx)
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	found = slices.DeleteFunc(found, func(f FoundFile) bool {
		return !f.Trusted || !fileName.MatchString(f.Name) || f.Name == loopPrompt
	})
	prompts := make([]mcp.Prompt, len(found))
	for i, f := range found {
		prompts[i] = promptOf(f)
	}
	data, _ := encode(prompts) // plain data: can't fail
	t.seen.mu.Lock()
	defer t.seen.mu.Unlock()
	if trouble != "" && trouble != t.seen.trouble {
		t.opts.Logger.WarnContext(ctx, "loop files that are no prompts", "error", err)
	}
	if t.seen.prompts != "" && t.seen.prompts != string(data) {
		defer t.hub.tell(topicPrompts, sessionID(ctx))
	}
	t.seen.trouble, t.seen.prompts = trouble, string(data)
	return found
}

// seenFiles is how the loop files were when somebody last looked.
type seenFiles struct {
	mu      sync.Mutex
	trouble string // with those left out
	prompts string // as JSON; empty: nobody has looked
}

// promptOf is a loop file as a prompt.
func promptOf(f FoundFile) mcp.Prompt {
	p := mcp.Prompt{Name: f.Name, Title: "Loop: " + f.Name, Description: clip(purpose(f.Spec), maxLine)}
	for name, in := range f.Spec.Inputs {
		p.Arguments = append(p.Arguments, mcp.PromptArgument{Name: name, Description: describeInput(in), Required: needed(in)})
	}
	slices.SortFunc(p.Arguments, func(a, b mcp.PromptArgument) int {
		if a.Required != b.Required {
			return cmp.Compare(boolInt(b.Required), boolInt(a.Required))
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return p
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func needed(in loops.Input) bool { return in.Required && in.Default == nil }

// purpose is what a loop file is for, in one line.
func purpose(s loops.Spec) string {
	text := s.Description
	if text == "" {
		text = s.Goal
	}
	return strings.Join(strings.Fields(text), " ")
}

func describeInput(in loops.Input) string {
	parts := []string{clip(strings.Join(strings.Fields(in.Help), " "), maxLine)}
	texts := in.Texts()
	switch {
	case len(texts) > 12:
		parts = append(parts, fmt.Sprintf("one of %s and %d more", strings.Join(texts[:12], ", "), len(texts)-12))
	case len(texts) > 0:
		parts = append(parts, "one of "+strings.Join(texts, ", "))
	case in.Type != "" && in.Type != loops.InputString && in.Type != loops.InputText:
		parts = append(parts, in.Type)
	}
	if in.Pattern != "" {
		parts = append(parts, "matches "+clip(in.Pattern, maxLine/2))
	}
	if in.Default != nil {
		parts = append(parts, "default "+clip(fmt.Sprint(in.Default), maxLine/2))
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

// findPrompt returns the trusted loop file of that name.
func (t *tools) findPrompt(ctx context.Context, name string) (FoundFile, error) {
	if !fileName.MatchString(name) || t.opts.Files == nil {
		return FoundFile{}, t.noPrompt(ctx, name)
	}
	f, err := t.opts.Files.Find(ctx, name)
	if err != nil {
		return FoundFile{}, fileError(name, err)
	}
	if !f.Trusted {
		return FoundFile{}, notTrusted(f)
	}
	return f, nil
}

func (t *tools) noPrompt(ctx context.Context, name string) error {
	names := []string{loopPrompt, reviewPrompt}
	for _, f := range t.loopFiles(ctx) {
		names = append(names, f.Name)
	}
	hint := loops.DidYouMean(name, names)
	if hint == "" {
		hint = "; there are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return &loops.FieldError{Field: "name", Problem: fmt.Sprintf("no prompt %q%s", clip(name, 60), hint)}
}

func (t *tools) getFile(ctx context.Context, args map[string]string) (*mcp.GetPromptResult, error) {
	name := args[fileKey]
	f, err := t.findPrompt(ctx, name)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	for key, value := range args {
		_, declared := f.Spec.Inputs[key]
		if key == fileKey || value == "" && declared { // an empty field of a form is one left out
			continue
		}
		given[key] = value
	}
	inputs, err := f.Spec.CheckInputs(given, loops.SourceTrustedFile)
	if err != nil {
		return nil, err
	}
	text, err := fileText(f, name, inputs)
	if err != nil {
		return nil, err
	}
	return &mcp.GetPromptResult{Description: clip(purpose(f.Spec), maxLine), Messages: []mcp.PromptMessage{userText(text)}}, nil
}

// fileText tells the model to start a loop file, and what that does.
func fileText(f FoundFile, name string, inputs map[string]any) (string, error) {
	call := struct {
		LoopFile string         `json:"loop_file"`
		Inputs   map[string]any `json:"inputs,omitempty"`
	}{name, inputs}
	data, err := encode(call)
	if err != nil {
		return "", fmt.Errorf("encode the arguments of loop_start: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Start the loop file %s: call loop_start with exactly these arguments.\n\n%s\n\nWhat it does:\n- %s\n", name, data, clip(purpose(f.Spec), 2*maxText))
	for _, line := range []struct{ what, text string }{
		{"worker", bodyText(f.Spec.Body)}, {"done when", untilText(f.Spec.Until)}, {"limits", limitsText(f.Spec.Limits)},
		{"left to their defaults", strings.Join(leftOut(f.Spec, inputs), ", ")},
	} {
		if line.text != "" {
			fmt.Fprintf(&b, "- %s: %s\n", line.what, clip(line.text, maxText))
		}
	}
	b.WriteString(afterStart)
	return b.String(), nil
}

func leftOut(s loops.Spec, given map[string]any) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
		if _, ok := given[name]; !ok && s.Inputs[name].Default != nil {
			names = append(names, fmt.Sprintf("%s = %v", name, s.Inputs[name].Default))
		}
	}
	return names
}

func bodyText(b loops.BodySpec) string {
	switch b.Kind {
	case loops.BodyClient:
		return "you, with your own tools, iteration by iteration"
	case loops.BodyCommand:
		return "the command " + strings.Join(b.Run, " ")
	case loops.BodyAgent:
		return "an agent on the model " + b.Model
	}
	return strings.TrimSpace(b.Kind + " " + b.Name)
}

func untilText(u *loops.Until) string {
	switch {
	case u == nil:
		return "the worker says so"
	case len(u.All) > 0:
		return conditionsText(u.All, " and ")
	}
	return conditionsText(u.Any, " or ")
}

func conditionsText(members []loops.Condition, between string) string {
	texts := make([]string, len(members))
	for i, c := range members {
		texts[i] = conditionText(c)
	}
	return strings.Join(texts, between)
}

func conditionText(c loops.Condition) string {
	switch {
	case c.Not != nil:
		return "not (" + conditionText(*c.Not) + ")"
	case len(c.All) > 0:
		return "(" + conditionsText(c.All, " and ") + ")"
	case len(c.Any) > 0:
		return "(" + conditionsText(c.Any, " or ") + ")"
	}
	return strings.TrimSpace(c.Kind + " " + strings.Join(c.Run, " ") + c.Expression + c.Question)
}

func limitsText(l loops.Limits) string {
	if l == (loops.Limits{}) {
		return ""
	}
	data, err := encode(l)
	if err != nil {
		return ""
	}
	return string(data)
}
