package main

import "unicode"

// wide are the characters that take two columns: those of East Asia, and emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115F, Stride: 1}, {Lo: 0x2E80, Hi: 0x303E, Stride: 1}, {Lo: 0x3041, Hi: 0xA4CF, Stride: 1},
		{Lo: 0xAC00, Hi: 0xD7A3, Stride: 1}, {Lo: 0xF900, Hi: 0xFAFF, Stride: 1}, {Lo: 0xFE30, Hi: 0xFE6F, Stride: 1},
		{Lo: 0xFF00, Hi: 0xFF60, Stride: 1}, {Lo: 0xFFE0, Hi: 0xFFE6, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x16FE0, Hi: 0x18DFF, Stride: 1}, {Lo: 0x1B000, Hi: 0x1B2FF, Stride: 1}, {Lo: 0x1F004, Hi: 0x1F004, Stride: 1},
		{Lo: 0x1F0CF, Hi: 0x1F0CF, Stride: 1}, {Lo: 0x1F18E, Hi: 0x1F19A, Stride: 1}, {Lo: 0x1F200, Hi: 0x1F64F, Stride: 1},
		{Lo: 0x1F680, Hi: 0x1F6FF, Stride: 1}, {Lo: 0x1F7E0, Hi: 0x1F7EB, Stride: 1}, {Lo: 0x1F90C, Hi: 0x1FAFF, Stride: 1},
		{Lo: 0x20000, Hi: 0x3FFFD, Stride: 1},
	},
}

// columnsOf is how many columns of a terminal a character takes.
func columnsOf(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0 // it joins the one before
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// fits returns how many bytes of text fit into so many columns; at least one
// character.
func fits(text string, columns int) int {
	used := 0
	for i, r := range text {
		if used += columnsOf(r); used > columns && i > 0 {
			return i
		}
	}
	return len(text)
}

// clipColumns shortens a line to so many columns.
func clipColumns(text string, columns int) string {
	if fits(text, columns) == len(text) {
		return text
	}
	return text[:fits(text, columns-1)] + "…"
}

// wrap breaks a line into pieces of at most so many columns, at spaces where
// there are some.
func wrap(line string, columns int) []string {
	var rows []string
	for {
		n := fits(line, columns)
		if n == len(line) {
			return append(rows, line)
		}
		for at := n; at > n*2/3; at-- {
			if line[at] == ' ' {
				n = at
				break
			}
		}
		rows = append(rows, line[:n])
		if line = line[n:]; line[0] == ' ' {
			line = line[1:]
		}
	}
}
