package mcpserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
)

// TestAStateHoldsForItsCallOnly: brought to another call, later, or changed in
// whatever way, it decides nothing.
func TestAStateHoldsForItsCallOnly(t *testing.T) {
	key, now := bytes.Repeat([]byte{7}, 32), time.Unix(1e9, 0)
	who := caller{tool: "loop_approve", owner: "ann", args: []byte(`{"loop_id":"draft-0001","decision":"approve","n":1.0}`)}
	what := asked{Loop: "draft-0001", About: "ap-5", Until: now.Unix()}
	state := stateOf(key, who, what)
	for name, args := range map[string]string{"as it was": string(who.args), "written anew": `{ "n":1.0, "decision" : "approve","loop_id":"draft-000\u0031"}`} {
		again := who
		again.args = []byte(args)
		if got, err := openState(key, again, state, now); err != nil || got != what {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	code := base64.RawURLEncoding
	body, mac, _ := strings.Cut(state, ".")
	other := code.EncodeToString([]byte(`{"l":"draft-0002","a":"ap-5","u":9999999999}`))
	later := code.EncodeToString([]byte(`{"l":"draft-0001","a":"ap-5","u":9999999999}`))
	for name, tt := range map[string]struct {
		key   []byte
		who   caller
		state string
		after time.Duration
		want  error
	}{
		"too late":          {key, who, state, time.Second, errExpired},
		"another key":       {bytes.Repeat([]byte{8}, 32), who, state, 0, errForged},
		"no key":            {nil, who, stateOf(nil, who, what), 0, errForged},
		"another tool":      {key, caller{"loop_wait", who.owner, who.args}, state, 0, errForged},
		"another owner":     {key, caller{who.tool, "bob", who.args}, state, 0, errForged},
		"nobody's":          {key, caller{who.tool, "", who.args}, state, 0, errForged},
		"a shifted border":  {key, caller{who.tool + "a", "nn", who.args}, state, 0, errForged},
		"another decision":  {key, caller{who.tool, who.owner, []byte(`{"loop_id":"draft-0001","decision":"deny","n":1.0}`)}, state, 0, errForged},
		"another loop":      {key, who, other + "." + mac, 0, errForged},
		"more time":         {key, who, later + "." + mac, 0, errForged},
		"no signature":      {key, who, body, 0, errForged},
		"an empty one":      {key, who, body + ".", 0, errForged},
		"a short one":       {key, who, body + "." + mac[:20], 0, errForged},
		"a third part":      {key, who, state + "." + mac, 0, errForged},
		"a line break":      {key, who, state + "\n", 0, errForged},
		"other spare bits":  {key, who, state[:len(state)-1] + string(state[len(state)-1]+1), 0, errForged},
		"padded":            {key, who, state + "=", 0, errForged},
		"empty":             {key, who, "", 0, errForged},
		"a dot":             {key, who, ".", 0, errForged},
		"a megabyte":        {key, who, strings.Repeat("A", 1<<20) + "." + mac, 0, errForged},
		"not base64":        {key, who, "{}.{}", 0, errForged},
		"signed, no object": {key, who, code.EncodeToString([]byte("7")) + "." + code.EncodeToString(sign(key, who, []byte("7"))), 0, errForged},
	} {
		if got, err := openState(tt.key, tt.who, tt.state, now.Add(tt.after)); err != tt.want || got != (asked{}) {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, tt.want)
		}
	}
}

// FuzzRequestState: only a text that this server made opens, and only as it was
// made.
func FuzzRequestState(f *testing.F) {
	key, now := bytes.Repeat([]byte{7}, 32), time.Unix(1e9, 0)
	who := caller{tool: "loop_wait", args: []byte(`{"loop_id":"draft-0001"}`)}
	what := asked{Loop: "draft-0001", About: "ap-5", Until: now.Unix() + 60}
	state := stateOf(key, who, what)
	for _, seed := range []string{state, "", ".", state + ".", state[:len(state)-1] + "A", strings.ToUpper(state), "\n" + state, "e30." + strings.Repeat("A", 43)} {
		f.Add(seed, string(who.args))
	}
	f.Fuzz(func(t *testing.T, text, args string) {
		got, err := openState(key, caller{tool: who.tool, args: []byte(args)}, text, now)
		if err != nil && got != (asked{}) {
			t.Errorf("%v with %+v", err, got)
		}
		if err == nil && (text != state || got != what) {
			t.Errorf("%q opens as %+v", text, got)
		}
	})
}

// TestAnAnswerIsTakenOnce, from whoever has the state, and not from one that
// was made up.
func TestAnAnswerIsTakenOnce(t *testing.T) {
	const yes = `{"action":"accept","content":{"decision":"approve"}}`
	for _, tool := range []string{"loop_wait", "loop_approve"} {
		t.Run(tool, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				p := &asker{newTalker(t, w.s, "modern", forms)}
				id, attention := submitted(w, p.talker, `,"limits":{"max_duration":"72h"}`)
				call, other := args("loop_id", id, "wait_seconds", 3), args("loop_id", id, "wait_seconds", 4)
				if tool == "loop_approve" {
					call = args("loop_id", id, "attention_id", attention, "decision", "approve")
					other = args("loop_id", id, "attention_id", attention, "decision", "deny")
				}
				f := p.form(tool, call)
				before := w.state(id)
				refused := func(args string, more ...string) {
					t.Helper()
					p.ask(tool, args, more...).want(t, "result.isError", true, "result.content.0.text", "~invalid_request_state", "result.content.0.text", "~nothing was decided; call "+tool+" again without")
				}
				refused(other, retry(f, yes)...)
				key, err := w.e.Key(t.Context(), stateKey)
				if err != nil {
					t.Fatal(err)
				}
				changed := f // ours, of another loop
				changed.message = message{"state": stateOf(key, caller{tool: tool, args: []byte(call)}, asked{Loop: "draft-0002", About: attention, Until: time.Now().Unix() + 60})}
				refused(call, retry(changed, yes)...)
				changed = f
				changed.message = message{"state": "x" + fmt.Sprint(f.message["state"])}
				refused(call, retry(changed, yes)...)
				for _, bad := range []string{`{"inputResponses":{"person":` + yes + `}}`, `{"requestState":"","inputResponses":{"person":` + yes + `}}`} {
					// Without a state the answer belongs to no question: it is asked.
					m := p.ask(tool, call, strings.TrimSuffix(strings.TrimPrefix(bad, "{"), "}"))
					m.want(t, "result.resultType", "input_required")
				}
				// With a state and without the answer, it is asked again.
				m := p.ask(tool, call, fmt.Sprintf(`"requestState":%q`, f.message["state"]))
				m.want(t, "result.resultType", "input_required")
				if now := w.state(id); now.Rev != before.Rev {
					t.Fatalf("the loop was changed: %s", now.Summary())
				}
				time.Sleep(stateLife)
				p.fill(f, yes).want(t, "result.structuredContent.stop.detail", "approved by person")
				for _, again := range []string{yes, `{"action":"accept","content":{"decision":"deny"}}`} {
					p.fill(f, again).want(t, "result.structuredContent.status", "completed", "result.structuredContent.next", "~recorded before; it counts once")
				}
				if now := w.state(id); len(now.Requests) != 1 {
					t.Errorf("%+v", now.Requests)
				}
				time.Sleep(time.Second)
				refused(call, retry(f, yes)...) // older than it may be
			})
		})
	}
}

