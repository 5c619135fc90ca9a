package loopfile

import (
	"strings"

	"example.com/loop-mcp/loops"
)

// parseMarkdown reads front matter between lines of three hyphens; the text
// below it is what the worker is told: body.prompt, or body.stdin of a command.
func parseMarkdown(text string) (node, error) {
	lines := strings.SplitAfter(text, "\n")
	if strings.TrimRight(lines[0], " \t\n") != "---" {
		return node{}, problem(1, 1, "a .loop.md file begins with a line of three hyphens (---), then the spec as YAML, then --- and the text")
	}
	end := 1
	for end < len(lines) && strings.TrimRight(lines[end], " \t\n") != "---" {
		end++
	}
	if end == len(lines) {
		return node{}, problem(len(lines), 1, "the front matter never ends: put a line of three hyphens (---) between the spec and the text")
	}
	// An empty first line stands for the opening hyphens, so that lines count.
	tree, err := parseYAML("\n" + strings.Join(lines[1:end], ""))
	if err != nil {
		return node{}, err
	}
	return withText(tree, strings.Join(lines[end+1:], ""), end+2)
}

// withText puts the text of a Markdown file into the body.
func withText(tree node, text string, line int) (node, error) {
	for trimmed := strings.TrimLeft(text, "\n"); len(trimmed) < len(text); text = text[1:] {
		line++
	}
	if text = strings.TrimSpace(text); text == "" {
		return tree, nil
	}
	body, written := tree.member("body")
	if !written {
		body = member{key: "body", line: tree.line, column: tree.column,
			value: node{line: tree.line, column: tree.column, kind: mapping,
				members: []member{{key: "kind", value: textNode(loops.BodyClient, 0, 0)}}}}
	}
	if body.value.kind != mapping {
		return tree, nil // the decoder says what body must be
	}
	key, err := textKey(body.value, line)
	if err != nil {
		return node{}, err
	}
	body.value.members = append(body.value.members, member{key: key, line: line, column: 1, value: textNode(text, line, 1)})
	if !written {
		tree.members = append(tree.members, body)
		return tree, nil
	}
	for i := range tree.members {
		if tree.members[i].key == "body" {
			tree.members[i] = body
		}
	}
	return tree, nil
}

// textKey says which field of a body the text is.
func textKey(body node, line int) (string, error) {
	key := "prompt"
	kind, _ := body.member("kind")
	switch kind.value.scalar {
	case quote(loops.BodyCommand):
		key = "stdin"
	case quote(loops.BodyHandler):
		return "", problem(line, 1, "a body of kind handler takes no text; move it to goal or context and use a .loop.yaml file")
	}
	if has, ok := body.member(key); ok {
		return "", problem(has.line, has.column, "body.%s: the text below the front matter is the %s already; keep one of them", key, key)
	}
	return key, nil
}
