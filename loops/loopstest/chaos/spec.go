package chaos

import (
	"fmt"
	"path/filepath"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// kinds are the loops that users start.
var kinds = []string{"plain", "plain", "plain", "capped", "failing", "busy", "delayed", "checked", "large", "asking", "human", "client", "parent"}

// spec is what loop_start is asked for.
func (u *user) spec() map[string]any {
	u.kind = kinds[u.random.IntN(len(kinds))]
	r := u.random
	target := 4 + r.IntN(16)
	switch {
	case u.w.opts.Nested:
		u.kind = "parent"
	case u.w.opts.Many && u.n%8 > 0:
		u.kind, target = "client", 3
	case u.calm: // each fault point is passed
		u.kind, target = "large", 3
	}
	if u.w.opts.Paid {
		return u.paid(target)
	}
	limit := 2*target + 20
	run := []any{"-work", fmt.Sprintf("%dms", 100+r.IntN(600)), "-open", fmt.Sprint(r.Float64() / 2)}
	until := []any{map[string]any{"kind": "predicate", "expression": fmt.Sprintf("iteration >= %d", target)}}
	args := map[string]any{"name": u.kind, "goal": "go on", "stall": map[string]any{"passes": 0}, "retry": map[string]any{"initial": "10ms", "max": "50ms"}}
	switch u.kind {
	case "capped":
		limit = 1 + r.IntN(target)
	case "failing":
		run = append(run, "-fail", fmt.Sprint(0.2+r.Float64()/2))
	case "busy":
		run = append(run, "-busy", fmt.Sprint(r.Float64()/2))
	case "delayed":
		args["delay"] = fmt.Sprintf("%dms", 10+r.IntN(300))
	case "checked":
		until = append(until, map[string]any{"kind": "command", "run": []any{u.w.body, "-log", u.w.effects(), "-check", fmt.Sprint(target), "-loop", "{{ loop_id }}", "-iteration", "{{ iteration }}"}})
	case "large":
		size := []int{20_000, 200_000, 1_000_000}[r.IntN(3)]
		switch {
		case u.w.opts.Many:
			size = 1_000_000
		case u.calm:
			size = 4_000_000
		}
		run = append(run, "-size", fmt.Sprint(size))
	case "asking":
		args["retry"] = map[string]any{"initial": "10ms", "max": "50ms", "on_crash": "ask"}
	case "human":
		until = append(until, map[string]any{"kind": "human", "question": "Good?"})
	case "parent":
		run = append(run, "-child", u.w.childFile())
	case "client":
		args["until"] = map[string]any{"all": until}
		args["limits"] = map[string]any{"max_iterations": limit, "max_passes": 100}
		return args
	}
	args["until"] = map[string]any{"all": until}
	args["limits"] = map[string]any{"max_iterations": limit, "max_passes": 100}
	args["body"] = map[string]any{"kind": "command", "run": u.w.run1(run)}
	return args
}

func (w *world) effects() string { return filepath.Join(w.dir, audit.EffectsFile) }

// run1 is the command line of a body.
func (w *world) run1(more []any) []any {
	return append([]any{w.body, "-log", w.effects(), "-limit", "{{ limits.max_iterations }}", "-left", "{{ left.max_iterations }}"}, more...)
}

func (w *world) childFile() string { return filepath.Join(w.dir, "files", "child.loop.yaml") }
