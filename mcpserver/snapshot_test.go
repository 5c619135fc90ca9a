package mcpserver

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/loop-mcp/loops"
)

// fullState has something in every field that a snapshot shows.
func fullState(status loops.Status, text string) loops.State {
	at := time.Date(2026, 11, 20, 12, 0, 0, 123456789, time.UTC)
	return loops.State{
		ID: "fix-build-7k3q", Status: status, Phase: loops.PhaseBody, Why: text, WakeAt: at.Add(time.Hour),
		Origin: loops.Origin{
			Spec:     loops.Spec{Name: "fix-build", Goal: text, Body: loops.BodySpec{Kind: loops.BodyCommand, Usage: loops.UsageJSON}},
			Warnings: []string{text}, CreatedAt: at,
		},
		Limits: loops.DefaultLimits(), Iteration: 3, Pass: 3, Epoch: 1, Cursor: 41,
		Ledger: loops.Ledger{Starts: 4, Iterations: 3, Passes: 2, ActiveSeconds: 71.23456,
			Usage: loops.Usage{InputTokens: 8123, OutputTokens: 911, TotalTokens: 9034, CostUSD: 150_000, ToolCalls: 4}},
		Output:    loops.Text{Text: text, Size: int64(len(text))},
		Verdict:   &loops.Verdict{Kind: "command", Reason: text, Feedback: text},
		Attention: &loops.Attention{Kind: loops.AttentionIteration, ID: "it-4", Prompt: text},
		Stop:      &loops.Stop{Reason: loops.CapPasses, Detail: text, DecidedBy: "limit", Resumable: true, Actions: []string{text, text, text}},
		Pause:     &loops.Pause{Reason: loops.PauseClient, Detail: text},
		UpdatedAt: at.Add(time.Minute),
	}
}

// TestSnapshotIsAsRecorded pins keys, their order and what is left out.
func TestSnapshotIsAsRecorded(t *testing.T) {
	var all []json.RawMessage
	for _, status := range loops.Statuses() {
		s := fullState(status, "some text")
		if !status.Settled() {
			s.Stop = nil
		}
		all = append(all, mustJSON(Snapshot(&fakeEngine{}, s, &SnapshotOptions{Limits: status == loops.Running})))
	}
	all = append(all, mustJSON(Snapshot(nil, loops.State{ID: "new-aaaa", Status: loops.Queued}, nil)))
	golden(t, "snapshots.json", indented(t, mustJSON(all)))
}

// TestNumbersAndBooleansAreAlwaysThere, even when they are zero.
func TestNumbersAndBooleansAreAlwaysThere(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal(mustJSON(Snapshot(nil, loops.State{ID: "new-aaaa", Status: loops.Queued}, nil)), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"iteration", "pass", "epoch", "cursor", "output_truncated", "usage"} {
		if _, ok := got[key]; !ok {
			t.Errorf("%s is left out", key)
		}
	}
	for _, key := range []string{"starts", "iterations", "passes", "active_seconds", "input_tokens", "output_tokens", "total_tokens", "cost_usd", "tool_calls", "failures"} {
		if _, ok := got["usage"].(map[string]any)[key]; !ok {
			t.Errorf("usage.%s is left out", key)
		}
	}
	for _, key := range []string{"limits", "enforcement", "warnings", "verdict", "attention", "stop", "output", "phase"} {
		if v, ok := got[key]; ok {
			t.Errorf("%s is there: %v", key, v)
		}
	}
}

// TestSnapshotsAreSmall, whatever texts a loop has; only a brief takes more.
func TestSnapshotsAreSmall(t *testing.T) {
	for name, text := range map[string]string{
		"long": strings.Repeat("long text ", 1<<16), "newlines": strings.Repeat("\n", 1<<14),
		"escapes": strings.Repeat("\x1b[31m\"", 1<<15), "wide": strings.Repeat("漢字", 1<<15), "broken": strings.Repeat("\xff", 1<<15),
	} {
		for _, status := range loops.Statuses() {
			s := fullState(status, text)
			if !status.Settled() {
				s.Stop = nil
			}
			for _, limits := range []bool{false, true} {
				a := Snapshot(nil, s, &SnapshotOptions{Limits: limits})
				brief := 0
				if a.Attention != nil {
					brief = len(mustJSON(a.Attention.Prompt))
				}
				size := len(mustJSON(a))
				want := 3000
				if limits {
					want += 900 // limits, enforcement and a warning
				}
				if size-brief > want || brief > maxBrief+100 {
					t.Errorf("%s, %s, limits %t: %d bytes and a brief of %d", name, status, limits, size-brief, brief)
				}
				if !a.OutputTruncated || a.Verdict == nil || !a.Verdict.FeedbackTruncated {
					t.Errorf("%s, %s: clipped texts do not say so", name, status)
				}
				if a.Attention != nil && !a.Attention.PromptTruncated {
					t.Errorf("%s, %s: a clipped brief does not say so", name, status)
				}
			}
		}
	}
}

// TestUsualSnapshotsTakeTwoKilobytes: with texts of the length that they have.
func TestUsualSnapshotsTakeTwoKilobytes(t *testing.T) {
	text := strings.Repeat("--- FAIL: TestParse ", 7)
	for _, status := range loops.Statuses() {
		s := fullState(status, text)
		if s.Attention.Prompt = "do it"; !status.Settled() {
			s.Stop = nil
		}
		if size := len(mustJSON(Snapshot(&fakeEngine{}, s, nil))); size > 2200 {
			t.Errorf("%s takes %d bytes", status, size)
		}
	}
}

