package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/remote"
	"example.com/loop-mcp/mcpserver"
	"github.com/spf13/cobra"
)

// generators write the parts of the pages that the program knows best.
var generators = map[string]func(t *testing.T) string{
	"tools":          toolsTable,
	"tool arguments": toolArguments,
	"limits":         limitsTable,
	"loop file keys": loopFileKeys,
	"requests":       requestsTable,
	"commands":       commandsHelp,
	"client files":   clientFiles,

	"conformance exceptions": conformanceExceptions,

	"handler call":     wireFields[remote.Call],
	"handler messages": wireFields[remote.Message],
	"handler answers":  wireFields[remote.Answer],
}

func generatorNames() []string { return slices.Sorted(maps.Keys(generators)) }

// tool is what tools/list says about one.
type tool struct {
	Name, Title, Description string
	InputSchema              property
}

// property is a part of an input schema, in the order of the schema.
type property struct {
	Type        string
	Description string
	Enum        []string
	Required    []string
	Properties  orderedProperties
	Items       *property
}

type namedProperty struct {
	name string
	property
}

type orderedProperties []namedProperty

// UnmarshalJSON keeps the order.
func (o *orderedProperties) UnmarshalJSON(data []byte) error {
	var byName map[string]property
	if err := json.Unmarshal(data, &byName); err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	for depth := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if delim, ok := token.(json.Delim); ok {
			depth += map[json.Delim]int{'{': 1, '[': 1, '}': -1, ']': -1}[delim]
		} else if name, ok := token.(string); ok && depth == 1 {
			*o = append(*o, namedProperty{name, byName[name]})
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return err
			}
		}
	}
}