// TestAnOldAnswerIsNoneToANewQuestion: the loop has been denied elsewhere, worked
// on and asks again when the form of its first question comes back.
func TestAnOldAnswerIsNoneToANewQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		p := &asker{newTalker(t, w.s, "modern", forms)}
		id, attention := submitted(w, p.talker, "")
		f := p.form("loop_wait", args("loop_id", id))
		w.ok("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "deny", "message", "no dates"))
		w.ok("loop_continue", args("loop_id", id, "attention_id", "it-2", "output", "draft 2", "wait_seconds", 0))
		synctest.Wait()
		before := w.state(id)
		m := p.fill(f, `{"action":"accept","content":{"decision":"approve"}}`)
		m.want(t, "result.resultType", "input_required", "result.inputRequests.person.params.message", "~> draft 2")
		if now := w.state(id); now.Rev != before.Rev || now.Attention.ID == attention {
			t.Errorf("the loop is %s", now.Summary())
		}
	})
}

// TestAStateOfAnotherProcess is as good as one's own: both have the key of the
// store. One of another store is not.
func TestAStateOfAnotherProcess(t *testing.T) {
	const yes = `{"action":"accept","content":{"decision":"approve"}}`
	synctest.Test(t, func(t *testing.T) {
		w, elsewhere := newWorld(t, nil, nil), newWorld(t, nil, nil)
		first := &asker{newTalker(t, w.s, "modern", forms)}
		id, _ := submitted(w, first.talker, "")
		f := first.form("loop_wait", args("loop_id", id))
		stranger := &asker{newTalker(t, elsewhere.s, "modern", forms)}
		submitted(elsewhere, stranger.talker, "")
		stranger.fill(f, yes).want(t, "result.isError", true, "result.content.0.text", "~invalid_request_state")

		e := loops.New(w.store, loops.Parts{}, nil)
		again := newServer(func(context.Context) (engineAPI, error) { return e, nil }, nil)
		second := &asker{newTalker(t, again, "modern", forms)}
		second.fill(f, yes).want(t, "result.structuredContent.stop.detail", "approved by person")
	})
}

