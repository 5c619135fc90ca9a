package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// cut keeps head and tail of a text that is longer than limit bytes, and says
// how much is missing. tail is where its last part begins in text.
func cut(text string, limit int) (short string, head int) {
	if len(text) <= limit {
		return text, len(text)
	}
	head = limit / 2
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	tail := len(text) - limit/2
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return fmt.Sprintf("%s\n[… %d bytes left out …]\n%s", text[:head], tail-head, text[tail:]), head
}

// shortened is cut for texts that nobody reads on in.
func shortened(text string, limit int) string {
	short, _ := cut(text, limit)
	return short
}

// clean makes text fit for JSON and for every provider.
func clean(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// hashOf is short and tells texts apart.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// joined is the texts that are not empty, one paragraph each.
func joined(texts ...string) string {
	var parts []string
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			parts = append(parts, t)
		}
	}
	return strings.Join(parts, "\n\n")
}

// partOf is the part of text from offset on, at most limit bytes, both ends at
// the border of a character, and where it ends.
func partOf(text string, offset, limit int) (part string, end int) {
	for offset < len(text) && !utf8.RuneStart(text[offset]) {
		offset++
	}
	end = min(len(text), offset+limit)
	for end > offset && end < len(text) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[offset:end], end
}
