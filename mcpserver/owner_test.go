package mcpserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/loop-mcp/loops"
)

// as calls on behalf of an owner.
func (w *world) as(owner, tool, args string) reply {
	w.t.Helper()
	return w.callWith(WithOwner(w.t.Context(), owner), tool, args, "")
}

// startAs starts a loop that the owner's client works on.
func (w *world) startAs(owner, more string) string {
	w.t.Helper()
	r := w.as(owner, "loop_start", fmt.Sprintf(clientArgs, more))
	if r.isError {
		w.t.Fatalf("start for %s: %s", owner, r.text)
	}
	return r.get("loop_id").(string)
}

// everyTool are calls of all tools that take a loop, as its own client would make
// them.
var everyTool = []struct{ tool, args string }{
	{"loop_wait", `{"loop_id":%q,"wait_seconds":1}`},
	{"loop_inspect", `{"loop_id":%q}`},
	{"loop_inspect", `{"loop_id":%q,"view":"output"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"iterations"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"events"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"verdicts"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"usage"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"spec"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"why"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"live"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"transcript"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"diff"}`},
	{"loop_fork", `{"loop_id":%q}`},
	{"loop_fork", `{"loop_id":%q,"request_id":"again","message":"mine"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"iteration","iteration":1}`},
	{"loop_inspect", `{"loop_id":%q,"view":"transcript"}`},
	{"loop_inspect", `{"loop_id":%q,"view":"diff"}`},
	{"loop_fork", `{"loop_id":%q}`},
	{"loop_continue", `{"loop_id":%q,"action":"steer","message":"do mine"}`},
	{"loop_continue", `{"loop_id":%q,"action":"submit","output":"mine","attention_id":"a-1"}`},
	{"loop_approve", `{"loop_id":%q,"decision":"set_limits","limits":{"max_passes":99}}`},
	{"loop_approve", `{"loop_id":%q,"decision":"approve","attention_id":"a-1"}`},
	{"loop_pause", `{"loop_id":%q}`},
	{"loop_cancel", `{"loop_id":%q}`},
}

// TestLoopsOfAnotherTokenAreUnknown to every tool: the answer is that for an id
// that never was, and nothing happens to the loop.
func TestLoopsOfAnotherTokenAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		mine, theirs, nobodys := w.startAs("ann", ""), w.startAs("bob", ""), w.startClient("")
		unknown := strings.Repeat("z", 4) + mine[4:]
		for _, c := range everyTool {
			want := w.as("ann", c.tool, fmt.Sprintf(c.args, unknown))
			for _, id := range []string{theirs, nobodys} {
				got := w.as("ann", c.tool, fmt.Sprintf(c.args, id))
				if !got.isError || strings.ReplaceAll(got.text, id, unknown) != want.text || got.detail.Code != want.detail.Code {
					t.Errorf("%s %s: %q, want %q", c.tool, c.args, got.text, want.text)
				}
				if !strings.Contains(got.text, mine) {
					t.Errorf("%s does not name the caller's own loop: %s", c.tool, got.text)
				}
			}
		}
		for _, id := range []string{theirs, nobodys} {
			if s, err := w.e.Get(t.Context(), loops.ID(id)); err != nil || s.Status != loops.YourTurn || len(s.Steers) > 0 {
				t.Errorf("%s was touched: %s, %v", id, s.Status, err)
			}
		}
		w.as("bob", "loop_inspect", fmt.Sprintf(`{"loop_id":%q}`, theirs)).want(t, "status", "your_turn")
	})
}

// A fork belongs to whoever has the original; what it is compared with, too.
func TestForkBelongsToTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		mine, theirs := w.startAs("ann", ""), w.startAs("bob", "")
		hand := func(owner, id string) {
			w.as(owner, "loop_continue", fmt.Sprintf(`{"loop_id":%q,"attention_id":"it-1","output":"by %s"}`, id, owner))
		}
		hand("ann", mine)
		hand("bob", theirs)
		fork, _ := w.as("ann", "loop_fork", fmt.Sprintf(`{"loop_id":%q,"request_id":"r1"}`, mine)).get("loop_id").(string)
		if !loops.ID(fork).Secret() {
			t.Errorf("the fork's id %q can be guessed", fork)
		}
		w.as("ann", "loop_inspect", fmt.Sprintf(`{"loop_id":%q}`, fork)).want(t, "forked_from.loop_id", mine)
		for _, call := range []reply{
			w.as("bob", "loop_inspect", fmt.Sprintf(`{"loop_id":%q}`, fork)),
			w.as("bob", "loop_inspect", fmt.Sprintf(`{"loop_id":%q,"view":"diff","compare_to":%q}`, theirs, mine)),
			w.as("bob", "loop_inspect", fmt.Sprintf(`{"loop_id":%q,"view":"diff","compare_to":%q}`, theirs, mine+"/1")),
		} {
			if !call.isError || call.detail.Code != "not_found" {
				t.Errorf("bob reads what is ann's: %s", call.text)
			}
		}
		local := w.ok("loop_fork", args("loop_id", mine)).get("loop_id").(string) // a person on the machine
		w.as("ann", "loop_inspect", fmt.Sprintf(`{"loop_id":%q}`, local)).want(t, "forked_from.loop_id", mine)
	})
}

