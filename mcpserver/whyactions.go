package mcpserver

import (
	"encoding/json"
	"fmt"
	"strings"

	"example.com/loop-mcp/loops"
)

// actions are the calls that make sense now, the best one first, each with its
// arguments; words in angle brackets are to be filled in. person says that only a
// person's own decision counts for approvals.
func actions(s loops.State, person bool) []string {
	a := advice{s: s, person: person}
	switch s.Status {
	case loops.Completed:
		a.call("loop_inspect", "the whole output", "view", viewOutput)
		a.call("loop_continue", "if something is missing", "action", "reopen", "message", "<what is missing>")
	case loops.Capped:
		a.capped()
	case loops.Stalled, loops.Blocked:
		a.stuck()
	case loops.Failed:
		a.failed()
	case loops.Cancelled:
		a.call("loop_inspect", "its last output", "view", viewOutput)
	default:
		a.live()
	}
	if s.Status.Settled() && !quarantined(s) {
		a.call("loop_fork", "a new loop that goes on from here another way; files stay as they are", "message", "<what to do differently>")
	}
	return a.list
}

type advice struct {
	s      loops.State
	person bool
	list   []string
}

// call adds one call; pairs are its arguments beside loop_id.
func (a *advice) call(tool, purpose string, pairs ...any) {
	arguments := []string{`"loop_id":` + jsonText(a.s.ID)}
	for i := 0; i+1 < len(pairs); i += 2 {
		arguments = append(arguments, jsonText(pairs[i])+":"+jsonText(pairs[i+1]))
	}
	a.list = append(a.list, fmt.Sprintf("%s {%s}: %s", tool, strings.Join(arguments, ","), purpose))
}

// jsonText is for texts, numbers and limits, which always have a JSON form.
func jsonText(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // angle brackets are for readers
	_ = enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n")
}

func quarantined(s loops.State) bool { return s.Stop != nil && s.Stop.Reason == loops.FailQuarantined }

func (a *advice) capped() {
	switch {
	case a.s.Stop != nil && a.s.Stop.Reason == loops.CapDailyCost:
		a.call("loop_continue", "tomorrow (UTC), or when the operator has raised daily_cost_usd", "action", "resume")
	case a.s.Stop != nil && a.s.Stop.Reason == loops.CapParent:
		a.call("loop_continue", fmt.Sprintf("when the limits of the loop above it, %s, have been raised with loop_approve", a.s.Origin.Parent), "action", "resume")
	default:
		a.raise("it then goes on")
	}
	a.call("loop_inspect", "the latest output, to be used as it is", "view", viewOutput)
}

// raise advises to raise the limit that is in the way, if one is.
func (a *advice) raise(then string) {
	limit, _, full := a.s.Full()
	if !full {
		return
	}
	raised := doubled(a.s, limit)
	if a.person {
		data, _ := json.Marshal(raised) // limits always have a JSON form
		var values map[string]any
		_ = json.Unmarshal(data, &values) // it was made a line above
		a.list = append(a.list, fmt.Sprintf("a person runs loop-mcp approve %s --limit %s=%v: %s", a.s.ID, limit, values[limit], then))
		return
	}
	a.call("loop_approve", "when the user agrees; "+then, "decision", "set_limits", "limits", raised)
}

// doubled is a limit at twice what it is, or twice what was used.
func doubled(s loops.State, limit string) loops.Limits {
	l, u := s.Limits, s.Ledger
	var r loops.Limits
	switch limit {
	case "max_iterations":
		r.MaxIterations = 2 * max(l.MaxIterations, loops.Count(u.Starts))
	case "max_passes":
		r.MaxPasses = 2 * max(l.MaxPasses, loops.Count(u.Passes))
	case "max_duration":
		r.MaxDuration = 2 * max(l.MaxDuration, s.Elapsed)
	case "max_active":
		r.MaxActive = 2 * l.MaxActive
	case "max_total_tokens":
		r.MaxTotalTokens = 2 * max(l.MaxTotalTokens, loops.Count(u.TotalTokens))
	case "max_cost_usd":
		r.MaxCostUSD = 2 * max(l.MaxCostUSD, u.CostUSD)
	case "max_tool_calls":
		r.MaxToolCalls = 2 * max(l.MaxToolCalls, loops.Count(u.ToolCalls))
	}
	return r
}

func (a *advice) stuck() {
	a.raise("there is no room for another start before that")
	switch {
	case a.s.Stop != nil && a.s.Stop.Reason == loops.BlockedProtected:
		a.call("loop_continue", "when the protected files are as they were", "action", "resume")
	case a.s.Stop != nil && a.s.Stop.Reason == loops.BlockedNoAnswer:
		a.call("loop_continue", "when somebody is there; the question is asked again", "action", "resume")
	default:
		a.call("loop_continue", "another attempt with guidance", "action", "steer", "message", "<what to try instead>")
	}
	a.call("loop_inspect", "what the conditions found, pass by pass", "view", viewVerdicts)
}

func (a *advice) failed() {
	if quarantined(a.s) {
		a.list = append(a.list, fmt.Sprintf("the operator runs loop-mcp verify, which says what of %s is damaged", a.s.ID),
			"loop_start: a new loop; the record of this one can't be trusted")
		return
	}
	a.call("loop_inspect", "the error in full", "view", viewIteration)
	a.raise("there is no room for another start before that")
	a.call("loop_continue", "when the cause is mended", "action", "resume")
	a.call("loop_continue", "another attempt with guidance", "action", "steer", "message", "<what to try instead>")
}

// live is what can be done with a loop that has not settled.
func (a *advice) live() {
	id := ""
	if a.s.Attention != nil {
		id = a.s.Attention.ID
	}
	switch a.s.Status {
	case loops.YourTurn:
		a.call("loop_continue", "when you have done what attention.prompt says", "action", "submit", "attention_id", id, "output", "<your result>")
	case loops.NeedsInput:
		a.input(id)
	case loops.Paused:
		a.call("loop_continue", "it goes on where it stopped", "action", "resume")
	case loops.Cancelling:
		a.call("loop_wait", "until it has ended", "for", "settled", "cursor", a.s.Cursor)
	case loops.Waiting:
		a.call("loop_wait", "it goes on by itself", "cursor", a.s.Cursor)
		a.call("loop_continue", "skips the wait", "action", "resume")
	default:
		a.call("loop_wait", "it goes on by itself", "cursor", a.s.Cursor)
		a.call("loop_inspect", "what its body says now", "view", viewLive)
		a.call("loop_continue", "guidance for the next start", "action", "steer", "message", "<guidance>")
	}
}

func (a *advice) input(id string) {
	switch {
	case a.s.Attention != nil && a.s.Attention.Kind == loops.AttentionQuestion:
		a.call("loop_continue", "with what the user says", "action", "answer", "attention_id", id, "message", "<the user's answer>")
	case a.person:
		a.list = append(a.list, fmt.Sprintf("a person runs loop-mcp approve %s, or with --deny --message '<what is wrong>'", a.s.ID))
		a.call("loop_wait", "until somebody has decided", "cursor", a.s.Cursor)
	default:
		a.call("loop_approve", "when the user approves", "decision", "approve", "attention_id", id)
		a.call("loop_approve", "when the user does not", "decision", "deny", "attention_id", id, "message", "<what is wrong>")
	}
}