func TestResultBest(t *testing.T) {
	s := fullState(loops.Running, "last")
	s.Origin.Spec.Result = loops.ResultBest
	s.Best = &loops.Best{Iteration: 2, Score: 0.9, Output: loops.Text{Text: "best"}}
	if got := Snapshot(nil, s, nil).Output; got != "last" {
		t.Errorf("a running loop shows %q", got)
	}
	s.Status = loops.Completed
	if got := Snapshot(nil, s, nil).Output; got != "best" {
		t.Errorf("a settled loop shows %q", got)
	}
	s.Output.Blob, s.Best.Output.Blob = "", "sha"
	if !Snapshot(nil, s, nil).OutputTruncated {
		t.Error("an output beside the record is shown as whole")
	}
}

// TestNextNamesTheCall with everything that it needs.
func TestNextNamesTheCall(t *testing.T) {
	for status, want := range map[loops.Status][]string{
		loops.Queued: {"loop_wait", "fix-build-7k3q", "cursor 41"}, loops.Running: {"loop_wait", "cursor 41"}, loops.Waiting: {"loop_wait", "cursor 41"},
		loops.YourTurn: {"loop_continue", "it-4", "output"}, loops.NeedsInput: {"loop_approve", "it-4"}, loops.Paused: {"loop_continue", "resume"},
		loops.Cancelling: {"loop_wait", "settled"}, loops.Completed: {"output", "reopen"}, loops.Capped: {"loop_approve", "set_limits"},
		loops.Stalled: {"loop_continue", "message"}, loops.Blocked: {"loop_continue"}, loops.Failed: {"loop_continue"}, loops.Cancelled: {"loop_fork"},
	} {
		s := fullState(status, "text")
		next := Snapshot(nil, s, nil).Next
		for _, part := range want {
			if !strings.Contains(next, part) {
				t.Errorf("%s: next %q does not name %q", status, next, part)
			}
		}
		if string(mustJSON(next)) != `"`+next+`"` {
			t.Errorf("%s: next %q reads differently in JSON", status, next)
		}
		if s.Stop.Resumable = false; status == loops.Failed {
			if next := Snapshot(nil, s, nil).Next; !strings.Contains(next, "view why") {
				t.Errorf("failed for good: %q", next)
			}
		}
	}
}

// TestEveryStatusAndReasonIsExplained in the view why.
func TestEveryStatusAndReasonIsExplained(t *testing.T) {
	if n := len(stopRules); n != 29 {
		t.Errorf("%d stop reasons are explained, the contract has 29", n)
	}
	for _, status := range loops.Statuses() {
		for _, reason := range stopReasons(status) {
			s := fullState(status, "text")
			if s.Stop.Reason = reason; !status.Settled() {
				s.Stop = nil
			}
			w := why(loops.Loop{State: s}, false)
			if w.Reason == "" || !strings.HasSuffix(w.Rule, ".") || len(w.Evidence) == 0 || len(w.Actions) == 0 || w.Status != status {
				t.Errorf("%s %s: %+v", status, reason, w)
			}
		}
	}
	asked := map[string]string{"crash": "cut off by a crash", "human": "approval", "": "approval"}
	for cause, want := range asked {
		s := fullState(loops.NeedsInput, "text")
		s.Attention = &loops.Attention{Kind: loops.AttentionApproval, Cause: cause}
		if got := why(loops.Loop{State: s}, false).Reason; !strings.Contains(got, want) {
			t.Errorf("cause %q: %q", cause, got)
		}
	}
	s := fullState(loops.Paused, "quota")
	s.Pause.Reason = loops.PauseJudgeUnavailable
	if got := why(loops.Loop{State: s}, false).Reason; !strings.Contains(got, "still owed") || !strings.Contains(got, "quota") {
		t.Errorf("paused: %q", got)
	}
}

// stopReasons lists the reasons that settle with a status.
func stopReasons(status loops.Status) []loops.StopReason {
	prefix := map[loops.Status]string{loops.Completed: "goal.", loops.Capped: "cap.", loops.Stalled: "stall.", loops.Blocked: "blocked.", loops.Failed: "fail.", loops.Cancelled: "cancel."}[status]
	if prefix == "" {
		return []loops.StopReason{""}
	}
	var out []loops.StopReason
	for reason := range stopRules {
		if strings.HasPrefix(string(reason), prefix) {
			out = append(out, reason)
		}
	}
	if len(out) == 0 {
		panic(fmt.Sprintf("no reason for %s", status))
	}
	return out
}

func FuzzClip(f *testing.F) {
	f.Add("hello", 3)
	f.Add("漢字\n\x1b\xff\u2028", 7)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 0), 1<<20)
		short, cut := clipped(text, limit)
		if size := len(mustJSON(short)) - 2; size > limit+len("…") {
			t.Errorf("clipped(%q, %d) takes %d bytes", text, limit, size)
		}
		if !cut && short != text || cut && utf8.ValidString(text) && !utf8.ValidString(short) {
			t.Errorf("clipped(%q, %d) = %q, %t", text, limit, short, cut)
		}
		middle, cut := clipMiddle(text, limit)
		if size := len(mustJSON(middle)) - 2; size > limit+60 {
			t.Errorf("clipMiddle(%q, %d) takes %d bytes", text, limit, size)
		}
		if !cut && middle != text || cut && utf8.ValidString(text) && !utf8.ValidString(middle) {
			t.Errorf("clipMiddle(%q, %d) = %q, %t", text, limit, middle, cut)
		}
	})
}