// TestResourcesOfAnotherTokenAreUnknown, and no completion proposes them.
func TestResourcesOfAnotherTokenAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		mine, theirs := w.startAs("ann", ""), w.startAs("bob", "")
		unknown := strings.Repeat("z", 4) + theirs[4:]
		ann := dialAs(t, w.s, false, "ann")
		for _, path := range []string{"", "/iterations/1", "/transcript"} {
			got := ann.ask("resources/read", fmt.Sprintf(`{"uri":"loop://%s%s"}`, theirs, path))
			want := ann.ask("resources/read", fmt.Sprintf(`{"uri":"loop://%s%s"}`, unknown, path))
			if got.Error == nil || want.Error == nil || strings.ReplaceAll(got.Error.Message, theirs, unknown) != want.Error.Message {
				t.Errorf("%s: %+v, want %+v", path, got.Error, want.Error)
			}
		}
		for method, params := range map[string]string{
			"resources/list":      `{}`,
			"resources/read":      `{"uri":"` + recentURI + `"}`,
			"completion/complete": `{"ref":{"type":"ref/resource","uri":"` + loopTemplate + `"},"argument":{"name":"id","value":"draft"}}`,
		} {
			got := ann.ask(method, params)
			if text := string(got.Result); got.Error != nil || strings.Contains(text, theirs) || !strings.Contains(text, mine) {
				t.Errorf("%s: %s %+v", method, text, got.Error)
			}
		}
	})
}

func TestListsShowTheOwnersLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		ids := map[string]string{"ann": w.startAs("ann", ""), "bob": w.startAs("bob", ""), "": w.startClient("")}
		for owner, id := range ids {
			if owner == "" {
				continue
			}
			r := w.as(owner, "loop_list", `{}`)
			if !strings.Contains(r.text, id) || r.get("loops.1") != nil {
				t.Errorf("%s sees %s", owner, r.text)
			}
		}
		for name, r := range map[string]reply{"the command line": w.ok("loop_list", `{}`), "who needs no token": w.as("", "loop_list", `{}`)} {
			for _, id := range ids {
				if !strings.Contains(r.text, id) {
					t.Errorf("%s does not see %s: %s", name, id, r.text)
				}
			}
		}
	})
}

// TestTwoOwnersUseTheSameRequestID: each gets a loop of its own, and the same one
// again.
func TestTwoOwnersUseTheSameRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		const more = `,"request_id":"r1"`
		first := map[string]string{}
		for _, owner := range []string{"ann", "bob"} {
			first[owner] = w.startAs(owner, more)
		}
		if first["ann"] == first["bob"] {
			t.Errorf("both got %s", first["ann"])
		}
		for owner, id := range first {
			if again := w.startAs(owner, more); again != id {
				t.Errorf("%s got %s, then %s", owner, id, again)
			}
		}
		if id := w.startClient(more); id == first["ann"] || id == first["bob"] {
			t.Errorf("the command line got %s", id)
		}
	})
}

// TestIDsOverANetworkCanNotBeGuessed, whether there are tokens or not.
func TestIDsOverANetworkCanNotBeGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		for _, owner := range []string{"", "ann"} {
			if id := w.startAs(owner, ""); !loops.ID(id).Secret() {
				t.Errorf("owner %q got %s", owner, id)
			}
		}
		if id := w.startClient(""); loops.ID(id).Secret() {
			t.Errorf("the command line got %s", id)
		}
	})
}

// TestADamagedLoopIsShownToItsOwner alone.
func TestADamagedLoopIsShownToItsOwner(t *testing.T) {
	damaged := loops.State{ID: "draft-1", Status: loops.Failed, Stop: &loops.Stop{Reason: loops.FailQuarantined}}
	e := &ownedEngine{engine: &fakeEngine{state: damaged, heads: []loops.Head{{ID: "draft-1", Owner: "ann"}}}, owner: "ann"}
	if s, err := e.Get(t.Context(), "draft-1"); err != nil || s.Status != loops.Failed {
		t.Errorf("%s, %v", s.Status, err)
	}
	e = &ownedEngine{engine: &fakeEngine{state: damaged}, owner: "bob"}
	if s, err := e.Get(t.Context(), "draft-1"); err == nil {
		t.Errorf("another owner sees %+v", s)
	}
}
