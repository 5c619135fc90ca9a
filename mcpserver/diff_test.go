package mcpserver

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops/loopstest"
	"github.com/google/go-cmp/cmp"
)

// patched is b, made of a and where the two differ.
func patched(a, b []string, hunks []hunk) []string {
	var out []string
	at := 0
	for _, h := range hunks {
		out = append(append(out, a[at:h.a]...), b[h.b:h.bEnd]...)
		at = h.aEnd
	}
	return append(out, a[at:]...)
}

func TestLineDiff(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want []hunk
	}{
		{"", "", nil},
		{"abc", "abc", nil},
		{"abc", "axc", []hunk{{1, 2, 1, 2}}},
		{"abc", "ac", []hunk{{1, 2, 1, 1}}},
		{"ac", "abc", []hunk{{1, 1, 1, 2}}},
		{"abcdef", "xbcdyz", []hunk{{0, 1, 0, 1}, {4, 6, 4, 6}}},
		{"", "ab", []hunk{{0, 0, 0, 2}}},
		{"ab", "", []hunk{{0, 2, 0, 0}}},
	} {
		if diff := cmp.Diff(test.want, lineDiff(strings.Split(test.a, ""), strings.Split(test.b, "")), cmp.AllowUnexported(hunk{})); diff != "" {
			t.Errorf("%q and %q (-want +got)\n%s", test.a, test.b, diff)
		}
	}
}

// TestLineDiffLeadsFromOneToTheOther, never with more than there is, and not more
// than is needed where little differs.
func TestLineDiffLeadsFromOneToTheOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lines := func(n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprint(r.IntN(4))
		}
		return out
	}
	for range 3000 {
		a, b := lines(r.IntN(30)), lines(r.IntN(30))
		hunks := lineDiff(a, b)
		if got := patched(a, b, hunks); !cmp.Equal(got, b) && len(got)+len(b) > 0 {
			t.Fatalf("%q and %q: %v makes %q", a, b, hunks, got)
		}
		for i, h := range hunks {
			if h.a == h.aEnd && h.b == h.bEnd || i > 0 && h.a <= hunks[i-1].aEnd && h.b <= hunks[i-1].bEnd {
				t.Fatalf("%q and %q: %v", a, b, hunks)
			}
		}
	}
	a, b := lines(5000), lines(5000)
	if got := patched(a, b, lineDiff(a, b)); !cmp.Equal(got, b) {
		t.Error("texts that differ everywhere are not led to each other")
	}
}

func TestInspectDiff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := []loopstest.Step{loopstest.Done("title\none\nlast"), loopstest.Done("title\none and a half\ntwo\nlast"), loopstest.Done("ok"), loopstest.Done("ok\nagain")}
		w := newWorld(t, loopstest.Script(steps...), nil)
		id := w.startHandler(`,"wait_seconds":50`)
		diff := func(more ...any) reply {
			return w.ok("loop_inspect", args(append([]any{"loop_id", id, "view", "diff"}, more...)...))
		}
		r := diff("iteration", 2)
		r.want(t, "items.0.field", "verdict", "items.0.a.met", false, "items.1.field", "score", "items.1.a", nil, "items.2.field", "usage", "items.2.b.cost_usd", 0,
			"items.3.field", "memory", "items.4.field", "output", "items.4.a", "2: one and a half\n3: two", "items.4.b", "2: one", "items.5", nil, "next_page", nil)
		if got := diff("iteration", 2, "compare_to", "1"); got.text != r.text {
			t.Errorf("with iteration 1 by name:\n%s\n%s", got.text, r.text)
		}
		if got := diff("iteration", 2, "compare_to", 1); got.text != r.text {
			t.Errorf("with iteration 1 by number:\n%s\n%s", got.text, r.text)
		}
		diff("iteration", 3, "compare_to", "3").want(t, "items.4.a", "ok", "items.4.b", "ok", "items.0.b.met", true)

		fork := w.ok("loop_fork", args("loop_id", id, "iteration", 2)).get("loop_id").(string)
		w.ok("loop_wait", args("loop_id", fork, "wait_seconds", 50)).want(t, "status", "completed")
		across := w.ok("loop_inspect", args("loop_id", fork, "view", "diff"))
		across.want(t, "items.4.a", "1: ok\n2: again", "items.4.b", "1: title\n2: one and a half\n3: two\n4: last", "items.0.a.met", true, "items.0.b.met", false)
		w.ok("loop_inspect", args("loop_id", fork, "view", "diff", "compare_to", id+"/3")).want(t, "items.4.a", "2: again", "items.4.b", "")
		w.ok("loop_inspect", args("loop_id", fork, "view", "diff", "compare_to", id)).want(t, "items.4.a", "2: again")

		page := w.ok("loop_inspect", args("loop_id", id, "view", "diff", "iteration", 2, "limit", 3))
		page.want(t, "items.2.field", "usage", "items.3", nil)
		w.ok("loop_inspect", args("loop_id", id, "view", "diff", "iteration", 2, "limit", 3, "page", page.get("next_page"))).want(t, "items.0.field", "memory", "items.1.field", "output", "next_page", nil)

		for arg, want := range map[string]string{
			`"compare_to":"4"`: "compare_to: ", `"compare_to":0`: "must be an iteration such as", `"compare_to":1.5`: "must be", `"compare_to":"no such/thing"`: "must be",
			`"compare_to":"../x"`: "must be", `"compare_to":true`: "must be", `"compare_to":"none-aaaa"`: "no loop", `"compare_to":"` + fork + `/9"`: "compare_to: ",
			`"iteration":9`: "iteration: ", `"iteration":1`: "has none before it", `"iteration":0`: "at least 1",
		} {
			w.fails("loop_inspect", fmt.Sprintf(`{"loop_id":%q,"view":"diff",%s}`, id, arg), want)
		}
		w.fails("loop_inspect", args("loop_id", id, "view", "output", "compare_to", "1"), "belongs to the view diff")
	})
}

// Large outputs that differ in much are still an answer of the asked size.
func TestDiffOfLargeOutputsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := func(seed uint64) string {
			r := rand.New(rand.NewPCG(seed, 3))
			var b strings.Builder
			for range 60_000 {
				fmt.Fprintln(&b, r.IntN(10))
			}
			return b.String() + "ok"
		}
		w := newWorld(t, loopstest.Script(loopstest.Done(strings.ReplaceAll(large(1), "ok", "")), loopstest.Done(large(2))), nil)
		id := w.startHandler(`,"wait_seconds":50`)
		r := w.ok("loop_inspect", args("loop_id", id, "view", "diff", "max_chars", 4000))
		if len(r.text) > 9000 {
			t.Errorf("%d bytes", len(r.text))
		}
	})
}
