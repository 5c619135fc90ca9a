package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
)

// long is a text of n bytes as JSON.
func long(n int) string { return `"` + strings.Repeat("x", n) + `"` }

// badInput is a call with wrong arguments and what its one sentence must say.
type badInput struct {
	tool, args string
	want       []string // each is in the text
}

func says(words ...string) []string { return words }

// until makes a start of a client loop valid.
const until = `"until":{"all":[{"kind":"human","question":"ok?"}]}`

var badInputs = []badInput{
	// loop_start, every argument
	{"loop_start", `{}`, says("goal", "missing")},
	{"loop_start", `{"goal":"",` + until + `}`, says("goal")},
	{"loop_start", `{"goal":null,` + until + `}`, says("goal")},
	{"loop_start", `{"goal":7,` + until + `}`, says("goal", "text", "7")},
	{"loop_start", `{"goal":["x"],` + until + `}`, says("goal", "text")},
	{"loop_start", `{"goal":` + long(1<<20) + `,` + until + `}`, says("goal", "1048576", "65536")},
	{"loop_start", "{\"goal\":\"a\xff\"," + until + `}`, says("goal", "UTF-8")},
	{"loop_start", `{"goal":"a\u0000b",` + until + `}`, says("goal", "control character")},
	{"loop_start", `{"goal":"x","gaol":"y",` + until + `}`, says("gaol", "goal")},
	{"loop_start", `{"goal":"x","goal":"y",` + until + `}`, says("goal", "twice")},
	{"loop_start", `{"goal":"x"}`, says("no_stop_condition", "until")},
	{"loop_start", `{"goal":"x","body":{"kind":"robot"},` + until + `}`, says("body.kind", "robot")},
	{"loop_start", `{"goal":"x","body":"client",` + until + `}`, says("body", `"client"`)},
	{"loop_start", `{"goal":"x","body":{"kind":"client","rnu":["ls"]},` + until + `}`, says("body.rnu", "run")},
	{"loop_start", `{"goal":"x","body":{"kind":"handler","name":"nobody"},` + until + `}`, says("body.name", "nobody")},
	{"loop_start", `{"goal":"x","body":{"kind":"client","run":["ls"]},` + until + `}`, says("body.run")},
	{"loop_start", `{"goal":"x","until":{}}`, says("until")},
	{"loop_start", `{"goal":"x","until":[]}`, says("until")},
	{"loop_start", `{"goal":"x","until":{"any":[{"kind":"claim"}],"all":[{"kind":"claim"}]}}`, says("until")},
	{"loop_start", `{"goal":"x","until":{"all":[{"kind":"humn"}]}}`, says("until.all[0]", "human")},
	{"loop_start", `{"goal":"x","until":{"all":[{"all":[{"all":[{"kind":"claim"}]}]}]}}`, says("until.all[0].all[0]")},
	{"loop_start", `{"goal":"x","limits":{"max_passes":"3x"},` + until + `}`, says("limits.max_passes", "3x")},
	{"loop_start", `{"goal":"x","limits":{"max_passes":0},` + until + `}`, says("limits.max_passes", "at least 1")},
	{"loop_start", `{"goal":"x","limits":{"max_passes":-3},` + until + `}`, says("limits.max_passes", "at least 1")},
	{"loop_start", `{"goal":"x","limits":{"max_passes":1e400},` + until + `}`, says("limits.max_passes")},
	{"loop_start", `{"goal":"x","limits":{"max_passes":99999999999999999999},` + until + `}`, says("limits.max_passes", "large")},
	{"loop_start", `{"goal":"x","limits":{"max_duration":60},` + until + `}`, says("limits.max_duration", "60", `"90s"`)},
	{"loop_start", `{"goal":"x","limits":{"max_cost_usd":"cheap"},` + until + `}`, says("limits.max_cost_usd", "cheap")},
	{"loop_start", `{"goal":"x","limits":{"max_money":1},` + until + `}`, says("limits.max_money")},
	{"loop_start", `{"goal":"x","context":5,` + until + `}`, says("context")},
	{"loop_start", `{"goal":"x","context":` + long(65<<10) + `,` + until + `}`, says("context", "66560")},
	{"loop_start", `{"goal":"x","protect":"*.go",` + until + `}`, says("protect")},
	{"loop_start", `{"goal":"x","protect":["[a"],` + until + `}`, says("protect[0]")},
	{"loop_start", `{"goal":"x","delay":1,` + until + `}`, says("delay", `"90s"`)},
	{"loop_start", `{"goal":"x","delay":"-1s",` + until + `}`, says("delay", "negative")},
	{"loop_start", `{"goal":"x","retry":{"max_attempts":"x"},` + until + `}`, says("retry.max_attempts")},
	{"loop_start", `{"goal":"x","retry":{"on_crash":"panic"},` + until + `}`, says("retry.on_crash", "panic")},
	{"loop_start", `{"goal":"x","stall":3,` + until + `}`, says("stall")},
	{"loop_start", `{"goal":"x","answer_timeout":"soon",` + until + `}`, says("answer_timeout", "soon")},
	{"loop_start", `{"goal":"x","result":"worst",` + until + `}`, says("result", "worst")},
	{"loop_start", `{"goal":"x","name":"../etc",` + until + `}`, says("name", "../etc")},
	{"loop_start", `{"goal":"x","name":"Up",` + until + `}`, says("name", "Up")},
	{"loop_start", `{"loop_file":"../../etc/passwd"}`, says("loop_file", "no path")},
	{"loop_start", `{"loop_file":"fix-build.loop.yaml"}`, says("loop_file", "no ending")},
	{"loop_start", `{"loop_file":"fix","goal":"x","body":{"kind":"client"}}`, says("goal: cannot be combined", "body: cannot be combined")},
	{"loop_start", `{"loop_file":"fix"}`, says("no_loop_files")},
	{"loop_start", `{"goal":"x","inputs":{"a":1},` + until + `}`, says("inputs", "loop_file")},
	{"loop_start", `{"goal":"x","labels":["a"],` + until + `}`, says("labels")},
	{"loop_start", `{"goal":"x","labels":{"a":1},` + until + `}`, says("labels.a")},
	{"loop_start", `{"goal":"x","labels":{"a":` + long(64) + `},` + until + `}`, says("labels.a", "63")},
	{"loop_start", `{"goal":"x","request_id":` + long(5000) + `,` + until + `}`, says("request_id", "128")},
	{"loop_start", `{"goal":"x","wait_seconds":-1,` + until + `}`, says("wait_seconds", "at least 0")},
	{"loop_start", `{"goal":"x","wait_seconds":"3x",` + until + `}`, says("wait_seconds", "3x")},
	{"loop_start", `{"goal":"x","wait_seconds":1.5,` + until + `}`, says("wait_seconds", "whole")},
	{"loop_start", `{"goal":"x","wait_seconds":99999999999999999999,` + until + `}`, says("wait_seconds", "large")},
	{"loop_start", `{"goal":"x","dry_run":"yes",` + until + `}`, says("dry_run")},
	{"loop_start", `{"goal":7,"limits":{"max_passes":"3x"},"wait_seconds":-1,"name":"UP","colour":"red",` + until + `}`,
		says("goal: must", "limits.max_passes: must", "wait_seconds: must", "name: must", "colour: unknown")},
	{"loop_start", `[1]`, says("arguments", "object")},
	{"loop_start", `"goal"`, says("arguments", "object")},

	// ids, for every tool that takes one
	{"loop_wait", `{"loop_id":5}`, says("loop_id", "text")},
	{"loop_wait", `{"loop_id":""}`, says("loop_id", "missing")},
	{"loop_wait", `{"lopp_id":"fix-7k3q"}`, says("lopp_id", "loop_id")},
	{"loop_wait", `{"loop_id":"../../etc/passwd"}`, says("loop_id", "fix-build-7k3q")},
	{"loop_inspect", `{"loop_id":"a/b"}`, says("loop_id")},
	{"loop_continue", `{"loop_id":"a\u0000b"}`, says("loop_id")},
	{"loop_approve", `{"loop_id":"$KV.LOOPS.>","decision":"approve"}`, says("loop_id")},
	{"loop_pause", `{"loop_id":` + long(1<<20) + `}`, says("loop_id")},
	{"loop_cancel", `{"loop_id":"FIX-7k3q"}`, says("loop_id")},
	{"loop_cancel", "{\"loop_id\":\"a\xffb\"}", says("loop_id", "UTF-8")},

	{"loop_wait", `{"loop_id":"draft-0001","cursor":-1}`, says("cursor")},
	{"loop_wait", `{"loop_id":"draft-0001","cursor":99999999999999999999}`, says("cursor")},
	{"loop_wait", `{"loop_id":"draft-0001","cursor":"x"}`, says("cursor", "x")},
	{"loop_wait", `{"loop_id":"draft-0001","cursor":4711}`, says("cursor", "last event")},
	{"loop_wait", `{"loop_id":"draft-0001","wait_seconds":-1}`, says("wait_seconds")},
	{"loop_wait", `{"loop_id":"draft-0001","for":"settle"}`, says("for", "did you mean settled")},
	{"loop_wait", `{"loop_id":"draft-0001","for":1}`, says("for")},

	{"loop_inspect", `{"loop_id":"draft-0001","view":"outptu"}`, says("view", "did you mean output")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":["output"]}`, says("view")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"iteration","iteration":0}`, says("iteration", "at least 1")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"iteration","iteration":9}`, says("iteration", "9")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"iteration","iteration":"1st"}`, says("iteration")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"spec","iteration":1}`, says("iteration", "spec")},
	{"loop_inspect", `{"loop_id":"draft-0001","compare_to":"draft-0002"}`, says("compare_to")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","page":"iterations.3"}`, says("page", "events")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","page":"events.-1"}`, says("page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","page":"3"}`, says("page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","page":"events.03"}`, says("page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","page":"../x"}`, says("page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"why","page":"why.1"}`, says("page", "one page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"output","page":"output.99999"}`, says("page")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","limit":0}`, says("limit", "between 1 and 100")},
	{"loop_inspect", `{"loop_id":"draft-0001","view":"events","limit":101}`, says("limit", "between 1 and 100")},
	{"loop_inspect", `{"loop_id":"draft-0001","max_chars":1}`, says("max_chars", "between 100 and 100000")},
	{"loop_inspect", `{"loop_id":"draft-0001","max_chars":10000000}`, says("max_chars")},

	{"loop_continue", `{"loop_id":"draft-0001","action":"sumbit"}`, says("action", "did you mean submit")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"cancel"}`, says("action", "cancel")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"submit"}`, says("output", "missing")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x"}`, says("attention_id", "it-1")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","attention_id":"it-9"}`, says("stale_attention", "it-1")},
	{"loop_continue", `{"loop_id":"draft-0001","output":5}`, says("output")},
	{"loop_continue", "{\"loop_id\":\"draft-0001\",\"output\":\"\xc3\x28\"}", says("output", "UTF-8")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","done":"yes"}`, says("done")},
	{"loop_continue", `{"loop_id":"draft-0001","done":true}`, says("done", "submit")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"resume","memory":{},"usage":{}}`, says("memory", "usage")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","attention_id":"it-1","usage":{"input_tokens":-5}}`, says("usage.input_tokens", "negative")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","attention_id":"it-1","usage":{"cost_usd":"a lot"}}`, says("usage.cost_usd")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","attention_id":"it-1","usage":{"tokens":5}}`, says("usage.tokens")},
	{"loop_continue", `{"loop_id":"draft-0001","output":"x","attention_id":"it-1","usage":{"input_tokens":5,"output_tokens":5,"total_tokens":9}}`, says("usage.total_tokens", "9")},
	{"loop_continue", `{"loop_id":"draft-0001","message":` + long(65<<10) + `}`, says("message", "65536")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"steer","message":"  "}`, says("message", "guidance")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"answer","message":"x"}`, says("wrong_status", "your_turn")},
	{"loop_continue", `{"loop_id":"draft-0001","action":"reopen","message":"x"}`, says("wrong_status", "your_turn", "submit")},
	{"loop_continue", `{"loop_id":"draft-0001"}`, says("wrong_status", "resume")},
	{"loop_continue", `{"loop_id":"draft-0001","wait_seconds":-2}`, says("wait_seconds")},
	{"loop_continue", `{"loop_id":"draft-0001","request_id":` + long(500) + `}`, says("request_id")},

	{"loop_approve", `{"loop_id":"draft-0001"}`, says("decision", "missing")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"aprove"}`, says("decision", "did you mean approve")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"approve"}`, says("attention_id", "it-1")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"approve","attention_id":"it-1"}`, says("wrong_status", "your_turn")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"approve","attention_id":"it-1","limits":{"max_passes":3}}`, says("limits", "set_limits")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"set_limits"}`, says("limits", "missing")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"set_limits","limits":{}}`, says("limits", "missing")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"set_limits","limits":{"max_passes":0}}`, says("limits.max_passes", "at least 1")},
	{"loop_approve", `{"loop_id":"draft-0001","decision":"set_limits","limits":{"max_passes":3},"attention_id":"it-1"}`, says("attention_id", "set_limits")},

	{"loop_fork", `{}`, says("loop_id", "missing")},
	{"loop_fork", `{"loop_id":"none-aaaa"}`, says("none-aaaa", "draft-0001")},
	{"loop_fork", `{"loop_id":"../etc"}`, says("loop_id")},
	{"loop_fork", `{"loop_id":"draft-0001","iteration":-1}`, says("iteration", "at least 0")},
	{"loop_fork", `{"loop_id":"draft-0001","iteration":1}`, says("iteration", "none is committed yet")},
	{"loop_fork", `{"loop_id":"draft-0001","iteration":"last"}`, says("iteration", "last")},
	{"loop_fork", `{"loop_id":"draft-0001","goal":" "}`, says("goal", "missing")},
	{"loop_fork", `{"loop_id":"draft-0001","goal":` + long(1<<20) + `}`, says("goal", "65536")},
	{"loop_fork", `{"loop_id":"draft-0001","goal":"{{ inputs.x }}"}`, says("goal", "inputs.x")},
	{"loop_fork", `{"loop_id":"draft-0001","body":"client"}`, says("body", `"client"`)},
	{"loop_fork", `{"loop_id":"draft-0001","body":{"kind":"client","rnu":["ls"]}}`, says("body.rnu", "run")},
	{"loop_fork", `{"loop_id":"draft-0001","body":{"kind":"handler","name":"nobody"}}`, says("body.name", "nobody")},
	{"loop_fork", `{"loop_id":"draft-0001","until":{}}`, says("until")},
	{"loop_fork", `{"loop_id":"draft-0001","until":{"all":[{"kind":"humn"}]}}`, says("until.all[0]", "human")},
	{"loop_fork", `{"loop_id":"draft-0001","limits":{"max_passes":0}}`, says("limits.max_passes", "at least 1")},
	{"loop_fork", `{"loop_id":"draft-0001","limits":{"max_money":1}}`, says("limits.max_money")},
	{"loop_fork", `{"loop_id":"draft-0001","limits":{"max_duration":60}}`, says("limits.max_duration", `"90s"`)},
	{"loop_fork", `{"loop_id":"draft-0001","message":7}`, says("message")},
	{"loop_fork", `{"loop_id":"draft-0001","message":"  "}`, says("message", "empty")},
	{"loop_fork", `{"loop_id":"draft-0001","message":` + long(70_000) + `}`, says("message", "65536")},
	{"loop_fork", `{"loop_id":"draft-0001","request_id":` + long(500) + `}`, says("request_id")},
	{"loop_fork", `{"loop_id":"draft-0001","contxt":"x"}`, says("contxt")},

	{"loop_pause", `{"loop_id":"draft-0001","reason":` + long(1001) + `}`, says("reason", "1000")},
	{"loop_pause", `{"loop_id":"draft-0001","wait_seconds":1}`, says("wait_seconds")},
	{"loop_cancel", `{"loop_id":"draft-0001","mode":"hard"}`, says("mode", "graceful, now")},
	{"loop_cancel", `{"loop_id":"draft-0001","wait_seconds":-1}`, says("wait_seconds")},
	{"loop_cancel", `{"loop_id":"draft-0001","reason":7}`, says("reason")},

	{"loop_list", `{"status":"running"}`, says("status", "list")},
	{"loop_list", `{"status":["runnning"]}`, says("status[0]", "did you mean running")},
	{"loop_list", `{"status":[""]}`, says("status[0]")},
	{"loop_list", `{"limit":0}`, says("limit")},
	{"loop_list", `{"limit":1000}`, says("limit")},
	{"loop_list", `{"labels":"a"}`, says("labels")},
	{"loop_list", `{"page":"AAAA"}`, says("page")},
	{"loop_list", `{"page":` + long(2000) + `}`, says("page")},
	{"loop_list", `{"cursor":1}`, says("cursor")},
}

