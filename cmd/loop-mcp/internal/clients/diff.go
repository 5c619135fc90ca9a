package clients

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// around is how many unchanged lines are shown around a change.
const around = 3

// secret is a text under a name that says so.
var secret = regexp.MustCompile(`(?i)((?:"[^"]*|[\w.-]*)(?:token|secret|passwo?r?d|api[_-]?key|_key|auth|credential|cookie)[\w.-]*"?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*')`)

// secretLines is one of several lines, as TOML has it.
var secretLines = regexp.MustCompile(`(?is)((?:token|secret|passwo?r?d|api[_-]?key|_key|auth|credential|cookie)[\w.-]*"?\s*=\s*)(?:""".*?"""|\'\'\'.*?\'\'\')`)

// Masked is text of a configuration without its secrets, with as many lines.
func Masked(text string) string {
	text = secretLines.ReplaceAllStringFunc(text, func(found string) string {
		name := secretLines.FindStringSubmatch(found)[1]
		return name + "…" + strings.Repeat("\n…", strings.Count(found, "\n")-strings.Count(name, "\n"))
	})
	return secret.ReplaceAllString(text, `${1}"…"`)
}

// maxShown is how many lines are shown: a client that writes its whole file in
// another way changes them all.
const maxShown = 120

// maxColumns is how much of a line is shown.
const maxColumns = 200

// Diff is what changes from one text to another, for people: lines with - and +
// and a few around them, without the values of secrets. Empty when nothing
// does. It serves edits of one place: what changes is one run of lines.
func Diff(before, after []byte) string {
	if bytes.Equal(before, after) {
		return ""
	}
	a, b := lines(Masked(string(before))), lines(Masked(string(after)))
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	from, to := max(head-around, 0), min(around, tail)
	var out strings.Builder
	fmt.Fprintf(&out, "@@ -%s +%s @@\n", span(from, len(a)-tail+to), span(from, len(b)-tail+to))
	shown := 0
	put := func(mark string, lines []string) {
		for _, line := range lines {
			if shown++; shown > maxShown {
				continue
			}
			line = strings.TrimSuffix(line, "\r")
			if len(line) > maxColumns {
				line = strings.ToValidUTF8(line[:maxColumns], "") + "…"
			}
			out.WriteString(mark + line + "\n")
		}
	}
	put(" ", a[from:head])
	for _, step := range align(a[head:len(a)-tail], b[head:len(b)-tail]) {
		put(step.mark, []string{step.line})
	}
	put(" ", a[len(a)-tail:len(a)-tail+to])
	if shown > maxShown {
		fmt.Fprintf(&out, " … and %d lines more\n", shown-maxShown)
	}
	return out.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// span is a range of lines, as diff writes it.
func span(from, to int) string {
	if from == to {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}

type step struct{ mark, line string }

// maxAlign bounds the lines that are compared each with each.
const maxAlign = 400

// align says line by line how a becomes b, keeping as much as possible.
func align(a, b []string) []step {
	var steps []step
	all := func(mark string, lines []string) {
		for _, line := range lines {
			steps = append(steps, step{mark, line})
		}
	}
	if len(a) > maxAlign || len(b) > maxAlign {
		all("-", a)
		all("+", b)
		return steps
	}
	common := make([][]int, len(a)+1) // the longest common part of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := range slices.Backward(a) {
		for j := range slices.Backward(b) {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			all(" ", a[i:i+1])
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			all("-", a[i:i+1])
			i++
		default:
			all("+", b[j:j+1])
			j++
		}
	}
	all("-", a[i:])
	all("+", b[j:])
	return steps
}