// tools asks the server.
func tools(t *testing.T) []tool {
	t.Helper()
	server := mcpserver.New(func(context.Context) (*loops.Engine, error) { return nil, errors.New("nothing runs here") }, nil)
	reply, err := json.Marshal(server.HandleMessage(t.Context(), json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Result struct{ Tools []tool } }
	if err := json.Unmarshal(reply, &answer); err != nil || len(answer.Result.Tools) == 0 {
		t.Fatalf("%v: %s", err, reply)
	}
	slices.SortFunc(answer.Result.Tools, func(a, b tool) int { return slices.Index(toolOrder, a.Name) - slices.Index(toolOrder, b.Name) })
	return answer.Result.Tools
}

// toolOrder is the order of use; a tool that is not in it comes first.
var toolOrder = []string{"loop_start", "loop_wait", "loop_inspect", "loop_continue", "loop_approve", "loop_fork", "loop_pause", "loop_cancel", "loop_list"}

// mainArguments are shown for tools that have many.
var mainArguments = map[string][]string{
	"loop_start": {"goal", "body", "until", "limits", "loop_file", "inputs", "request_id", "wait_seconds", "dry_run"},
}

func toolsTable(t *testing.T) string {
	t.Helper()
	b := tableOf("tool", "what it does", "arguments")
	for _, tool := range tools(t) {
		var names []string
		for _, p := range tool.InputSchema.Properties {
			if chosen := mainArguments[tool.Name]; chosen == nil || slices.Contains(chosen, p.name) {
				names = append(names, "`"+p.name+"`")
			}
		}
		list := strings.Join(names, ", ")
		if chosen := mainArguments[tool.Name]; chosen != nil {
			list += ", …"
			if len(names) != len(chosen) {
				t.Errorf("%s does not have all of %v", tool.Name, chosen)
			}
		}
		first, _, _ := strings.Cut(tool.Description, ". ")
		b.row("`"+tool.Name+"`", strings.TrimSuffix(first, ".")+".", list)
	}
	return b.String()
}

func toolArguments(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, tool := range tools(t) {
		text, examples, _ := strings.Cut(tool.Description, "\n")
		fmt.Fprintf(&out, "### %s: %s\n\n%s\n", tool.Name, strings.ToLower(tool.Title[:1])+tool.Title[1:], text)
		if examples != "" {
			for example := range strings.Lines(examples) {
				fmt.Fprintf(&out, "\n```json\n%s\n```\n", strings.TrimSpace(example))
			}
		}
		b := tableOf("argument", "type", "meaning")
		b.properties("", tool.InputSchema)
		fmt.Fprintf(&out, "\n%s\n", b.String())
	}
	return out.String()
}

func (b *table) properties(prefix string, of property) {
	for _, p := range of.Properties {
		text := p.Description
		if len(p.Enum) > 0 {
			text += "; one of `" + strings.Join(p.Enum, "`, `") + "`"
		}
		if slices.Contains(of.Required, p.name) {
			text += " (required)"
		}
		kind := p.Type
		if p.Items != nil && p.Items.Type != "" {
			kind += " of " + p.Items.Type
		}
		b.row("`"+prefix+p.name+"`", firstOf(kind, "any JSON"), text)
		b.properties(prefix+p.name+".", p.property)
		if p.Items != nil {
			b.properties(prefix+p.name+"[].", *p.Items)
		}
	}
}

func firstOf(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// usual is the default at the end of a description.
var usual = regexp.MustCompile(`,? ?(as text)? \(([^ ()]+)\)$`)

func limitsTable(t *testing.T) string {
	t.Helper()
	b := tableOf("limit", "default", "what it bounds")
	defaults, fields := reflect.ValueOf(loops.DefaultLimits()), reflect.TypeFor[loops.Limits]()
	for i, name := range limitNames() {
		text := fields.Field(i).Tag.Get("jsonschema_description")
		m := usual.FindStringSubmatch(text)
		if m == nil {
			t.Errorf("the description of %s does not end with its default: %s", name, text)
			continue
		}
		var told loops.Limits
		if err := applyLimits(&told, []string{name + "=" + m[2]}); err != nil || !reflect.ValueOf(told).Field(i).Equal(defaults.Field(i)) {
			t.Errorf("the description of %s says %s, the default is %v (%v)", name, m[2], defaults.Field(i), err)
		}
		b.row("`"+name+"`", m[2], strings.ToLower(text[:1])+strings.TrimSuffix(text, m[0])[1:])
	}
	return b.String()
}

func loopFileKeys(*testing.T) string {
	b := tableOf("key", "type", "meaning")
	b.keys("", reflect.TypeFor[loops.Spec]())
	return b.String()
}

func (b *table) keys(prefix string, of reflect.Type) {
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		b.row("`"+prefix+name+"`", kindOf(f.Type), f.Tag.Get("jsonschema_description"))
		inner, under := f.Type, prefix+name+"."
		for k := inner.Kind(); k == reflect.Pointer || k == reflect.Slice || k == reflect.Map; k = inner.Kind() {
			if k == reflect.Slice {
				under = prefix + name + "[]."
			}
			if k == reflect.Map {
				under = prefix + name + ".NAME."
			}
			inner = inner.Elem()
		}
		again := inner == of // a condition in a condition
		if inner.Kind() == reflect.Struct && !again && prefix+name != "until.any" {
			b.keys(under, inner)
		}
	}
}

// kindOf names a type for people who write files.
func kindOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[loops.Duration]():
		return "duration"
	case reflect.TypeFor[loops.Count]():
		return "count"
	case reflect.TypeFor[loops.USD]():
		return "dollars"
	case reflect.TypeFor[json.RawMessage]():
		return "any"
	case reflect.TypeFor[loops.Condition]():
		return "condition"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice:
		return "list of " + kindOf(t.Elem())
	case reflect.Map:
		return "NAME: " + kindOf(t.Elem())
	case reflect.Struct:
		return "mapping"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true, false"
	case reflect.Int:
		return "whole number"
	default:
		return "any"
	}
}

func requestsTable(t *testing.T) string {
	t.Helper()
	actions := constants(t, "loops/request.go", "Action")
	b := tableOf(append([]string{"status"}, actions...)...)
	for _, status := range loops.Statuses() {
		row := []string{"`" + string(status) + "`"}
		for _, action := range actions {
			row = append(row, map[bool]string{true: "yes"}[loops.Allowed(loops.Action(action), status)])
		}
		b.row(row...)
	}
	return b.String()
}

func commandsHelp(*testing.T) string {
	top := newRoot(&app{})
	top.InitDefaultHelpFlag()
	var b strings.Builder
	for _, c := range append([]*cobra.Command{top}, top.Commands()...) {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		c.InitDefaultHelpFlag()
		text := firstOf(c.Long, c.Short)
		var lines []string
		for line := range strings.SplitSeq(text+"\n\n"+c.UsageString(), "\n") {
			lines = append(lines, strings.TrimRight(line, " "))
		}
		fmt.Fprintf(&b, "## %s\n\n```text\n%s\n```\n\n", c.CommandPath(), strings.TrimSpace(strings.Join(lines, "\n")))
	}
	return b.String()
}

// table writes a Markdown table.
type table struct{ strings.Builder }

func tableOf(head ...string) *table {
	b := &table{}
	b.row(head...)
	b.row(strings.Split(strings.Repeat("--- ", len(head)-1)+"---", " ")...)
	return b
}

func (b *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}
