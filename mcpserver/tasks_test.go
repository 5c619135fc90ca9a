package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/mcpserver/stdio"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/google/go-cmp/cmp"
)

// What clients of tasks declare.
const (
	takesTasks     = `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	takesTasksAsks = `{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
)

// taskClient is a client over stdio of a server with the layer.
type taskClient struct{ *talker }

func (w *world) taskClient(caps string, opts *Options) *taskClient {
	w.t.Helper()
	layer := tasks.New(NewTasks(func(context.Context) (*loops.Engine, error) { return w.e, nil }, opts), nil)
	return &taskClient{talk(w.t, w.s, &stdio.Options{Before: KeepArguments, Around: layer.Around}, "modern", caps)}
}

// send sends a request and returns what comes first.
func (c *taskClient) send(method, params string) message {
	c.t.Helper()
	c.last++
	c.write(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s,%s}}`, c.last, method, params, c.modern)
	return c.one()
}

// begin starts a loop as a task and returns its id.
func (c *taskClient) begin(args string) string {
	c.t.Helper()
	m := c.ask("loop_start", args)
	id, _ := m.at("result.taskId").(string)
	if m.at("result.resultType") != "task" || !loops.ID(id).Secret() {
		c.t.Fatalf("loop_start %s: %v, want a task with a secret id", args, m)
	}
	return id
}

func (c *taskClient) get(id string) message {
	c.t.Helper()
	return c.send("tasks/get", fmt.Sprintf(`"taskId":%q`, id))
}

func (c *taskClient) update(id, responses string) message {
	c.t.Helper()
	return c.send("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":%s`, id, responses))
}

// key is the key of the one thing that a task asks for.
func (c *taskClient) key(m message) string {
	c.t.Helper()
	requests, _ := m.at("result.inputRequests").(map[string]any)
	for key := range requests {
		if len(requests) == 1 {
			return key
		}
	}
	c.t.Fatalf("asks for %v, want one thing", requests)
	return ""
}

// handlerTask starts a loop as a task whose handler works until it says ok.
const handlerTask = `{"name":"say","goal":"say ok","body":{"kind":"handler","name":"worker"},"until":{"all":[{"kind":"contains"}]},"wait_seconds":51%s}`

// TestALoopAsATask: durable before the answer, read by its id, ended by its goal; the result is what
// a call that waited would have been answered with.
func TestALoopAsATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			time.Sleep(time.Minute)
			return loops.Result{Output: map[int]string{1: "no", 2: "ok"}[turn.Iteration], Done: true}, nil
		})
		w := newWorld(t, slow, nil)
		c := w.taskClient(takesTasks, &Options{Retention: 24 * time.Hour})
		began := time.Now().UTC()
		id := c.begin(fmt.Sprintf(handlerTask, `,"labels":{"a":"b"}`))
		stamp := "2006-01-02T15:04:05.000Z"
		c.get(id).want(t, "result.resultType", "complete", "result.taskId", id, "result.status", "working", "result.result", nil, "result.pollIntervalMs", 2000,
			"result.createdAt", began.Format(stamp), "result.ttlMs", 24*3600*1000.0, "result.statusMessage", "~"+id+" running · pass 1/10")
		w.ok("loop_inspect", args("loop_id", id)).want(t, "status", "running")
		time.Sleep(90 * time.Second)
		c.get(id).want(t, "result.status", "working", "result.statusMessage", "~iteration 1/", "result.lastUpdatedAt", began.Add(time.Minute).Format(stamp))
		time.Sleep(time.Hour)
		m := c.get(id)
		m.want(t, "result.status", "completed", "result.lastUpdatedAt", began.Add(2*time.Minute).Format(stamp), "result.ttlMs", (24*3600+120)*1000.0,
			"result.result.resultType", "complete", "result.result.isError", nil, "result.result.structuredContent.output", "ok",
			"result.result.structuredContent.stop.reason", "goal.predicate", "result.result.structuredContent.limits.max_passes", 10)
		var text any
		_ = json.Unmarshal([]byte(fmt.Sprint(m.at("result.result.content.0.text"))), &text)
		if diff := cmp.Diff(m.at("result.result.structuredContent"), text); diff != "" || text == nil {
			t.Errorf("the halves of the result differ:\n%s", diff)
		}
	})
}

