package command

import (
	"strings"
	"unicode/utf8"
)

// Plain returns text without terminal escape sequences and control characters,
// and with a carriage return read as the terminal would: what follows replaces
// the line. For texts that go into feedback, briefs and displays.
func Plain(text string) string {
	text = Clean(text)
	if strings.IndexFunc(text, isControl) < 0 {
		return text
	}
	b := make([]byte, 0, len(text))
	line := 0 // where the current line begins in b
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == 0x1b || r == 0x9b:
			i += escapeLength(text[i:])
			continue
		case r == '\r' && i+1 < len(text) && text[i+1] != '\n' && text[i+1] != '\r':
			b = b[:line]
		case r == '\n':
			b = append(b, '\n')
			line = len(b)
		case !isControl(r):
			b = append(b, text[i:i+size]...)
		}
		i += size
	}
	return string(b)
}

func isControl(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f
}

// escapeLength returns the length of the escape sequence that text begins with
// (ECMA-48: CSI, string sequences such as OSC, and two-character ones).
func escapeLength(text string) int {
	at := 2 // ESC and what follows, or U+009B, which takes two bytes
	introducer := byte('[')
	if text[0] == 0x1b {
		if len(text) == 1 {
			return 1
		}
		introducer = text[1]
	}
	switch introducer {
	case '[':
		for at < len(text) && text[at] >= 0x20 && text[at] <= 0x3f {
			at++
		}
		if at < len(text) && text[at] >= 0x40 && text[at] <= 0x7e {
			at++
		}
	case ']', 'P', 'X', '^', '_':
		// Up to BEL or ESC \; a line end means that it never was terminated.
		for at < len(text) && text[at] != 0x07 && text[at] != 0x1b && text[at] != '\n' {
			at++
		}
		switch {
		case at < len(text) && text[at] == 0x07:
			at++
		case strings.HasPrefix(text[at:], "\x1b\\"):
			at += 2
		}
	default:
		if introducer >= 0x80 || introducer < 0x20 {
			return 1
		}
		if introducer > 0x2f {
			break
		}
		for at < len(text) && text[at] >= 0x20 && text[at] <= 0x2f {
			at++
		}
		if at < len(text) && text[at] >= 0x30 && text[at] <= 0x7e {
			at++
		}
	}
	return at
}

// Tail returns the last limit bytes of text as [Plain] text without surrounding
// space, cut at a line end where one is near.
func Tail(text string, limit int) string {
	text = strings.TrimSpace(Plain(text))
	if len(text) <= limit {
		return text
	}
	at := len(text) - limit
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	text = text[at:]
	if end := strings.IndexByte(text, '\n'); end >= 0 && end < limit/4 {
		text = text[end+1:]
	}
	return "…\n" + text
}
