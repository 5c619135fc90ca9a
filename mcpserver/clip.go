package mcpserver

import (
	"fmt"
	"unicode/utf8"
)

// cost is what a rune takes in JSON text, in bytes.
func cost(r rune, size int) int {
	switch {
	case r == '"' || r == '\\' || r == '\n' || r == '\r' || r == '\t':
		return 2
	case r < 0x20, r == utf8.RuneError && size == 1, r == '\u2028', r == '\u2029':
		return 6
	}
	return size
}

// clip shortens text so that its JSON takes at most about limit bytes. It cuts
// between runes and marks the cut.
func clip(text string, limit int) string {
	short, _ := clipped(text, limit)
	return short
}

func clipped(text string, limit int) (short string, cut bool) {
	n := headLength(text, limit)
	if n == len(text) {
		return text, false
	}
	return text[:n] + "…", true
}

// clipMiddle keeps the head and the tail of a text, because a result begins
// with what it is and a log ends with what went wrong.
func clipMiddle(text string, limit int) (short string, cut bool) {
	if headLength(text, limit) == len(text) {
		return text, false
	}
	head := headLength(text, limit*2/3)
	tail := max(tailStart(text, limit/3), head)
	return fmt.Sprintf("%s […%d bytes left out…] %s", text[:head], tail-head, text[tail:]), true
}

// clipHead keeps the tail of a text and marks the cut.
func clipHead(text string, limit int) string {
	from := tailStart(text, limit)
	if from == 0 {
		return text
	}
	return "…" + text[from:]
}

// headLength is how many bytes of text, whole runes, fit into limit.
func headLength(text string, limit int) int {
	spent := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if spent += cost(r, size); spent > limit {
			return i
		}
		i += size
	}
	return len(text)
}

// tailStart is where the last runes begin that fit into limit.
func tailStart(text string, limit int) int {
	spent, i := 0, len(text)
	for i > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:i])
		if spent += cost(r, size); spent > limit {
			return i
		}
		i -= size
	}
	return 0
}
