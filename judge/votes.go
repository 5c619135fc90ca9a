package judge

import (
	"fmt"
	"slices"
	"strings"

	"example.com/loop-mcp/loops"
)

const maxAdvice = 600 // characters of a judge's feedback

// vote applies the host's rules to an answer.
func (h *hearing) vote(said answer, by string) vote {
	v := vote{Model: by, Said: said.Verdict, Says: said.Verdict, Feedback: clipRunes(strings.TrimSpace(plain(said.Feedback)), maxAdvice)}
	shownNot := false
	for _, c := range h.brief.Criteria {
		i := slices.IndexFunc(said.Criteria, func(a criterionAnswer) bool { return a.ID == c.ID })
		r := h.pack.rule(c, said.Criteria[i])
		v.Criteria = append(v.Criteria, r)
		shownNot = shownNot || r.Status == statusNotMet && len(r.Quotes) > 0
	}
	switch {
	case v.Says == saysDone && !allMet(v.Criteria):
		v.Says = saysContinue
	case v.Says == saysImpossible && !shownNot:
		v.Says = saysContinue
	}
	return v
}

func allMet(rulings []loops.Ruling) bool {
	return !slices.ContainsFunc(rulings, func(r loops.Ruling) bool { return r.Status != statusMet })
}

// count stores the verdict as soon as the votes decide: continue needs one, done
// and impossible need all, and the first that says otherwise decides.
func (h *hearing) count() {
	votes := h.record.Votes
	last, first := votes[len(votes)-1], votes[0]
	switch {
	case last.Says == saysContinue:
		h.settle(last, len(votes) > 1)
	case last.Says != first.Says && last.Says == saysDone:
		h.settle(first, true)
	case last.Says != first.Says:
		h.settle(last, true)
	case len(votes) == h.brief.Votes:
		h.settle(first, false)
	}
}

// settle makes a vote the verdict. dissent says that another one saw it
// otherwise: then the loop goes on with what the dissenter says.
func (h *hearing) settle(by vote, dissent bool) {
	v := h.verdict()
	v.Criteria, v.Evidence = by.Criteria, nil
	v.Model, v.PromptHash = joined(h.voters()), promptHash()
	says := by.Says
	if dissent {
		says = saysContinue
	}
	switch v.Met, v.Impossible = says == saysDone, says == saysImpossible; {
	case v.Met:
		v.Reason = fmt.Sprintf("%s met%s", share(by.Criteria), h.standingOfVotes())
	case v.Impossible:
		v.Reason = fmt.Sprintf("impossible: %s%s", advice(by), h.standingOfVotes())
		v.Feedback = h.feedback(by)
	default:
		v.Reason = h.whyNot(by, dissent)
		v.Feedback = h.feedback(by)
	}
	v.Fingerprint = digest(h.pack.stable + "\x00" + says + "\x00" + vector(by.Criteria))
	h.record.Verdict = &v
}

// verdict is what all verdicts of this hearing have in common.
func (h *hearing) verdict() loops.Verdict {
	return loops.Verdict{
		Iteration: h.iteration, Pass: h.pass, Kind: loops.StopJudge,
		SelfReported: !h.pack.observed(), Evidence: h.exhibits(),
	}
}

// exhibits are the evidence and what the worker was heard to say beside it.
func (h *hearing) exhibits() []loops.Exhibit {
	all := h.pack.exhibits()
	if h.claims != "" {
		all = append(all, loops.Exhibit{Source: "output", Text: ends(h.claims, exhibitText), Hash: digest(h.output)})
	}
	return all
}

// current is a stored verdict as that of this pass.
func (h *hearing) current(v loops.Verdict) loops.Verdict {
	v.Iteration, v.Pass, v.Evidence = h.iteration, h.pass, h.exhibits()
	return v
}

