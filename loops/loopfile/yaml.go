package loopfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxTokens bounds what the parser is given: its time and memory grow with the
// square of the number of tokens in one collection.
const maxTokens = 10_000

// parseYAML reads one YAML document into a tree.
func parseYAML(text string) (node, error) {
	tokens := lexer.Tokenize(text)
	if err := checkTokens(tokens); err != nil {
		return node{}, err
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return node{}, sentence(err)
	}
	body, err := onlyDocument(file)
	if err != nil {
		return node{}, err
	}
	r := yamlReader{anchors: make(map[string]ast.Node)}
	tree, err := r.value(body, 0)
	if err != nil {
		return node{}, err
	}
	return tree, checkTop(tree)
}

func checkTokens(tokens token.Tokens) error {
	count := 0
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if count++; count > maxTokens {
			return problem(t.Position.Line, t.Position.Column, "the file holds more than %d YAML elements", maxTokens)
		}
	}
	return nil
}

func onlyDocument(file *ast.File) (ast.Node, error) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			line, column := place(doc.Body)
			return nil, problem(line, column, "a second document begins here (after ---); a loop file holds one")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, errEmpty
	}
	return body, nil
}

type yamlReader struct {
	anchors map[string]ast.Node
	nodes   int
}

func (r *yamlReader) value(n ast.Node, depth int) (node, error) {
	line, column := place(n)
	if err := bounds(&r.nodes, depth, line, column); err != nil {
		return node{}, err
	}
	out := node{line: line, column: column}
	var err error
	switch n := n.(type) {
	case *ast.MappingNode:
		out.kind = mapping
		out.members, err = r.members(n.Values, depth)
	case *ast.MappingValueNode:
		out.kind = mapping
		out.members, err = r.members([]*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = sequence
		out.items, err = r.items(n.Values, depth)
	case *ast.AnchorNode:
		out, err = r.value(n.Value, depth+1)
		// Only now: an alias inside its own anchor would never end.
		r.anchors[n.Name.GetToken().Value] = n.Value
	case *ast.AliasNode:
		out, err = r.alias(n, depth)
		out.line, out.column = line, column
	case *ast.TagNode:
		err = problem(line, column, "the tag %s is not supported; put text in quotes and leave the tag out", n.Start.Value)
	default:
		out.scalar, err = scalarJSON(n)
	}
	return out, err
}

func (r *yamlReader) alias(n *ast.AliasNode, depth int) (node, error) {
	name := n.Value.GetToken().Value
	target, ok := r.anchors[name]
	if !ok {
		line, column := place(n)
		return node{}, problem(line, column, "*%s refers to no anchor above it; define it with &%s, or put the text in quotes", name, name)
	}
	return r.value(target, depth+1)
}

func (r *yamlReader) items(values []ast.Node, depth int) ([]node, error) {
	items := make([]node, 0, len(values))
	for _, v := range values {
		item, err := r.value(v, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (r *yamlReader) members(values []*ast.MappingValueNode, depth int) ([]member, error) {
	var members keyed
	for _, v := range values {
		line, column := place(v.Key)
		key, err := keyText(v.Key)
		if err != nil {
			return nil, err
		}
		if err := members.claim(key, line, column); err != nil {
			return nil, err
		}
		value, err := r.value(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		members.add(member{key: key, line: line, column: column, value: value})
	}
	return members.list, nil
}

func keyText(key ast.MapKeyNode) (string, error) {
	line, column := place(key)
	switch key := key.(type) {
	case *ast.MergeKeyNode:
		return "", problem(line, column, "merge keys (<<) are not supported; write the keys out")
	case *ast.StringNode:
		return key.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return key.GetToken().Value, nil
	}
	return "", problem(line, column, "a key must be plain text; a value that begins with {{, [ or { belongs in quotes")
}

// otherBase is a number that YAML does not read as decimal.
var otherBase = regexp.MustCompile(`^[-+]?0[0-9xXoObB_]`)

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// scalarJSON returns a scalar as JSON. A number keeps the digits of the file
// where JSON has the same form.
func scalarJSON(n ast.Node) (string, error) {
	line, column := place(n)
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return "null", nil
	case *ast.StringNode:
		return quote(n.Value), nil
	case *ast.LiteralNode:
		return quote(n.Value.Value), nil
	case *ast.BoolNode:
		return fmt.Sprint(n.Value), nil
	case *ast.IntegerNode:
		// 010 is 8 here and 10 to whoever wrote it; what is meant can't be told.
		if text := n.GetToken().Value; otherBase.MatchString(text) {
			return "", problem(line, column, "%s is %v in YAML, because it begins with 0; write %v, or put the text in quotes", text, n.Value, n.Value)
		}
		return number(n.GetToken().Value, n.Value), nil
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return quote(n.GetToken().Value), nil
		}
		return number(n.GetToken().Value, n.Value), nil
	case *ast.InfinityNode, *ast.NanNode:
		return "", problem(line, column, "%s is not a number that a loop file can hold; there is no unlimited", n.GetToken().Value)
	}
	return "", problem(line, column, "this YAML is not understood here; put the value in quotes")
}

func number(text string, value any) string {
	if jsonNumber.MatchString(text) {
		return text
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return quote(text)
	}
	return string(encoded)
}

// place returns where a node is written. For a mapping that is its first key:
// the token of the node itself is the colon.
func place(n ast.Node) (line, column int) {
	switch m := n.(type) {
	case nil:
		return 0, 0
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			n = m.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 0, 0
}

// sentence turns an error of the YAML parser into one that says what to do.
func sentence(err error) error {
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil || syntax.Token.Position == nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return problem(0, 0, "the YAML is broken: %s", first)
	}
	at, text := syntax.Token.Position, syntax.Message
	switch {
	case strings.Contains(text, "already defined at"):
		return problem(at.Line, at.Column, "%s: this key is there twice", syntax.Token.Value)
	case strings.Contains(text, "found character '\t'"):
		text = "a tab cannot indent YAML; use spaces"
	case strings.Contains(text, "mapping value is not allowed"):
		text = "this value holds a colon followed by a space, or the line is indented wrongly; put the value in quotes"
	case strings.Contains(text, "could not find flow map content"):
		text = "a value that begins with {{ belongs in quotes"
	case strings.Contains(text, "reserved character"), strings.Contains(text, "unexpected directive"):
		text = "a value that begins with @, ` or % belongs in quotes"
	default:
		text = "the YAML is broken: " + strings.TrimSpace(text)
	}
	return problem(at.Line, at.Column, "%s", text)
}