// TestCallsThatMakeNoTask are answered as ever: without the extension, by clients of older
// protocols, with waits that a call may last, for dry runs, for the client's own work, for mistakes.
func TestCallsThatMakeNoTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("ok")), nil)
		for args, want := range map[string]string{
			strings.Replace(handlerTask, "51", "50", 1):                                                                       "completed",
			strings.Replace(handlerTask, `,"wait_seconds":51`, "", 1):                                                         "queued",
			strings.Replace(handlerTask, "%s", `,"dry_run":true%s`, 1):                                                        "",
			strings.Replace(clientArgs, "%s", `,"wait_seconds":100%s`, 1):                                                     "your_turn",
			`{"goal":"x","body":{"kind":"client"},"until":{"any":[{"kind":"human","question":"?"}]},"wait_seconds":999999%s}`: "your_turn",
			strings.Replace(handlerTask, `"goal":"say ok"`, `"goal":7`, 1):                                                    "error",
			strings.Replace(handlerTask, `"goal":"say ok"`, `"goal":""`, 1):                                                   "error",
			strings.Replace(handlerTask, "51", `"51"`, 1):                                                                     "error",
			strings.Replace(handlerTask, "51", `1.5`, 1):                                                                      "error",
			strings.Replace(handlerTask, "%s", `,"labels":{"":""}%s`, 1):                                                      "error",
			`{"goal":"x","body":{"kind":"command","run":["x"]},"wait_seconds":100%s}`:                                         "error",
			`{"loop_file":"nope","wait_seconds":100%s}`:                                                                       "error",
			strings.Replace(handlerTask, `,"until":{"all":[{"kind":"contains"}]}`, `,"until":{"all":[{"kind":"x"}]}`, 1):      "error",
		} {
			c := w.taskClient(takesTasks, nil)
			m := c.ask("loop_start", fmt.Sprintf(args, ""))
			id, _ := m.at("result.structuredContent.loop_id").(string)
			if m.at("result.resultType") != "complete" || m.at("result.taskId") != nil || loops.ID(id).Secret() {
				t.Errorf("%s: %v, want no task", args, m)
			}
			if failed := m.at("result.isError") == true; failed != (want == "error") || !failed && fmt.Sprint(m.at("result.structuredContent.status")) != fmt.Sprint(orNil(want)) {
				t.Errorf("%s: %v, want %s", args, m, want)
			}
		}
		w.taskClient(`{"elicitation":{}}`, nil).ask("loop_start", fmt.Sprintf(handlerTask, "")).want(t, "result.taskId", nil, "result.resultType", "complete", "result.structuredContent.timed_out", false)
		w.ok("loop_start", fmt.Sprintf(handlerTask, "")).want(t, "status", "completed", "timed_out", false)
		if n := len(w.ok("loop_list", `{"limit":100}`).get("items").([]any)); n != 6 {
			t.Errorf("%d loops were started, want the 6 that were answered with one", n)
		}
	})
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// TestTheSameRequestTheSameTask: a client that lost the answer asks again. A loop that began
// otherwise keeps its short id and is no task.
func TestTheSameRequestTheSameTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("ok")), nil)
		c := w.taskClient(takesTasks, nil)
		id := c.begin(fmt.Sprintf(handlerTask, `,"request_id":"r1"`))
		if again := c.begin(fmt.Sprintf(handlerTask, `,"request_id":"r1"`)); again != id {
			t.Errorf("the same request gives %s and %s", id, again)
		}
		time.Sleep(time.Minute)
		c.ask("loop_start", fmt.Sprintf(handlerTask, `,"request_id":"r1"`)).want(t, "result.taskId", id, "result.status", "completed", "result.result", nil)
		w.ok("loop_start", fmt.Sprintf(handlerTask, `,"request_id":"r1"`)).want(t, "loop_id", id, "reused", true)

		short := w.startHandler(`,"request_id":"r2"`)
		c.ask("loop_start", fmt.Sprintf(handlerTask, `,"request_id":"r2"`)).want(t, "result.taskId", nil, "result.structuredContent.loop_id", short, "result.structuredContent.reused", true)
		c.ask("loop_start", strings.Replace(fmt.Sprintf(handlerTask, `,"request_id":"r1"`), "say ok", "say more ok", 1)).want(t, "result.isError", true, "result.content.0.text", "~request_id")
	})
}

