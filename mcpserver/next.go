package mcpserver

import (
	"fmt"

	"example.com/loop-mcp/loops"
)

// nextCall names the call that makes sense now, with everything that it needs.
func nextCall(s loops.State, a Answer, o SnapshotOptions) string {
	switch s.Status {
	case loops.YourTurn:
		return fmt.Sprintf("Your turn: do what attention.prompt says with your own tools, then call loop_continue with loop_id %s%s and output.", s.ID, attentionID(s))
	case loops.NeedsInput:
		return nextInput(s, a, o)
	case loops.Paused:
		return fmt.Sprintf("Paused until someone resumes it: call loop_continue with loop_id %s and action resume.", s.ID)
	case loops.Cancelling:
		return fmt.Sprintf("Call loop_wait with loop_id %s, cursor %d and for settled.", s.ID, s.Cursor)
	case loops.Completed:
		return nextCompleted(s, a)
	case loops.Capped:
		return nextCapped(s, o.Person && o.Asks == 0)
	case loops.Stalled, loops.Blocked, loops.Failed:
		return nextStuck(s)
	case loops.Cancelled:
		return fmt.Sprintf("Nothing: a cancelled loop stays so. loop_fork with loop_id %s goes on from here in a new one.", s.ID)
	default: // it moves by itself
		return fmt.Sprintf("Call loop_wait with loop_id %s and cursor %d.", s.ID, s.Cursor)
	}
}

func attentionID(s loops.State) string {
	if s.Attention == nil {
		return ""
	}
	return ", attention_id " + s.Attention.ID
}

func nextInput(s loops.State, a Answer, o SnapshotOptions) string {
	switch {
	case o.Asks > 0 && asks(s):
		return fmt.Sprintf("A person owes this: call loop_wait with loop_id %s, cursor %d and wait_seconds %d, which asks the user.", s.ID, s.Cursor, o.Asks)
	case s.Attention != nil && s.Attention.Kind == loops.AttentionQuestion:
		return fmt.Sprintf("Ask the user what attention.prompt asks, then call loop_continue with loop_id %s%s and their answer as message.", s.ID, attentionID(s))
	case o.Person:
		return fmt.Sprintf("A person must decide: ask the user to run loop-mcp approve %s, then call loop_wait with loop_id %s and cursor %d.", s.ID, s.ID, s.Cursor)
	}
	what := "attention.prompt"
	if a.Output != "" {
		what = "the output and attention.prompt"
	}
	return fmt.Sprintf("Show the user %s and let them decide, then call loop_approve with loop_id %s%s and decision approve or deny.", what, s.ID, attentionID(s))
}

// nextSilent is for a client whose user was asked and gave no answer: asking
// again at once would not be polite, and no way on where nobody sits.
func nextSilent(s loops.State) string {
	if s.Attention.Kind == loops.AttentionQuestion {
		return fmt.Sprintf("The loop keeps waiting. Ask the user in the conversation, then call loop_continue with loop_id %s%s and their answer as message.", s.ID, attentionID(s))
	}
	return fmt.Sprintf("The loop keeps waiting. Tell the user: they can run loop-mcp approve %s, or decide when loop_wait or loop_approve asks again.", s.ID)
}

func nextCompleted(s loops.State, a Answer) string {
	use := "Done: use output"
	if a.OutputTruncated {
		use = fmt.Sprintf("Done: call loop_inspect with loop_id %s and view output for the whole output", s.ID)
	}
	return use + "; if something is missing, loop_continue with action reopen and a message saying what."
}

func nextCapped(s loops.State, person bool) string {
	if s.Stop != nil && !s.Stop.Resumable {
		return fmt.Sprintf("Stopped for good; loop_inspect with loop_id %s and view why says more.", s.ID)
	}
	if person {
		return fmt.Sprintf("A limit ended it; output is the latest. A person may raise the limit with loop-mcp approve %s.", s.ID)
	}
	return fmt.Sprintf("A limit ended it; output is the latest. To go on, let the user agree, then call loop_approve with loop_id %s, decision set_limits and the raised limit (see stop.actions).", s.ID)
}

func nextStuck(s loops.State) string {
	if s.Stop != nil && !s.Stop.Resumable {
		return fmt.Sprintf("It cannot go on: loop_inspect with loop_id %s and view why says more; loop_start begins a new one.", s.ID)
	}
	return fmt.Sprintf("See stop, then call loop_continue with loop_id %s and a message that helps, or action resume when the cause is gone.", s.ID)
}