// TestAStateOfAnotherOwner is none, not even in the hands of who may see every
// loop.
func TestAStateOfAnotherOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		ann := WithOwner(t.Context(), "ann")
		call := func(ctx context.Context, tool, args, more string) message {
			t.Helper()
			meta := strings.Replace(modernMeta, `Capabilities":{}`, `Capabilities":`+forms, 1)
			var m message
			if err := json.Unmarshal(w.send(ctx, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s,%s%s}}`, tool, args, meta, more)), &m); err != nil {
				t.Fatal(err)
			}
			return m
		}
		id, _ := call(ann, "loop_start", fmt.Sprintf(clientArgs, ""), "").at("result.structuredContent.loop_id").(string)
		call(ann, "loop_continue", args("loop_id", id, "attention_id", "it-1", "output", "draft 1"), "")
		m := call(ann, "loop_wait", args("loop_id", id), "")
		m.want(t, "result.resultType", "input_required")
		again := fmt.Sprintf(`,"requestState":%q,"inputResponses":{"person":{"action":"accept","content":{"decision":"approve"}}}`, m.at("result.requestState"))
		call(t.Context(), "loop_wait", args("loop_id", id), again).want(t, "result.isError", true, "result.content.0.text", "~invalid_request_state")
		call(WithOwner(t.Context(), "bob"), "loop_wait", args("loop_id", id), again).want(t, "result.isError", true, "result.content.0.text", "~no loop")
		call(ann, "loop_wait", args("loop_id", id), again).want(t, "result.structuredContent.stop.detail", "approved by person")
	})
}

// keyless is an engine whose store takes nothing.
type keyless struct{ engineAPI }

func (keyless) Key(context.Context, string) ([]byte, error) { return nil, loops.ErrUnwritable }

// TestAFullStoreCannotAsk, and a wait says how the loop stands all the same.
func TestAFullStoreCannotAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		full := newServer(func(context.Context) (engineAPI, error) { return keyless{w.e}, nil }, nil)
		p := &asker{newTalker(t, full, "modern", forms)}
		id, attention := submitted(w, p.talker, "")
		p.ask("loop_wait", args("loop_id", id)).want(t, "result.structuredContent.status", "needs_input", "result.structuredContent.next", "~nothing was recorded: the server can't ask now")
		p.ask("loop_approve", args("loop_id", id, "attention_id", attention, "decision", "approve")).want(t, "result.isError", true, "result.content.0.text", "~can't be written to now")
		p.ask("loop_wait", args("loop_id", id), `"requestState":"x.y"`).want(t, "result.isError", true, "result.content.0.text", "~can't be written to now")
	})
}