// TestBadInput: one sentence that names the field, as a tool result; nothing
// is stored or changed, and the server lives on.
func TestBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.startClient(``)
		before := w.ok("loop_inspect", `{"loop_id":"draft-0001"}`).text
		for _, tt := range badInputs {
			r := w.fails(tt.tool, tt.args, tt.want...)
			if len(r.text) > 3000 {
				t.Errorf("%s %.100s: an error of %d bytes", tt.tool, tt.args, len(r.text))
			}
			if r.detail.Code == "internal" {
				t.Errorf("%s %.100s: %s", tt.tool, tt.args, r.text)
			}
		}
		if after := w.ok("loop_inspect", `{"loop_id":"draft-0001"}`).text; after != before {
			t.Errorf("the loop changed:\n%s\n%s", before, after)
		}
		w.ok("loop_list", `{}`).want(t, "items.1", nil)
	})
}

// TestOneProblemAField: about a field that cannot be read nothing else is said.
func TestOneProblemAField(t *testing.T) {
	for raw, into := range map[string]checker{
		`{"loop_id":5}`:                    &waitArgs{},
		`{"loop_id":"a-b2","decision":{}}`: &approveArgs{},
		`{"goal":[],` + until + `}`:        &startArgs{},
	} {
		if found := loops.FieldErrors(decode([]byte(raw), into)); len(found) != 1 {
			t.Errorf("%s: %v, want one problem", raw, found)
		}
	}
}

