package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// briefs are the engine's to word, and pinned there.
var briefs = regexp.MustCompile(`(prompt\\*":\\*")You are the worker.*?[^\\](\\*"},)`)

// TestTranscripts pins whole conversations on the wire, in both eras of the
// protocol.
func TestTranscripts(t *testing.T) {
	call := func(tool, args string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, args)
	}
	modern := func(msg string) string { return strings.Replace(msg, `"params":{`, `"params":{`+modernMeta+`,`, 1) }
	conversations := map[string][]string{
		"client_loop": {
			call("loop_start", `{"name":"draft","goal":"Write CHANGES.md","until":{"all":[{"kind":"human","question":"Is it good?"}]},"request_id":"r1"}`),
			call("loop_continue", `{"loop_id":"draft-0001","attention_id":"it-1","output":"# Changes","usage":{"cost_usd":0.05}}`),
			call("loop_approve", `{"loop_id":"draft-0001","decision":"aprove","reason":"no dates"}`),
			call("loop_approve", `{"loop_id":"draft-0001","decision":"deny","attention_id":"ap-5","message":"no dates"}`),
			call("loop_wait", `{"loop_id":"draft-0001","cursor":5}`),
			call("loop_inspect", `{"loop_id":"draft-0001","view":"why"}`),
			call("loop_list", `{}`),
			call("loop_cancel", `{"loop_id":"draft-0001"}`),
		},
		"modern": {
			modern(call("loop_start", `{"name":"say","goal":"say ok","body":{"kind":"handler","name":"worker"},"until":{"all":[{"kind":"contains"}]},"wait_seconds":10}`)),
			modern(call("loop_inspect", `{"loop_id":"say-0001","view":"iterations"}`)),
			modern(call("loop_wait", `{"loop_id":"say-0002"}`)),
		},
	}
	for name, lines := range conversations {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, loopstest.Script(loopstest.Done("no"), loopstest.Done("ok")), nil)
				var out strings.Builder
				for _, line := range lines {
					fmt.Fprintf(&out, "→ %s\n← %s\n", line, briefs.ReplaceAll(w.send(t.Context(), line), []byte("${1}(the brief)$2")))
					synctest.Wait()
				}
				golden(t, "wire/"+name+".transcript", []byte(out.String()))
			})
		})
	}
}

// files serves one loop file.
type files struct {
	name  string
	found FoundFile
	err   error
}

func (f files) Find(_ context.Context, name string) (FoundFile, error) {
	if f.err != nil {
		return FoundFile{}, f.err
	}
	if name != f.name {
		return FoundFile{}, fmt.Errorf("no loop file %q; there is %s", name, f.name)
	}
	return f.found, nil
}

func (f files) List(context.Context) ([]FoundFile, error) {
	found := f.found
	found.Name = f.name
	return []FoundFile{found}, f.err
}

// TestStartFromALoopFile: only a trusted one, from its folder, with the call's
// limits before the file's.
func TestStartFromALoopFile(t *testing.T) {
	found := FoundFile{
		Spec: loops.Spec{Name: "fix", Goal: "fix {{ inputs.package }}", Limits: loops.Limits{MaxPasses: 7, MaxCostUSD: loops.Dollar},
			Inputs: map[string]loops.Input{"package": {Type: "string"}}},
		Dir: "/work/project", Path: "/work/project/.loops/fix.loop.yaml", Trusted: true,
	}
	untrusted := found
	untrusted.Trusted = false
	serve := func(f Files) (*client, *fakeEngine) {
		e := &fakeEngine{state: loops.State{ID: "fix-0001", Status: loops.Queued}}
		return newClient(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, &Options{Files: f})), e
	}
	c, e := serve(files{name: "fix", found: found})
	c.ok("loop_start", `{"loop_file":"fix","inputs":{"package":"./x"},"limits":{"max_passes":3,"max_duration":"1h"},"labels":{"a":"b"},"request_id":"r"}`)
	r := e.started
	want := loops.Limits{MaxPasses: 3, MaxCostUSD: loops.Dollar, MaxDuration: loops.Duration(time.Hour)}
	if r.Source != loops.SourceTrustedFile || r.Dir != found.Dir || r.Spec.Goal != found.Spec.Goal || r.Spec.Limits != want ||
		r.Inputs["package"] != "./x" || r.Labels["a"] != "b" || r.RequestID != "r" {
		t.Errorf("started %+v", r)
	}
	c.fails("loop_start", `{"loop_file":"fxi"}`, "loop_file", "there is fix")

	c, _ = serve(files{err: &loops.FieldError{Field: "loop_file", Problem: "there is no loop file fix in .loops"}})
	if r := c.fails("loop_start", `{"loop_file":"fix"}`, "there is no"); r.text != "loop_file: there is no loop file fix in .loops" {
		t.Errorf("a file that is not there is told as: %s", r.text)
	}

	c, e = serve(files{name: "fix", found: untrusted})
	if r := c.fails("loop_start", `{"loop_file":"fix"}`, "not_trusted", "loop-mcp trust "+found.Path); r.detail.Code != "not_trusted" || e.started.Source != "" {
		t.Errorf("%+v, started %+v", r.detail, e.started)
	}
	c, _ = serve(files{err: errors.Join(&loops.FieldError{Field: "limits.max_passes", Problem: "must be at least 1", Line: 9}, &loops.FieldError{Field: "goal", Problem: "is missing"})})
	c.fails("loop_start", `{"loop_file":"fix"}`, "loop_file", "line 9: limits.max_passes", "goal: is missing")

	c, _ = serve(files{err: fmt.Errorf("open: %w", &loops.RefusedError{Code: "not_trusted", Problem: "the file changed", Remedy: "read it"})})
	if r := c.fails("loop_start", `{"loop_file":"fix"}`, "the file changed; read it"); r.detail.Code != "not_trusted" {
		t.Errorf("code %q", r.detail.Code)
	}

	c, e = serve(nil)
	c.ok("loop_start", `{"goal":"x","body":{"kind":"handler","name":"worker"}}`)
	if e.started.Source != loops.SourceTool || e.started.Dir != "" {
		t.Errorf("a spec from a tool came as %+v", e.started)
	}
}

