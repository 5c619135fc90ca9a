package judge

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.com/loop-mcp/loops"
)

// The host's rules about an answer. They can only take away: a criterion that
// is not met by them never becomes met, and an answer that is not done by them
// never becomes done.

// leastQuote is how much a quote must say, in bytes of letters and digits; less
// is found in almost any text. A whole line counts with leastLine: "PASS" or
// "ok" may be all that a program prints.
const (
	leastQuote   = 8
	leastLine    = 2
	longestQuote = 8 << 10 // bytes
)

// The bounds of what is kept of an answer.
const (
	keptQuote  = 300 // bytes
	keptQuotes = 5   // of one criterion
	keptNote   = 500 // bytes
)

// rule applies the host's rules to what a judge said about one criterion.
func (p pack) rule(c loops.Criterion, said criterionAnswer) loops.Ruling {
	r := loops.Ruling{ID: c.ID, Status: said.Status, Note: ends(oneLine(said.Missing), keptNote)}
	var problems []string
	proven := false
	for _, q := range said.Quotes {
		problem := p.refuse(c, q)
		switch it, _ := p.find(q.Item); {
		case problem != "":
			problems = append(problems, problem)
		case !p.quotable(it):
			problems = append(problems, "a quote from the worker's own words proves nothing where the host collected evidence")
		default:
			proven = true
			r.Quotes = append(r.Quotes, ends(fold(q.Text), keptQuote))
		}
	}
	r.Quotes = r.Quotes[:min(len(r.Quotes), keptQuotes)]
	if said.Status != statusMet {
		return r
	}
	switch {
	case says(said.Missing):
		r.Status, r.Note = statusUnknown, "called met although something is missing: "+r.Note
	case !proven && len(said.Quotes) == 0:
		r.Status, r.Note = statusUnknown, "called met without a quote"
	case !proven:
		r.Status, r.Note = statusUnknown, "called met without a quote that counts: "+ends(strings.Join(slices.Compact(problems), "; "), keptNote)
	}
	return r
}

// refuse says why a quote counts for nothing; empty: it is there and says
// something.
func (p pack) refuse(c loops.Criterion, q quote) string {
	text := fold(q.Text)
	shown := "“" + clip(text, 80) + "”"
	it, ok := p.find(q.Item)
	switch {
	case !ok:
		return "there is no item " + clip(q.Item, 20)
	case len(q.Text) > longestQuote:
		return shown + " is too long for a quote"
	}
	where := it.find(q.Text)
	switch {
	case where == absent:
		return shown + " is not in " + q.Item
	case weight(text) < leastQuote && !it.hasLine(text):
		return shown + " is too short to show anything"
	case where == cropped:
		return shown + " is cut out of a longer word or a denial in " + q.Item
	case aboutJudging().MatchString(text), rulesOn(text, c.ID):
		return shown + " is about the verdict, not about the work"
	case !it.observed && bareClaim().MatchString(text):
		return shown + " is the worker's claim"
	case !it.observed && echoes(text, c):
		return shown + " repeats the criterion"
	}
	return ""
}

// find looks for a quote in what was shown of the item and in what the host said
// about it, verbatim but for white space. A judge may copy the marks before data
// lines.
func (it item) find(text string) finding {
	best := absent
	for _, part := range it.passages {
		best = max(best, part.find(fold(text)), part.find(fold(unmarked(text))))
	}
	return best
}

// unmarked takes the marks off the lines of a quote.
func unmarked(text string) string {
	lines := strings.Split(lineEnds.Replace(text), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, strings.TrimSpace(dataMark)); ok {
			lines[i] = rest
		}
	}
	return strings.Join(lines, "\n")
}

// hasLine reports whether text is a whole line of the item, or all of it.
func (it item) hasLine(text string) bool {
	for _, part := range it.passages {
		if part.text == text && weight(text) > 0 || weight(text) >= leastLine && part.hasLine(text) {
			return true
		}
	}
	return false
}

// rulesOn reports whether a passage calls a criterion met by its id.
func rulesOn(text, id string) bool {
	_, after, named := strings.Cut(strings.ToLower(text), id)
	word, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimLeft(after, ` \t:="'*_-|`), "is "), " ")
	return named && slices.Contains([]string{"met", "satisfied"}, strings.Trim(word, `."',;!*_`))
}

// echoes reports whether a quote holds the whole criterion.
func echoes(text string, c loops.Criterion) bool {
	criterion := strings.ToLower(strings.TrimRight(fold(c.Text), ".!"))
	return criterion != "" && strings.Contains(strings.ToLower(text), criterion)
}

