package mcpserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// sent is what a meter sent, and when.
type sent struct {
	at              time.Time
	progress, total float64
	message         string
}

// metered runs a meter in virtual time and returns what it sent and when the
// call would have been answered.
func metered(t *testing.T, now loops.Head, script func(m *meter)) (all []sent, answered time.Time) {
	t.Helper()
	m := newMeter(func(progress, total float64, message string) {
		all = append(all, sent{time.Now(), progress, total, message})
	}, now)
	script(m)
	m.mu.Lock()
	last := m.newest
	m.mu.Unlock()
	m.stop(t.Context(), last)
	return all, time.Now()
}

func head(iteration int, cursor uint64) loops.Head {
	return loops.Head{Iteration: iteration, Cursor: cursor, Summary: fmt.Sprintf("iteration %d, event %d", iteration, cursor),
		Ledger: loops.Ledger{Iterations: iteration, Passes: iteration}, Limits: loops.DefaultLimits()}
}

// checkRhythm checks what holds for every call: rising, at most four in any
// second, no silence above ten seconds, quiet before the answer.
func checkRhythm(t *testing.T, began time.Time, all []sent, answered time.Time) {
	t.Helper()
	before := began
	for i, s := range all {
		if i > 0 && s.progress <= all[i-1].progress {
			t.Errorf("progress %d falls from %g to %g", i, all[i-1].progress, s.progress)
		}
		if i >= 4 && s.at.Sub(all[i-4].at) < time.Second {
			t.Errorf("five notifications within %s", s.at.Sub(all[i-4].at))
		}
		if s.total > 0 && s.progress > s.total && all[0].progress <= s.total {
			t.Errorf("progress %g of %g", s.progress, s.total)
		}
		if gap := s.at.Sub(before); gap > heartbeat {
			t.Errorf("silent for %s", gap)
		}
		before = s.at
	}
	if len(all) > 0 && answered.Sub(before) < quiet {
		t.Errorf("the last notification is %s before the answer", answered.Sub(before))
	}
}

func TestMeterRhythm(t *testing.T) {
	for name, script := range map[string]func(m *meter){
		"nothing":     func(*meter) {},
		"long silent": func(*meter) { time.Sleep(49 * time.Second) },
		"one change":  func(m *meter) { time.Sleep(time.Second); m.see(head(1, 5)) },
		"burst": func(m *meter) {
			for i := range 1000 {
				m.see(head(i/100, uint64(i+2)))
			}
		},
		"steady": func(m *meter) {
			for i := range 400 {
				m.see(head(i/40, uint64(i+2)))
				time.Sleep(100 * time.Millisecond)
			}
		},
		"a change right after a heartbeat": func(m *meter) {
			time.Sleep(heartbeat + time.Millisecond)
			m.see(head(1, 9))
			time.Sleep(time.Millisecond)
			m.see(head(1, 10))
		},
		"to the last pass": func(m *meter) {
			for i := range 60 {
				m.see(head(min(i/5, 10), uint64(i+2)))
				time.Sleep(500 * time.Millisecond)
			}
		},
		"beyond the limit": func(m *meter) {
			for i := range 30 {
				m.see(head(12+i/10, uint64(i+2)))
				time.Sleep(500 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var last loops.Head
				all, answered := metered(t, head(0, 1), func(m *meter) {
					script(m)
					m.mu.Lock()
					last = m.newest
					m.mu.Unlock()
				})
				checkRhythm(t, began, all, answered)
				if name == "nothing" && (len(all) > 0 || answered != began) {
					t.Errorf("%d notifications, answered after %s", len(all), answered.Sub(began))
				}
				if last.Cursor > 1 && all[len(all)-1].message != last.Summary {
					t.Errorf("the last state is lost: %q, want %q", all[len(all)-1].message, last.Summary)
				}
				if name == "long silent" && len(all) != 4 {
					t.Errorf("%d heartbeats in 49 s", len(all))
				}
				if name == "burst" && len(all) > 2 {
					t.Errorf("a burst became %d notifications", len(all))
				}
			})
		})
	}
}

