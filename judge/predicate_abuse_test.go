package judge

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"example.com/loop-mcp/loops"
)

// TestPredicateAbuse: a predicate that hangs or eats the memory would do so
// again at every restart.
func TestPredicateAbuse(t *testing.T) {
	nest := func(depth int, range1, body string) string {
		for i := range depth {
			body = strings.NewReplacer("R", range1, "v", string(rune('a'+i)), "B", body).Replace("R.all(v, B)")
		}
		return body
	}
	share := func(depth int, body string) string {
		var b strings.Builder
		b.WriteString("cel.bind(v0, lists.range(1000), ")
		for i := range depth {
			b.WriteString("cel.bind(v" + string(rune('1'+i)) + ", lists.range(1000).map(i, v" + string(rune('0'+i)) + "), ")
		}
		b.WriteString(strings.ReplaceAll(body, "V", "v"+string(rune('0'+depth))) + strings.Repeat(")", depth+1))
		return b.String()
	}
	mega := strings.Repeat("a", 1<<20)
	list := "[" + strings.Repeat(`{"k":1},`, 20_000) + "0]"
	texts := "[" + strings.Repeat(`"",`, 100_000) + `""]`
	var numbers strings.Builder
	for i := range 250_000 {
		fmt.Fprintf(&numbers, "%d,", i)
	}
	tests := []struct {
		name, expression, output string
		history                  []string
	}{
		{"nested loops", nest(6, "lists.range(1000)", "true"), "", nil},
		{"string doubling", "size([1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28].map(i, output)" + strings.Repeat(".map(s, s + s)", 28) + ") > 0", mega, nil},
		{"adding up", "size(" + strings.Repeat("output + ", 300) + "output) > 0", mega, nil},
		{"a long range", "size(lists.range(1000000000000)) > 0", "", nil},
		{"many ranges", "lists.range(1000000).map(i, lists.range(1000000)).size() > 0", "", nil},
		{"replace by itself", `size(output.replace("a", output)) > 0`, mega, nil},
		{"replace the empty text", `size(output.replace("", output)) > 0`, mega, nil},
		{"replace in dynamic text", `size(json.t.replace("a", json.t)) > 0`, `{"t":"` + mega + `"}`, nil},
		{"regex replace by itself", `size(regex.replace(output, "a", output)) > 0`, mega, nil},
		{"regex replace with references", `size(regex.replace(output, "(a*)", "` + strings.Repeat(`\\1`, 300) + `")) > 0`, mega, nil},
		{"join of references", `size(lists.range(100000).map(i, output).join("")) > 0`, mega, nil},
		{"join with a long separator", `size(json.join(history[0])) > 0`, texts, []string{mega}},
		{"join of the history", `size(lists.range(1000).map(i, history.join("")).join("")) > 0`, "", []string{mega, mega, mega}},
		{"format of references", `size("%s".format([lists.range(100000).map(i, output)])) > 0`, mega, nil},
		{"split into characters", `size(output.split("")) > 0`, mega + mega, nil},
		{"flatten shared lists", share(3, "size(V.flatten()) > 0"), "", nil},
		{"compare shared lists", share(3, "V == V"), "", nil},
		{"compare shared JSON", share(1, "lists.range(1000).map(i, json) == lists.range(1000).map(i, json)"), list, nil},
		{"find in shared lists", share(3, "V in [V]"), "", nil},
		{"distinct of many", "size(lists.range(1000000).distinct()) > 0", "", nil},
		{"distinct of JSON", "size(json.distinct()) > 0", "[" + numbers.String() + "0]", nil},
		{"sort of many", "json.sort().size() > 0", "[" + numbers.String() + "0]", nil},
		{"a regular expression that explodes", `output.matches("` + strings.Repeat("(a{1000})?", 100) + `$b")`, mega, nil},
		{"a regular expression made of the output", "output.matches(output)", mega, nil},
		{"find a long text", "output.indexOf(history[0]) >= 0", mega, []string{mega[1<<19:] + "b"}},
		{"find a long text from behind", "output.lastIndexOf(history[0]) >= 0", mega, []string{"b" + mega[1<<19:]}},
		{"deep JSON", "json == json", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), nil},
		{"deep parentheses", strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000), "", nil},
		{"more than 4 KiB", "true" + strings.Repeat(" || true", 600), "", nil},
		{"precision", `size("%.1000000000f".format([1.0])) > 0`, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			v, err := judgePredicate(t, loops.Evidence{Output: tt.output, History: tt.history}, tt.expression)
			runtime.ReadMemStats(&after)
			t.Logf("%d MiB: %.150v", (after.TotalAlloc-before.TotalAlloc)>>20, err)
			if err == nil {
				t.Errorf("got %t: %s", v.Met, v.Reason)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 700 {
				t.Errorf("took %d MiB", got)
			}
			if err != nil && len(err.Error()) > 8000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// TestEachLimitBites: where several limits would end an expression, each must.
func TestEachLimitBites(t *testing.T) {
	mega := strings.Repeat("a", 8<<20)
	for _, tt := range []struct{ name, expression, want string }{
		{"cost", `output.contains("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")`, "cost limit exceeded"},
		{"values", `size([output, output, output]) == 3`, "memory limit exceeded"},
		{"split", `size(output.split("")) > 0`, "split would take too much work"},
		{"regex.extractAll", `size(regex.extractAll(output, "a")) > 0`, "regex.extractAll would take too much work"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if v, err := judgePredicate(t, loops.Evidence{Output: mega}, tt.expression); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %t, %v; want %s", v.Met, err, tt.want)
			}
		})
	}
	t.Run("time", func(t *testing.T) {
		p, err := compile("lists.range(1000).all(i, i >= 0)")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.whole.ContextEval(t.Context(), map[string]any{}); err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if v, _, err := p.whole.ContextEval(ended, map[string]any{}); err == nil {
			t.Errorf("went on to %v", v)
		}
	})
}

