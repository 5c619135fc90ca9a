package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// user starts one loop and looks after it until it has ended for good.
type user struct {
	w      *world
	n      int
	random *rand.Rand
	kind   string
	id     string
	seq    int
	moves  int  // how often it may still be moved after its end
	calm   bool // it does not meddle
	now    map[string]any
}

func newUser(w *world, n int) *user {
	u := &user{w: w, n: n, random: w.random(uint64(n) + 1)}
	if u.random.IntN(4) == 0 {
		u.moves = 1
	}
	return u
}

var settledStatus = map[string]bool{"completed": true, "capped": true, "stalled": true, "blocked": true, "failed": true, "cancelled": true}

// live is the life of a loop.
func (u *user) live(ctx context.Context) {
	args := u.spec()
	label := fmt.Sprintf("n%d", u.n)
	args["labels"], args["request_id"] = map[string]any{"chaos": label}, fmt.Sprintf("request-%d", u.n)
	for u.id == "" && ctx.Err() == nil { // the same request until there is an answer
		u.ask(ctx, "loop_start", args, audit.Told{Op: audit.OpStart, Label: label})
	}
	var calm time.Time // after the last kill
	for ctx.Err() == nil {
		select {
		case <-u.w.done:
			if calm.IsZero() {
				calm = time.Now()
			} else if time.Since(calm) > u.w.opts.Settle {
				u.w.opts.Log("%s does not come to its end: it is %v", u.id, u.now["status"])
				return
			}
		default:
		}
		status, _ := u.now["status"].(string)
		if settledStatus[status] && !u.again(ctx, status) {
			return
		}
		u.step(ctx, status)
		// What became of a request without an answer is seen here, and only here.
		for ctx.Err() == nil && !u.ask(ctx, "loop_wait", map[string]any{"loop_id": u.id, "wait_seconds": 1 + u.random.IntN(3)}, audit.Told{Op: audit.OpLook}) {
			pause(ctx, 20*time.Millisecond)
		}
	}
}

// step does what the loop asks for, and sometimes what nobody asked for.
func (u *user) step(ctx context.Context, status string) {
	attention, _ := u.now["attention"].(map[string]any)
	switch status {
	case "your_turn":
		nonce := u.nonce()
		u.ask(ctx, "loop_continue", map[string]any{"loop_id": u.id, "action": "submit", "attention_id": attention["id"], "output": nonce + " done",
			"request_id": nonce, "wait_seconds": 0}, audit.Told{Op: audit.OpSubmit, Nonce: nonce})
		return
	case "needs_input":
		decision := "approve"
		if u.random.IntN(3) == 0 {
			decision = "deny"
		}
		u.ask(ctx, "loop_approve", map[string]any{"loop_id": u.id, "decision": decision, "attention_id": attention["id"]}, audit.Told{Op: audit.OpOther})
		return
	case "paused":
		u.ask(ctx, "loop_continue", map[string]any{"loop_id": u.id, "action": "resume"}, audit.Told{Op: audit.OpOther})
		return
	}
	switch p := u.random.IntN(100); {
	case u.calm:
	case p < 8:
		nonce := u.nonce()
		u.ask(ctx, "loop_continue", map[string]any{"loop_id": u.id, "action": "steer", "message": nonce, "request_id": nonce}, audit.Told{Op: audit.OpSteer, Nonce: nonce})
	case p < 11:
		u.ask(ctx, "loop_pause", map[string]any{"loop_id": u.id}, audit.Told{Op: audit.OpOther})
	case p < 12:
		u.ask(ctx, "loop_cancel", map[string]any{"loop_id": u.id, "wait_seconds": u.random.IntN(3)}, audit.Told{Op: audit.OpCancel})
	}
}

// again moves a settled loop once more, sometimes. false: it stays as it is.
func (u *user) again(ctx context.Context, status string) bool {
	if u.moves == 0 {
		return false
	}
	u.moves--
	switch status {
	case "completed":
		u.ask(ctx, "loop_continue", map[string]any{"loop_id": u.id, "action": "reopen", "message": "once more"}, audit.Told{Op: audit.OpOther})
	case "capped":
		limits, _ := u.now["usage"].(map[string]any)
		starts, _ := limits["starts"].(float64)
		u.ask(ctx, "loop_approve", map[string]any{"loop_id": u.id, "decision": "set_limits",
			"limits": map[string]any{"max_iterations": int(starts) + 2, "max_passes": 100}}, audit.Told{Op: audit.OpOther})
	case "failed":
		u.ask(ctx, "loop_continue", map[string]any{"loop_id": u.id, "action": "resume"}, audit.Told{Op: audit.OpOther})
	default:
		return false
	}
	return true
}

// nonce is a text that occurs once in a run.
func (u *user) nonce() string {
	u.seq++
	return fmt.Sprintf("u%dx%d.%08x", u.n, u.seq, u.random.Uint32())
}

// ask calls a tool of any server and writes down what it said. false: there was
// no answer, or a refusal.
func (u *user) ask(ctx context.Context, tool string, args map[string]any, t audit.Told) bool {
	srv := u.w.pick(ctx, u.random)
	if srv == nil {
		return false
	}
	t.Loop, t.PID, t.Asked = u.id, srv.pid(), time.Now().UnixNano()
	late, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := srv.call(late, tool, args)
	t.At = time.Now().UnixNano()
	if err == nil {
		u.now = answer
		if u.id == "" {
			u.id, _ = answer["loop_id"].(string)
			t.Loop = u.id
			u.w.mu.Lock()
			u.w.known[u.id] = true
			u.w.mu.Unlock()
		}
		t.Snapshot = snapshotOf(answer)
		if stop, _ := answer["stop"].(map[string]any); stop["reason"] == "fail.quarantined" {
			u.w.history.add(audit.Told{Op: audit.OpQuarantined, Loop: u.id, PID: srv.pid(), Asked: t.Asked})
		}
	} else {
		t.Failed = err.Error()
		u.gentle(ctx, err, tool, srv.pid())
	}
	u.w.history.add(t)
	return err == nil
}

// gentle notes an error that a kill does not explain, and waits a little.
func (u *user) gentle(ctx context.Context, err error, tool string, pid int) {
	var refused *refusedError
	switch {
	case errors.As(err, &refused) && (strings.Contains(refused.text, "not found") || strings.Contains(refused.text, `no loop \"`)):
		u.w.history.add(audit.Told{Op: audit.OpMissing, Loop: u.id, Failed: refused.text})
	case errors.Is(err, context.DeadlineExceeded):
		u.w.opts.Log("%s of %s: %v", tool, u.id, err)
		u.w.history.add(audit.Told{Op: audit.OpSilent, Loop: u.id, PID: pid, Failed: tool + ": " + err.Error()})
	}
	pause(ctx, 20*time.Millisecond)
}

func snapshotOf(answer map[string]any) audit.Snapshot {
	usage, _ := answer["usage"].(map[string]any)
	n := func(m map[string]any, key string) int { f, _ := m[key].(float64); return int(f) }
	s := audit.Snapshot{Iteration: n(answer, "iteration"), Starts: n(usage, "starts"), Epoch: uint64(n(answer, "epoch")), Cursor: uint64(n(answer, "cursor"))}
	s.Status, _ = answer["status"].(string)
	s.Settled, _ = answer["already_settled"].(bool)
	return s
}
