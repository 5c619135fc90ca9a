package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

var malformed = flag.Int("malformed", 10_000, "how many malformed lines TestMalformedRequests sends")

// oddLine is one line of a client's and what it must be answered with.
type oddLine struct {
	text string
	id   string // of the answer; null: none could be told
	code int    // of the error; 0: a result
}

// oddities are the categories: n says how many of ten thousand lines, and make
// makes line i of them.
var oddities = []struct {
	name string
	n    int
	make func(r *rand.Rand, i int) oddLine
}{
	{"truncated JSON", 1960, func(r *rand.Rand, i int) oddLine {
		text := strings.TrimSpace(callTool(i, "loop_wait", `{"loop_id":"job-aaaa","wait_seconds":1}`, "t"))
		return oddLine{text[:1+r.IntN(len(text)-1)], "null", -32700}
	}},
	{"random bytes", 1960, func(r *rand.Rand, _ int) oddLine {
		text := make([]byte, 1+r.IntN(200))
		for i := range text {
			text[i] = byte(r.IntN(256))
			if text[i] == '\n' {
				text[i] = 0
			}
		}
		return oddLine{"?" + string(text), "null", -32700}
	}},
	{"wrong types", 1000, func(r *rand.Rand, i int) oddLine {
		values := []string{"7", "null", "true", "[]", "{}", `[{"a":1}]`, "1e308"}
		value := values[r.IntN(len(values))]
		id := fmt.Sprint(i)
		if r.IntN(2) == 0 {
			return oddLine{fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%s}`, id, value), id, -32600}
		}
		return oddLine{fmt.Sprintf(`{"jsonrpc":%s,"id":%s,"method":"ping"}`, value, id), id, -32600}
	}},
	{"odd ids", 1000, func(r *rand.Rand, i int) oddLine {
		if r.IntN(2) == 0 {
			bad := []string{"null", "{}", "[1]", "true", "1e999", `{"id":1}`, "[[[]]]"}
			return oddLine{fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, bad[r.IntN(len(bad))]), "null", -32600}
		}
		good := []string{`"%d\u0000"`, `"%d '; --"`, "-%d.50", "%de3", `"%d` + strings.Repeat("x", 1000) + `"`, `"%d\ud800"`}
		id := fmt.Sprintf(good[r.IntN(len(good))], i+1)
		return oddLine{fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, id), id, 0}
	}},
	{"batch arrays", 1000, func(r *rand.Rand, i int) oddLine {
		return oddLine{"[" + strings.Repeat(strings.TrimSpace(request(i, "ping", "{}"))+",", r.IntN(20)) + "1]", "null", -32600}
	}},
	{"deep nesting", 20, func(r *rand.Rand, i int) oddLine {
		open := []string{"[", `{"a":`}[r.IntN(2)]
		return oddLine{fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping","params":%s`, i, strings.Repeat(open, 100_000)), "null", -32700}
	}},
	{"odd key case, duplicates", 1000, func(r *rand.Rand, i int) oddLine {
		id := fmt.Sprint(i)
		return oddLine{[]string{
			fmt.Sprintf(`{"JSONRPC":"2.0","ID":%s,"METHOD":"ping"}`, id),
			fmt.Sprintf(`{"jsonrpc":"1.0","jsonrpc":"2.0","id":null,"id":%s,"method":"x","Method":"ping"}`, id),
			fmt.Sprintf(`{"jsonrpc":"2.0","id":{},"Id":%s,"method":"nope","METHOD":"ping","params":{"a":1},"params":{}}`, id),
		}[r.IntN(3)], id, 0}
	}},
	{"bad params", 1000, func(r *rand.Rand, i int) oddLine {
		id := fmt.Sprint(i)
		if r.IntN(2) == 0 {
			bad := []string{"[1]", "7", `"x"`, "true"}
			return oddLine{strings.TrimSpace(request(i, "tools/call", bad[r.IntN(len(bad))])), id, -32600}
		}
		tools := []string{"loop_start", "loop_wait", "loop_inspect", "loop_continue", "loop_approve", "loop_fork", "loop_pause", "loop_cancel"}
		return oddLine{strings.TrimSpace(callTool(i, tools[r.IntN(len(tools))], []string{`[]`, `{"loop_id":[{}]}`, `{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + "}"}[r.IntN(3)], "")), id, 0}
	}},
	{"1 MB line", 20, func(_ *rand.Rand, i int) oddLine {
		return oddLine{strings.TrimSpace(callTool(i, "loop_wait", `{"loop_id":"`+strings.Repeat("x", 1<<20)+`"}`, "")), fmt.Sprint(i), 0}
	}},
	{"32 MB line", 5, func(*rand.Rand, int) oddLine {
		return oddLine{strings.Repeat("x", 32<<20), "null", -32600}
	}},
	{"128 MB without newline", 1, func(*rand.Rand, int) oddLine {
		return oddLine{`{"x":"` + strings.Repeat("x", 128<<20), "null", -32600}
	}},
	{"call before initialize", 1030, func(_ *rand.Rand, i int) oddLine {
		return oddLine{strings.TrimSpace(callTool(i, "loop_wait", `{"loop_id":"job-aaaa"}`, "")), fmt.Sprint(i), 0}
	}},
}

// TestMalformedRequests sends a server every kind of nonsense: each line gets
// the one answer that it should, a ping is answered after each kind, and the
// server neither ends nor grows. -seed repeats a run.
func TestMalformedRequests(t *testing.T) {
	t.Logf("seed %d", *seed)
	random := rand.New(rand.NewPCG(*seed, 9))
	b := newBox(t)
	w := b.wild("serve")
	go io.Copy(io.Discard, w.errOut)
	sent := 0
	for _, kind := range oddities {
		count := max(1, kind.n**malformed/10_000)
		for from := 0; from < count; from += 100 { // more at once would be refused as too many
			var lines []oddLine
			for range min(100, count-from) {
				sent++
				lines = append(lines, kind.make(random, sent))
			}
			w.provoke(kind.name, lines)
		}
		now, most := memory(t, w.cmd.Process.Pid)
		t.Logf("%5d lines of %s: %d kB, at most %d kB until now", count, kind.name, now, most)
		// Calls open the store, which needs 20 MB of its own.
		if limit := 64 << 10; most > limit && (kind.name != "call before initialize" || most > limit+20<<10) {
			t.Errorf("after %s the server had %d kB in memory", kind.name, most)
		}
	}
	w.in.Close()
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	t.Logf("%d lines", sent)
}

// provoke sends lines and a ping, and reads the answers to them and no others.
func (w *wild) provoke(kind string, lines []oddLine) {
	w.b.t.Helper()
	want := map[string]int{`"alive" 0`: 1}
	for _, l := range lines {
		want[fmt.Sprint(plainID(l.id), " ", l.code)]++
	}
	go func() {
		for _, l := range lines {
			_, _ = io.WriteString(w.in, l.text+"\n")
		}
		_, _ = io.WriteString(w.in, `{"jsonrpc":"2.0","id":"alive","method":"ping"}`+"\n")
	}()
	for range len(lines) + 1 {
		r := w.next()
		code := 0
		if r.Error != nil {
			code = r.Error.Code
		}
		if (r.Error == nil) == (r.Result == nil) {
			w.b.t.Fatalf("%s: neither a result nor an error: %+v", kind, r)
		}
		key := fmt.Sprint(plainID(string(r.ID)), " ", code)
		if want[key]--; want[key] < 0 {
			w.b.t.Fatalf("%s: nobody asked for the answer %.200s", kind, key)
		}
	}
}

// plainID is an id without what JSON allows to write in several ways.
func plainID(raw string) string {
	var text string
	if json.Unmarshal([]byte(raw), &text) == nil {
		return fmt.Sprintf("%q", text)
	}
	return raw
}