// says reports whether a text names something: judges write "none" into a field
// that should be empty.
func says(missing string) bool {
	for word := range strings.FieldsFuncSeq(strings.ToLower(fold(missing)), func(r rune) bool { return strings.ContainsRune(" .,;:-–—/'\"()", r) }) {
		if !slices.Contains([]string{"none", "nothing", "n", "a", "na", "nil", "null", "no", "is", "missing"}, word) {
			return true
		}
	}
	return false
}

// aboutJudging matches passages that speak to or for a judge. Whoever wrote
// them into the evidence, they say nothing about the work. English only: for
// other languages there are the other rules and the second vote.
var aboutJudging = anyOf(
	`\bverdict["']?\s*[:=]`,
	`\bverdict\b.{0,60}\b(done|continue|impossible|met)\b`,
	`\bstatus["']?\s*[:=]\s*["']?(met|not_met)\b`,
	`\b(all|every|each|both|the)\s+(\w+\s+){0,2}(criteria|criterion|requirements?)\b.{0,40}\b(met|satisfied|fulfill?ed)\b`,
	`\bcriteri(a|on)\b\W{0,3}(\w+\s+){0,2}(met|satisfied|fulfill?ed)\b`,
	`\bc\d+\b\W{0,6}((is|are)\s+)?(status\W{0,4})?(met|satisfied)\b`,
	`\b(ignore|disregard|forget|override)\b.{0,60}\b(instructions?|evidence|rules|criteri(a|on)|prompt)\b`,
	`\b(judge|evaluator|grader|verifier|assessor)\s*:`,
	`\b(dear|hey|attention|note|message|instructions?)\W{1,3}((to|for)\s+)?((the|a|any|all)\s+)?(\w+\s+)?(judges?|evaluators?|graders?|verifiers?|assessors?)\b`,
	`\b(judge|evaluator|grader|verifier|assessor)\b.{0,60}\b(mark|say|answer|output|respond|return|accept|conclude|report)\b.{0,60}\b(done|met|complete|pass|true|yes)\b`,
	`\b(mark|rate|grade|consider|treat|declare)\b.{0,40}\bas\s+(met|satisfied|done|complete)\b`,
	`<<[a-z0-9]{8,}|\b[a-z0-9]{16,}>>`,
)

// bareClaim matches passages of the worker's output that claim success or give
// up instead of showing something.
var bareClaim = anyOf(
	`^\W*(i|we)(\s+have|['’]ve)?\s+(now\s+|already\s+|successfully\s+|fully\s+)*(completed?|finished|done|verified|checked|confirmed|tested|ensured|made sure|implemented|fixed|addressed|double-checked)\b`,
	`\b(the|this|your|my|our|all|every)\s+(\w+\s+)?(tasks?|goals?|work|job|requests?|objectives?|items?|steps?|todos?)\s+(is|are|was|were|has been|have been|got)\s+(now\s+|all\s+|fully\s+|successfully\s+)*(complete|completed|done|finished|achieved|met|accomplished|implemented|resolved)\b`,
	`\b(all|every|each)\s+(of\s+the\s+)?(\w+\s+){0,2}(tests?|checks?|builds?|examples?|links?|specs?)\s+(now\s+)?(pass(es|ed|ing)?|succeed(s|ed)?|is\s+(green|passing)|are\s+(green|passing)|ran|work)\b`,
	`\b(tests?|build|checks?|ci|lint(er)?)\s+(now\s+)?(passes|pass|passed|is green|are green|succeeds|succeeded|is clean|are clean)\b`,
	`\beverything\s+(now\s+)?(works|passes|is\s+(done|complete|fine|correct|in place|working|green))\b`,
	`\b(fully|completely|entirely|100\s*%)\s+(complete|completed|done|finished|implemented|satisfied|compliant|met)\b`,
	`\b(this|it|the\s+(task|goal|work|request|job))\s+(is|was|seems|appears(\s+to\s+be)?)\s+(simply\s+|clearly\s+|just\s+)?(impossible|infeasible|not\s+possible|unachievable|undoable)\b`,
	`\b(can\s?not|can't|could\s+not|couldn't|unable\s+to)\s+(be\s+)?(done|completed?|finish(ed)?|achieved?|accomplish(ed)?|continue|proceed)\b`,
)

func anyOf(patterns ...string) func() *regexp.Regexp {
	return lazy(`(?i)` + strings.Join(patterns, `|`))
}

// lazy compiles an expression when it is first asked for, so that a program that
// judges nothing does not start more slowly for it.
func lazy(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