// TestWhatIsNoTask: short ids, loops whose worker is the client, nonsense; all with one answer.
func TestWhatIsNoTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loopstest.Script(loopstest.Done("ok")), nil)
		out, err := w.e.Start(t.Context(), loops.StartRequest{SecretID: true, Spec: loops.Spec{
			Name: "mine", Goal: "x", Body: loops.BodySpec{Kind: loops.BodyClient}, Until: &loops.Until{All: []loops.Condition{{Kind: "human", Question: "?"}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c := w.taskClient(takesTasks, nil)
		for _, id := range []string{w.startHandler(``), w.startClient(``), string(out.ID), "nope-" + strings.Repeat("a", 26), "../" + strings.Repeat("a", 26), "NOPE"} {
			for method, more := range map[string]string{"tasks/get": "", "tasks/cancel": "", "tasks/update": `,"inputResponses":{"q-1":{}}`} {
				c.send(method, fmt.Sprintf(`"taskId":%q%s`, id, more)).want(t, "error.code", -32602, "error.message", "~task not found")
			}
		}
		if s, err := w.e.Get(t.Context(), out.ID); err != nil || s.Status != loops.YourTurn {
			t.Errorf("the client's loop is %s (%v)", s.Status, err)
		}
	})
}

// TestHowLoopsEndAsTasks: a limit, a failure and a dead end are results; only a cancelled loop is a
// cancelled task.
func TestHowLoopsEndAsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			switch turn.Goal {
			case "fail":
				return loops.Result{}, loops.Permanent(errors.New("no such thing"))
			case "sleep":
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Minute):
				}
				return loops.Result{Output: "slept"}, ctx.Err()
			}
			return loops.Result{Output: fmt.Sprint("try ", turn.Iteration), Done: true}, nil
		})
		w := newWorld(t, body, nil)
		c := w.taskClient(takesTasks, nil)
		begin := func(goal, limits string) string {
			return c.begin(fmt.Sprintf(`{"goal":%q,"body":{"kind":"handler","name":"worker"},"until":{"all":[{"kind":"contains"}]},"wait_seconds":100,"limits":%s}`, goal, limits))
		}
		capped, failed, cancelled, paused := begin("x", `{"max_passes":3}`), begin("fail", `{}`), begin("sleep", `{}`), begin("sleep", `{}`)
		time.Sleep(time.Minute)
		c.get(capped).want(t, "result.status", "completed", "result.result.structuredContent.stop.reason", "cap.passes", "result.result.isError", nil, "result.result.structuredContent.output", "try 3")
		c.get(failed).want(t, "result.status", "completed", "result.result.structuredContent.status", "failed", "result.result.isError", nil)

		for range 2 {
			if m := c.send("tasks/cancel", fmt.Sprintf(`"taskId":%q`, cancelled)); m.at("result.resultType") != "complete" || m.at("result.taskId") != nil {
				t.Errorf("tasks/cancel: %v", m)
			}
			c.send("tasks/cancel", fmt.Sprintf(`"taskId":%q`, capped)).want(t, "result.resultType", "complete")
			time.Sleep(time.Minute)
			c.get(cancelled).want(t, "result.status", "cancelled", "result.result", nil, "result.statusMessage", "~cancelled (cancel.client)")
		}
		c.get(capped).want(t, "result.status", "completed")

		w.ok("loop_pause", args("loop_id", paused))
		time.Sleep(5 * time.Minute)
		c.get(paused).want(t, "result.status", "working", "result.pollIntervalMs", 5000, "result.statusMessage", "~Paused until someone resumes it: call loop_continue with loop_id "+paused)
	})
}

// TestATaskThatEndedStaysSo: a capped loop goes on with more passes, and the task shows what comes of
// it without ever being at work again; nor does a late tasks/cancel end the loop.
func TestATaskThatEndedStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := loops.BodyFunc(func(ctx context.Context, turn loops.Turn) (loops.Result, error) {
			time.Sleep(time.Minute)
			return loops.Result{Output: strings.Repeat("o", turn.Iteration-1) + "k", Done: true}, nil
		})
		w := newWorld(t, body, nil)
		c := w.taskClient(takesTasks, nil)
		id := c.begin(fmt.Sprintf(handlerTask, `,"limits":{"max_passes":1}`))
		time.Sleep(5 * time.Minute)
		c.get(id).want(t, "result.status", "completed", "result.result.structuredContent.status", "capped")
		w.ok("loop_approve", args("loop_id", id, "decision", "set_limits", "limits", map[string]any{"max_passes": 5}))
		time.Sleep(time.Second)
		c.send("tasks/cancel", fmt.Sprintf(`"taskId":%q`, id)).want(t, "result.resultType", "complete")
		c.update(id, `{"ap-1":{"action":"accept"}}`).want(t, "result.resultType", "complete")
		c.get(id).want(t, "result.status", "completed", "result.result.structuredContent.status", "running", "result.result.structuredContent.next", "~loop_wait")
		time.Sleep(time.Hour)
		c.get(id).want(t, "result.status", "completed", "result.result.structuredContent.status", "completed", "result.result.structuredContent.output", "ok")
	})
}

