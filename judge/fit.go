package judge

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"example.com/loop-mcp/loops/model"
)

// The sizes of what a judge is shown, in bytes. A call sets aside one token for
// each byte, so that two votes of this size fit into the fifth of the usual
// token limit that is held back for the judge.
const (
	maxEvidence = 48 << 10
	minEvidence = 2 << 10
	maxGoal     = 8 << 10
	maxClaims   = 1000 // characters of the worker's words beside evidence of the host
)

// answerTokens is what an answer about that many criteria may need, reasoning
// included; leastTokens is what a short one needs.
func answerTokens(criteria int) int64 { return int64(4096 + 512*criteria) }
func leastTokens(criteria int) int64  { return int64(512 + 128*criteria) }

// roomOf is how much evidence every one of models can be shown. Two bytes a
// token are little for any text in use.
func roomOf(models []model.Model, criteria int) int {
	room := int64(maxEvidence)
	for _, m := range models {
		if window := m.Info().ContextWindow; window > 0 {
			room = min(room, 2*(window-answerTokens(criteria))-maxGoal-int64(len(systemText)))
		}
	}
	return int(max(room, minEvidence))
}

// fit decides what of each item is shown: small ones whole, head and tail of
// those that are larger than their share of room.
func (p *pack) fit(room int) {
	order := make([]int, len(p.items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return len(p.items[a].text) - len(p.items[b].text) })
	for n, i := range order {
		it := &p.items[i]
		it.shown = ends(it.text, room/(len(order)-n))
		room = max(0, room-len(it.shown))
		it.passages = nil
		for _, part := range append(slices.Clone(it.facts), it.shown) {
			it.passages = append(it.passages, newPassages(part))
		}
	}
}

// ends keeps head and tail of a text, with a line between them that says how
// much is missing.
func ends(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	head, tail := limit*3/5, len(text)-limit*2/5
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + cutNote(int64(tail-head)) + text[tail:]
}

func cutNote(bytes int64) string { return fmt.Sprintf("\n… %d bytes left out …\n", bytes) }