// TestContentsAreReadable: <, > and & reach a model that is shown the text as
// they are.
func TestContentsAreReadable(t *testing.T) {
	e := &fakeEngine{state: loops.State{ID: "fix-0001", Status: loops.Completed, Output: loops.Text{Text: "a < b && c"}}}
	c := newClient(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil))
	if r := c.ok("loop_wait", `{"loop_id":"fix-0001"}`); !strings.Contains(r.text, "a < b && c") || !json.Valid([]byte(r.text)) {
		t.Errorf("text %s", r.text)
	}
}

// TestDoneStandsWhenTheWaitFails: what was stored is told, whatever the wait
// came to.
func TestDoneStandsWhenTheWaitFails(t *testing.T) {
	e := &failingWait{fakeEngine{state: loops.State{ID: "fix-0001", Status: loops.Running}}}
	c := newClient(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil))
	c.ok("loop_start", `{"goal":"x","body":{"kind":"handler","name":"w"},"wait_seconds":5}`).want(t, "loop_id", "fix-0001", "timed_out", true)
	c.fails("loop_wait", `{"loop_id":"fix-0001"}`, "internal error")
}

type failingWait struct{ fakeEngine }

func (failingWait) Wait(context.Context, loops.ID, uint64, loops.WaitFor, time.Duration, func(loops.Head)) (loops.State, bool, error) {
	return loops.State{}, false, errors.New("the watch broke")
}

// TestRequests: what each call asks of the engine.
func TestRequests(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		tool, args string
		want       loops.Request
	}{
		{"loop_continue", `{"output":"x","attention_id":"it-1","done":false,"memory":{"a":1},"message":"note","request_id":"r"}`,
			loops.Request{Action: loops.Submit, Output: "x", AttentionID: "it-1", Done: &no, Memory: json.RawMessage(`{"a":1}`), Message: "note", RequestID: "r"}},
		{"loop_continue", `{"output":"","attention_id":"it-1","done":true}`, loops.Request{Action: loops.Submit, AttentionID: "it-1", Done: &yes}},
		{"loop_continue", `{"action":"answer","message":"x","attention_id":"q-1"}`, loops.Request{Action: loops.AnswerIt, Message: "x", AttentionID: "q-1"}},
		{"loop_continue", `{"message":"x"}`, loops.Request{Action: loops.SteerIt, Message: "x"}},
		{"loop_continue", `{}`, loops.Request{Action: loops.ResumeIt}},
		{"loop_continue", `{"action":"reopen","message":"x"}`, loops.Request{Action: loops.Reopen, Message: "x"}},
		{"loop_approve", `{"decision":"approve","attention_id":"ap-1","message":"x"}`, loops.Request{Action: loops.Approve, AttentionID: "ap-1", Message: "x"}},
		{"loop_approve", `{"decision":"set_limits","limits":{"max_cost_usd":0.5}}`, loops.Request{Action: loops.SetLimits, Limits: loops.Limits{MaxCostUSD: loops.Dollar / 2}}},
		{"loop_pause", `{"reason":"x"}`, loops.Request{Action: loops.PauseIt, Message: "x"}},
		{"loop_cancel", `{"reason":"x"}`, loops.Request{Action: loops.CancelIt, Message: "x"}},
		{"loop_cancel", `{"mode":"graceful"}`, loops.Request{Action: loops.CancelIt}},
		{"loop_cancel", `{"mode":"now"}`, loops.Request{Action: loops.CancelIt, Now: true}},
	} {
		e := &fakeEngine{state: loops.State{ID: "fix-0001", Status: loops.Running}}
		c := newClient(t, newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil))
		c.ok(tt.tool, strings.Replace(strings.Replace(tt.args, "{", `{"loop_id":"fix-0001",`, 1), ",}", "}", 1))
		tt.want.By = "client"
		if diff := cmp.Diff(tt.want, e.asked, cmpopts.IgnoreUnexported(loops.Request{})); diff != "" {
			t.Errorf("%s %s:\n%s", tt.tool, tt.args, diff)
		}
	}
}