// TestBadInputWithoutTheHook: transports that do not keep the bytes reach the
// same checks.
func TestBadInputWithoutTheHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		w.keep = false
		w.fails("loop_start", `{"goal":"x","limits":{"max_passes":9007199254740993000000},`+until+`}`, "limits.max_passes")
		w.fails("loop_start", `{"goal":"x","goal":"y",`+until+`}`, "goal")
		w.fails("loop_start", `"x"`, "arguments")
		w.ok("loop_start", `{"goal":"x",`+until+`}`)
	})
}

// TestErrorsAreShort: a client's own megabyte does not come back, nor a
// thousand problems.
func TestErrorsAreShort(t *testing.T) {
	var many problems
	for i := range 1000 {
		many.add(fmt.Sprintf("f%d", i), "%s", strings.Repeat("x", 1<<12))
	}
	d, ok := explain(many.err())
	if !ok || len(d.Message) > 6000 || len(d.Fields) != maxProblems || !strings.Contains(d.Message, "988 more") {
		t.Errorf("%d bytes, %d fields: %.300s", len(d.Message), len(d.Fields), d.Message)
	}
	if d, _ := explain(&loops.RefusedError{Code: "x", Problem: strings.Repeat("x", 1<<20)}); len(d.Message) > 2000 {
		t.Errorf("a refusal of %d bytes", len(d.Message))
	}
}

