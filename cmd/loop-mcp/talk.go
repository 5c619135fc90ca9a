package main

import (
	"strings"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// talk is the end of what the start under way says.
type talk struct {
	start int
	text  string // safe for a terminal
}

// maxTalk bounds the text that is kept, in bytes.
const maxTalk = 16 << 10

// add takes in live text. A new start begins anew; what comes late from an
// older one is dropped.
func (t *talk) add(l loops.LiveLine) {
	if l.Start < t.start {
		return
	}
	if l.Start > t.start {
		t.start, t.text = l.Start, ""
	}
	if l.Tool != "" {
		if t.text != "" && !strings.HasSuffix(t.text, "\n") {
			t.text += "\n"
		}
		t.text += "› " + plain(l.Tool) + "\n"
	}
	t.text += spoken(l.Text)
	if over := len(t.text) - maxTalk; over > 0 {
		for over < len(t.text) && !utf8.RuneStart(t.text[over]) {
			over++
		}
		t.text = t.text[over:]
	}
}

// spoken makes a piece of text harmless, with plain line breaks and no tabs.
func spoken(text string) string {
	return harmless(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", "    ").Replace(text))
}

// rows returns the last lines of the text, wrapped.
func (t *talk) rows(count, columns int) []string {
	var rows []string
	lines := strings.Split(strings.TrimRight(t.text, "\n "), "\n")
	for i := len(lines) - 1; i >= 0 && len(rows) < count; i-- {
		if line := strings.TrimRight(lines[i], " "); line != "" {
			rows = append(wrap(line, columns), rows...)
		}
	}
	return rows[max(0, len(rows)-count):]
}