// TestTasksWithoutAStore: looking needs none, and asking says why there is none.
func TestTasksWithoutAStore(t *testing.T) {
	opened := 0
	open := func(context.Context) (*loops.Engine, error) {
		opened++
		return nil, errors.New("/data is not writable")
	}
	synctest.Test(t, func(t *testing.T) {
		layer := tasks.New(NewTasks(open, nil), nil)
		c := &taskClient{talk(t, New(open, nil), &stdio.Options{Before: KeepArguments, Around: layer.Around}, "modern", takesTasks)}
		c.send("server/discover", `"x":1`).want(t, "result.capabilities.extensions", `map[io.modelcontextprotocol/tasks:map[]]`)
		c.send("tools/list", `"x":1`).want(t, "error", nil)
		if opened > 0 {
			t.Errorf("looking opened the store")
		}
		c.get("say-"+strings.Repeat("a", 26)).want(t, "error.code", -32603, "error.message", "~/data is not writable")
		was := opened
		none := tasks.New(NewTasks(open, &Options{HasStore: func() (bool, error) { return false, nil }}), nil)
		n := &taskClient{talk(t, New(open, nil), &stdio.Options{Around: none.Around}, "modern", takesTasks)}
		n.get("say-"+strings.Repeat("a", 26)).want(t, "error.code", -32602)
		if opened != was {
			t.Error("a task was looked for in a store made for it")
		}
		c.ask("loop_start", fmt.Sprintf(handlerTask, "")).want(t, "result.isError", true, "result.content.0.text", "~/data is not writable")
	})
}

// TestErrorsOfTasks: what a client can do something about reaches it with a code and a sentence.
func TestErrorsOfTasks(t *testing.T) {
	id := "say-" + strings.Repeat("a", 26)
	for _, c := range []struct {
		err        error
		code       int
		says, kind string
	}{
		{&loops.RefusedError{Code: "own_loop", Problem: "it runs this process", Remedy: "hand in"}, -32600, "hand in", "own_loop"},
		{fmt.Errorf("get: %w", loops.ErrUnwritable), -32603, "get", "unavailable"},
		{fmt.Errorf("get: %w", loops.ErrUnanswered), -32603, "the same call can be made again", "unavailable"},
		{fmt.Errorf("get: %w", loops.ErrDamaged), -32603, "other loops are not affected", "damaged"},
		{loops.ErrClosed, -32603, "loop_list shows it", "unavailable"},
	} {
		b := newTasks(func(context.Context) (engineAPI, error) { return &fakeEngine{err: c.err}, nil }, nil)
		_, err := b.Get(t.Context(), id)
		told, ok := errors.AsType[*tasks.Error](err)
		if !ok || told.Code != c.code || !strings.Contains(told.Message, c.says) || fmt.Sprint(told.Data) == "" || told.Data.(map[string]any)["code"] != c.kind {
			t.Errorf("%v: %+v, want %d %s", c.err, told, c.code, c.kind)
		}
		if also := b.Update(t.Context(), id, nil); fmt.Sprint(also) != fmt.Sprint(err) {
			t.Errorf("tasks/update: %v, want %v", also, err)
		}
		for _, watched := range b.Watch(t.Context(), id) {
			if fmt.Sprint(watched) != fmt.Sprint(err) {
				t.Errorf("a watch: %v, want %v", watched, err)
			}
		}
	}
	b := newTasks(func(context.Context) (engineAPI, error) { return &fakeEngine{err: errors.New("a bug")}, nil }, nil)
	if _, err := b.Get(t.Context(), id); err == nil || errors.As(err, new(*tasks.Error)) {
		t.Errorf("what nobody knows about is told as %v, want the layer to log it", err)
	}
}