func TestInternalErrorsAreLogged(t *testing.T) {
	for name, f := range map[string]*fakeEngine{
		"error": {err: fmt.Errorf("disk on fire at /secret/place")},
		"panic": {panics: "disk on fire at /secret/place"},
	} {
		var log strings.Builder
		c := newClient(t, newServer(func(context.Context) (engineAPI, error) { return f, nil },
			&Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
		r := c.fails("loop_list", `{}`, "internal error", "loop_list")
		if r.detail.Code != "internal" || r.detail.ID == "" || !strings.Contains(r.text, r.detail.ID) {
			t.Errorf("%s: %+v", name, r.detail)
		}
		if strings.Contains(r.text, "/secret/place") || !strings.Contains(log.String(), "disk on fire") || !strings.Contains(log.String(), r.detail.ID) {
			t.Errorf("%s: told %q, logged %q", name, r.text, log.String())
		}
	}
}

// TestKeepArguments: what it leaves to mcp-go, and what it keeps.
func TestKeepArguments(t *testing.T) {
	kept := func(ctx context.Context) string {
		raw, _ := ctx.Value(argumentsKey{}).(json.RawMessage)
		return string(raw)
	}
	for _, tt := range []struct{ method, msg, kept string }{
		{"tools/call", `{"id":1,"params":{"name":"t","arguments":{"a":1e400,"a":2},"_meta":{"progressToken":9007199254740993}}}`, `{"a":1e400,"a":2}`},
		{"tools/call", "{\"params\":{\"arguments\":\"\xff\"}}", "\"\xff\""},
		{"tools/call", `{"params":{"name":"t"}}`, ""},
		{"tools/call", `{"params":[]}`, ""},
		{"tools/call", `{`, ""},
		{"tools/list", `{"params":{"arguments":{"a":1}}}`, ""},
	} {
		ctx, msg := KeepArguments(t.Context(), tt.method, json.RawMessage(tt.msg))
		if got := kept(ctx); got != tt.kept {
			t.Errorf("%s: kept %q, want %q", tt.msg, got, tt.kept)
		}
		if tt.kept == "" && string(msg) != tt.msg {
			t.Errorf("%s: changed to %s", tt.msg, msg)
		}
		if tt.kept != "" && (strings.Contains(string(msg), tt.kept) || !strings.Contains(string(msg), `"arguments":{}`)) {
			t.Errorf("%s: passed on %s", tt.msg, msg)
		}
		if strings.Contains(tt.msg, "9007199254740993") && !strings.Contains(string(msg), "9007199254740993") {
			t.Errorf("a large integer changed: %s", msg)
		}
	}
}

// FuzzArguments: whatever a client sends, the answer is a tool result.
func FuzzArguments(f *testing.F) {
	for _, tt := range badInputs {
		if len(tt.args) < 1000 {
			f.Add([]byte(tt.args))
		}
	}
	all := []checker{&startArgs{}, &waitArgs{}, &inspectArgs{}, &continueArgs{}, &forkArgs{}, &approveArgs{}, &pauseArgs{}, &cancelArgs{}, &listArgs{}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, into := range all {
			err := decode(raw, into)
			if err == nil {
				continue
			}
			if d, ok := explain(err); !ok || d.Message == "" || !json.Valid(mustJSON(d)) {
				t.Errorf("%T %q: %v", into, raw, err)
			}
		}
	})
}
