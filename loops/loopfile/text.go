package loopfile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// clean checks the raw bytes of a file and returns them as text with plain line
// ends, so that every form counts lines the same way.
func clean(data []byte) (string, error) {
	if len(data) > MaxSize {
		return "", problem(0, 0, "a loop file holds at most %d bytes", MaxSize)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return "", problem(1, 1, "the file is UTF-16; save it as UTF-8")
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	if at := badByte(text); at >= 0 {
		line, column := position(text, at)
		if text[at] < 0x80 {
			return "", problem(line, column, "control character 0x%02x is not allowed in a loop file", text[at])
		}
		return "", problem(line, column, "byte 0x%02x is not UTF-8; save the file as UTF-8", text[at])
	}
	if strings.TrimSpace(text) == "" {
		return "", errEmpty
	}
	return text, nil
}

// badByte returns where text stops being printable UTF-8, or -1.
func badByte(text string) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return i
		}
		i += size
	}
	return -1
}

// position turns an offset into a line and a column, both from 1. Columns count
// characters, as editors do.
func position(text string, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// errEmpty is a file without any value.
var errEmpty = problem(1, 1, "the file is empty; a loop file needs at least goal and body")

func problem(line, column int, format string, args ...any) error {
	return &loops.FieldError{Problem: fmt.Sprintf(format, args...), Line: line, Column: column}
}