// whyNot says in a line why a vote does not end the loop.
func (h *hearing) whyNot(by vote, dissent bool) string {
	text := share(by.Criteria) + " met"
	if failing := failing(by.Criteria); len(failing) > 0 {
		text += "; not: " + joined(failing)
	}
	switch {
	case by.Said == saysImpossible && by.Says == saysContinue:
		text += "; it was called impossible without a quote that shows it"
	case by.Said == saysDone && by.Says == saysContinue:
		text += "; it was called done, and the host found no proof"
	case by.Says == saysImpossible:
		text += "; one judge calls it impossible, another did not"
	case by.Says == saysDone:
		text += "; one judge calls it done, another did not"
	case dissent:
		text += "; the first judge saw it otherwise, the second did not confirm it"
	}
	return text + h.standingOfVotes()
}

// feedback is for the worker's next pass: what the judge says, then each
// criterion that is open.
func (h *hearing) feedback(by vote) string {
	var b strings.Builder
	if by.Feedback != "" && by.Said != saysDone { // praise is no help
		b.WriteString(by.Feedback + "\n")
	}
	for _, r := range by.Criteria {
		if r.Status == statusMet {
			continue
		}
		fmt.Fprintf(&b, "- %s is %s: %s", r.ID, strings.ReplaceAll(r.Status, "_", " "), clip(oneLine(h.text(r.ID)), 200))
		if r.Note != "" {
			b.WriteString(" (" + r.Note + ")")
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		return "Go on: the judge does not call the goal met, although it calls every criterion met. Show each of them more plainly."
	}
	return strings.TrimSpace(b.String())
}

func (h *hearing) text(id string) string {
	for _, c := range h.brief.Criteria {
		if c.ID == id {
			return c.Text
		}
	}
	return ""
}

// advice is the short form of what a vote says.
func advice(by vote) string {
	if by.Feedback != "" {
		return oneLine(by.Feedback)
	}
	for _, r := range by.Criteria {
		if r.Status != statusMet && r.Note != "" {
			return r.ID + ": " + r.Note
		}
	}
	return "no reason given"
}

func share(rulings []loops.Ruling) string {
	return fmt.Sprintf("%d of %d criteria", len(rulings)-len(failing(rulings)), len(rulings))
}

// failing names criteria that are not met, with their status.
func failing(rulings []loops.Ruling) []string {
	var all []string
	for _, r := range rulings {
		if r.Status != statusMet {
			all = append(all, r.ID+" ("+strings.ReplaceAll(r.Status, "_", " ")+")")
		}
	}
	return all
}

func vector(rulings []loops.Ruling) string {
	var parts []string
	for _, r := range rulings {
		parts = append(parts, r.ID+"="+r.Status)
	}
	return joined(parts)
}

// voters are the models that voted, each once.
func (h *hearing) voters() []string {
	var ids []string
	for _, v := range h.record.Votes {
		if !slices.Contains(ids, v.Model) {
			ids = append(ids, v.Model)
		}
	}
	return ids
}

// standingOfVotes says how many votes there were and how far they depend on
// each other and on the worker: two answers of one model err together.
func (h *hearing) standingOfVotes() string {
	ids := make([]string, len(h.record.Votes))
	for i, v := range h.record.Votes {
		ids[i] = v.Model
	}
	text := " (1 vote"
	if len(ids) > 1 {
		text = fmt.Sprintf(" (%d votes: %s", len(ids), independence(ids[0], ids[1:]))
	}
	if h.worker != "" {
		text += "; from the worker: " + independence(h.worker, ids)
	}
	if h.speaks {
		text += "; the worker's output speaks to the judge"
	}
	return text + ")"
}

// How far judges depend on each other, or on the worker.
const (
	independent = "independent"
	sameVendor  = "same_vendor"
	sameModel   = "same_model"
)

// independence is the closest relation of one model to others.
func independence(id string, others []string) string {
	vendor, _, _ := strings.Cut(id, "/")
	label := independent
	for _, other := range others {
		if other == id {
			return sameModel
		}
		if theirs, _, _ := strings.Cut(other, "/"); theirs == vendor {
			label = sameVendor
		}
	}
	return label
}

func clipRunes(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}
