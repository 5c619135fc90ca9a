package judge

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/loop-mcp/loops/command"
)

// fold makes texts comparable: runs of white space become one space, characters
// that nobody sees go, and so does white space at the ends.
func fold(text string) string {
	text = strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// invisible reports whether a character shows nothing: zero-width ones, those
// that turn the direction of writing around, and the tags with which text is
// hidden from people but not from models.
func invisible(r rune) bool {
	switch r {
	case '\u034f', '\u115f', '\u1160', '\u17b4', '\u17b5', '\u3164', '\uffa0': // "letters" without a shape
		return true
	}
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r)
}

// weight is how much a text can say: the bytes of its letters and digits. A
// Chinese character counts three times as much as a Latin letter.
func weight(text string) int {
	n := 0
	for _, r := range text {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			n += utf8.RuneLen(r)
		}
	}
	return n
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\v", "\n", "\f", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// plain is text as a judge may see it: one kind of line end, no control
// characters, escape sequences or hidden characters. Joiners stay: scripts and
// emoji need them.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\u200c' && r != '\u200d' && invisible(r) && !unicode.Is(unicode.Variation_Selector, r) {
			return -1
		}
		return r
	}, command.Plain(lineEnds.Replace(text)))
}
