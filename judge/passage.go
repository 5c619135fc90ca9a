package judge

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// passages is a text made ready for finding quotes in it: folded, with the
// places where its lines begin.
type passages struct {
	text   string
	starts []int
}

func newPassages(text string) passages {
	var p passages
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = fold(line)
		if line == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		p.starts = append(p.starts, b.Len())
		b.WriteString(line)
	}
	p.text = b.String()
	return p
}

// hasLine reports whether one of the lines is text.
func (p passages) hasLine(text string) bool {
	for i, at := range p.starts {
		end := len(p.text)
		if i+1 < len(p.starts) {
			end = p.starts[i+1] - 1
		}
		if p.text[at:end] == text {
			return true
		}
	}
	return false
}

// finding is what looking for a quote came to.
type finding int

const (
	absent  finding = iota
	cropped         // only as part of a word or number, or behind a negation
	found
)

// find looks for a folded quote. "all links work" is not what a text says that
// holds "not all links work", and "0 failed" is not in "10 failed".
func (p passages) find(quote string) finding {
	best := absent
	for from := 0; quote != ""; {
		i := strings.Index(p.text[from:], quote)
		if i < 0 {
			break
		}
		at := from + i
		if !p.splits(at, len(quote)) && !negated(p.before(at)) {
			return found
		}
		best = cropped
		_, size := utf8.DecodeRuneInString(p.text[at:])
		from = at + size
	}
	return best
}

// before is what stands before a place in its line.
func (p passages) before(at int) string {
	i, exact := slices.BinarySearch(p.starts, at)
	if exact || i == 0 {
		return ""
	}
	return p.text[p.starts[i-1]:at]
}

// splits reports whether a passage begins or ends inside a word or a number.
func (p passages) splits(at, size int) bool {
	first, _ := utf8.DecodeRuneInString(p.text[at:])
	last, _ := utf8.DecodeLastRuneInString(p.text[:at+size])
	before, n := utf8.DecodeLastRuneInString(p.text[:at])
	after, _ := utf8.DecodeRuneInString(p.text[at+size:])
	if n > 0 && inWord(before) && inWord(first) || at+size < len(p.text) && inWord(last) && inWord(after) {
		return true
	}
	if unicode.IsDigit(first) && (before == '.' || before == ',') {
		ahead, _ := utf8.DecodeLastRuneInString(p.text[:at-n])
		return unicode.IsDigit(ahead)
	}
	return false
}

// inWord reports whether a character is part of a word in a script that puts
// spaces between words.
func inWord(r rune) bool {
	return r == '_' || r < 0x2e80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)) && !unicode.Is(unicode.Thai, r) && !unicode.Is(unicode.Lao, r) && !unicode.Is(unicode.Khmer, r) && !unicode.Is(unicode.Myanmar, r)
}

// negations turn what follows them around.
var negations = words(`not no never none neither nor without cannot can't isn't aren't wasn't weren't doesn't don't didn't won't hasn't haven't hadn't couldn't shouldn't wouldn't
	unable fails failed failing nicht kein keine keinen nie ohne pas jamais sans non ningún ninguna nunca sin não nem sem не нет без`)

// negated reports whether a negation stands in the three words before a
// passage, in the same clause.
func negated(before string) bool {
	if cut := strings.LastIndexAny(before, ".!?;:,|()[]{}\"“”…"); cut >= 0 {
		_, size := utf8.DecodeRuneInString(before[cut:])
		before = before[cut+size:]
	}
	if last, _ := utf8.DecodeLastRuneInString(before); strings.ContainsRune("不没沒未無无非", last) {
		return true
	}
	fields := strings.Fields(strings.ToLower(strings.ReplaceAll(before, "’", "'")))
	return slices.ContainsFunc(fields[max(0, len(fields)-3):], func(word string) bool { return negations[strings.Trim(word, "*_`'-–—")] })
}