// TestMeterValue: the whole part is the iterations so far, the fraction grows
// with each event.
func TestMeterValue(t *testing.T) {
	m := &meter{last: -1, iteration: 2, base: 10}
	var last float64
	for _, h := range []loops.Head{head(2, 10), head(2, 11), head(2, 12), head(3, 13), head(3, 14), head(5, 20)} {
		v := m.value(h, 50)
		if v <= last || int(v) != h.Iteration {
			t.Errorf("iteration %d, event %d: %g after %g", h.Iteration, h.Cursor, v, last)
		}
		last, m.last = v, v
	}
}

func TestMeterTotal(t *testing.T) {
	h := head(3, 9)
	if got := totalOf(h); got != 10 {
		t.Errorf("every iteration ended a pass: total %g, want max_passes", got)
	}
	h.Ledger.Passes = 1
	if got := totalOf(h); got != 50 {
		t.Errorf("passes of several iterations: total %g, want max_iterations", got)
	}
	for _, judged := range []loops.Head{{Status: loops.Running, Phase: loops.PhaseConditions}, {Status: loops.NeedsInput}} {
		judged.Ledger, judged.Limits = loops.Ledger{Iterations: 3, Passes: 2}, h.Limits
		if got := totalOf(judged); got != 10 {
			t.Errorf("%s: total %g while the pass is judged, want max_passes", judged.Status, got)
		}
	}
	h.Ledger.Passes, h.Limits.MaxIterations = 3, 4
	if got := totalOf(h); got != 4 {
		t.Errorf("total %g, want the lower limit", got)
	}
}

// TestMeterIgnoresOldHeads: a head that comes late takes nothing back.
func TestMeterIgnoresOldHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _ := metered(t, head(3, 30), func(m *meter) {
			m.see(head(2, 20))
			m.see(head(3, 30))
			time.Sleep(time.Second)
		})
		if len(all) != 0 {
			t.Errorf("sent %v", all)
		}
	})
}

// TestProgressOfACall: notifications of a real loop, with the token, before the
// answer.
func TestProgressOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("no")
		step.Takes = 4 * time.Second
		last := loopstest.Done("ok")
		last.Takes = step.Takes // at the same moment as the one before it would be told with it
		w := newWorld(t, loopstest.Script(step, step, step, last), nil)
		stop := w.listen()
		began := time.Now()
		r := w.callWith(t.Context(), "loop_start", strings.Replace(handlerArgs, "%s", `,"wait_seconds":50`, 1), `,"_meta":{"progressToken":"tok-1"}`)
		answered := time.Now()
		synctest.Wait()
		r.want(t, "status", "completed", "iteration", 4)
		var all []sent
		for _, n := range stop() {
			if n.params["progressToken"] != "tok-1" {
				t.Errorf("token %v", n.params["progressToken"])
			}
			all = append(all, sent{n.at, n.params["progress"].(float64), n.params["total"].(float64), n.message})
		}
		checkRhythm(t, began, all, answered)
		if len(all) < 3 || all[len(all)-1].message != r.get("summary") { // the last two iterations end at one moment
			t.Errorf("%d notifications, the last %q, summary %q", len(all), all[len(all)-1].message, r.get("summary"))
		}
		for _, s := range all {
			if s.total != 10 {
				t.Errorf("total %g, want 10 passes", s.total)
			}
		}
	})
}

// TestNoProgressWithoutAToken, and none for a call that does not wait.
func TestNoProgressWithoutAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := loopstest.Done("ok")
		step.Takes = 20 * time.Second
		w := newWorld(t, loopstest.Script(step), nil)
		stop := w.listen()
		id := w.startHandler(``)
		w.ok("loop_wait", args("loop_id", id, "wait_seconds", 15))
		w.callWith(t.Context(), "loop_inspect", args("loop_id", id), `,"_meta":{"progressToken":7}`)
		w.callWith(t.Context(), "loop_wait", args("loop_id", id, "wait_seconds", 0), `,"_meta":{"progressToken":7}`)
		synctest.Wait()
		if n := len(stop()); n != 0 {
			t.Errorf("%d notifications", n)
		}
	})
}
