package loops

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProblems bounds a report: nobody reads more, and a hostile input must not
// make an answer of its own size.
const maxProblems = 40

// problems collects what is wrong with several fields.
type problems struct {
	list    []error
	dropped int
}

// full reports whether further problems are only counted: no hint is worth its
// cost then.
func (p *problems) full() bool { return len(p.list) == maxProblems }

func (p *problems) add(field, format string, args ...any) {
	if p.full() {
		p.dropped++
		return
	}
	p.list = append(p.list, &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if p.dropped > 0 {
		more := &FieldError{Problem: fmt.Sprintf("and %d more problems; correct these first", p.dropped)}
		return errors.Join(append(slices.Clone(p.list), more)...)
	}
	return errors.Join(p.list...)
}

// fieldPath names a key below parent: "limits.max_passes", `env["A B"]`.
func fieldPath(parent, key string) string {
	if !plainKey(key) {
		return parent + "[" + strconv.Quote(clip(key, 60)) + "]"
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// itemPath names an item of a list: "until.all[0]".
func itemPath(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func plainKey(key string) bool {
	if key == "" || len(key) > 60 {
		return false
	}
	for _, r := range key {
		if r > unicode.MaxASCII || !(unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-') {
			return false
		}
	}
	return true
}

// textProblem says why a text from outside is refused, or returns "". Line
// breaks and tabs are the only control characters that a text may hold.
func textProblem(text string) string {
	for i, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return fmt.Sprintf("must be valid UTF-8, byte %d is not", i+1)
			}
		}
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return fmt.Sprintf("must not contain the control character U+%04X (byte %d)", r, i+1)
		}
	}
	return ""
}

// shown is a piece of somebody else's text, fit for one line of an error.
func shown(text string) string {
	text = clip(text, 60)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// DidYouMean returns ", did you mean X?" for the known word nearest to word, or
// "" when none is near.
func DidYouMean(word string, known []string) string {
	best, bestDistance := "", max(1, len(word)/3)+1
	if len(word) > 64 {
		return ""
	}
	for _, k := range known {
		d := editDistance(foldWord(word), foldWord(k))
		if d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// foldWord makes spellings such as maxPasses, max-passes and MAX_PASSES one.
func foldWord(word string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(word))
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between two short words.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// oneOf joins the alternatives of a choice: "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