// TestEstimates: CEL charges these calls too, but only when they are over.
func TestEstimates(t *testing.T) {
	mega := types.String(strings.Repeat("a", 1<<20))
	list := func(n int) ref.Val { return types.NewDynamicList(types.DefaultTypeAdapter, make([]int64, n)) }
	for _, tt := range []struct {
		function string
		args     []ref.Val
		refused  bool
	}{
		{"sort", []ref.Val{list(1000)}, false},
		{"sort", []ref.Val{list(300_000)}, true},
		{"@sortByAssociatedKeys", []ref.Val{list(300_000), list(300_000)}, true},
		{"distinct", []ref.Val{list(1000)}, false},
		{"distinct", []ref.Val{list(20_000)}, true},
		{"indexOf", []ref.Val{mega, types.String("aaaab")}, false},
		{"indexOf", []ref.Val{mega, mega}, true},
		{"lastIndexOf", []ref.Val{mega, mega}, true},
		{"replace", []ref.Val{mega, types.String("a"), types.String("bb")}, false},
		{"replace", []ref.Val{mega, types.String("a"), mega}, true},
		{"replace", []ref.Val{mega, types.String("aa"), types.String("")}, false},
		{"join", []ref.Val{list(1000), types.String(", ")}, false},
		{"join", []ref.Val{list(1000), mega}, true},
		{"split", []ref.Val{mega, types.String("\n")}, false},
		{"split", []ref.Val{mega + mega, types.String("")}, true},
		{"matches", []ref.Val{mega, types.String("a+b")}, false},
		{"matches", []ref.Val{mega, types.String("(a{1000})?b")}, true},
		{"matches", []ref.Val{types.String("a"), mega}, true},
		{"regex.extract", []ref.Val{mega, types.String("(a{1000})?b")}, true},
		{"regex.extractAll", []ref.Val{mega, types.String("a")}, false},
		{"regex.extractAll", []ref.Val{mega + mega, types.String("a")}, true},
		{"regex.replace", []ref.Val{mega, types.String("a"), types.String("bb")}, false},
		{"regex.replace", []ref.Val{mega, types.String("a"), types.String(`\1\1\1\1\1\1\1\1\1\1\1\1`)}, true},
		{"sort", nil, false},
		{"join", []ref.Val{types.Int(1), types.Int(2)}, false},
		{"matches", []ref.Val{mega, types.String("(")}, false},
	} {
		if got := estimates[tt.function](tt.args) > maxWork; got != tt.refused {
			t.Errorf("%s: refused is %t, want %t", tt.function, got, tt.refused)
		}
	}
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	for name := range estimates {
		if env.Functions()[name] == nil {
			t.Errorf("%s is no function of the environment: nothing is guarded", name)
		}
	}
}

func FuzzPredicate(f *testing.F) {
	for _, expression := range []string{"score >= 90", "json.a.b == 1", `output.replace("a", output) == ""`, "history.map(h, h + h).exists(h, h == '')", "lists.range(10).sort() == []"} {
		f.Add(expression, `{"a":{"b":1}}`)
	}
	var p Predicate
	f.Fuzz(func(t *testing.T, expression, output string) {
		e := evidence()
		e.Output = output
		raw, err := json.Marshal(loops.Condition{Expression: expression})
		if err != nil {
			t.Skip(err)
		}
		e.Config = raw
		checkErr := p.Check(loops.Setup{Config: raw})
		v, err := p.Judge(t.Context(), e)
		if checkErr != nil && (err == nil || v.Met) {
			t.Errorf("refused at the start (%v) and judged later: %+v", checkErr, v)
		}
		if err == nil && (v.Reason == "" || v.Fingerprint == "") || err != nil && v.Met {
			t.Errorf("got %+v, %v", v, err)
		}
	})
}
