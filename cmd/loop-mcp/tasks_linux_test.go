package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// taskClient is a client of 2026-07-28 that takes tasks for answers and can ask a person.
type taskClient struct{ *client }

func (b *box) taskClient() taskClient {
	b.t.Helper()
	return taskClient{b.connect()}
}

var taskMeta = map[string]any{
	"io.modelcontextprotocol/protocolVersion": "2026-07-28",
	"io.modelcontextprotocol/clientCapabilities": map[string]any{
		"elicitation": map[string]any{}, "extensions": map[string]any{"io.modelcontextprotocol/tasks": map[string]any{}},
	},
}

func (c taskClient) modern(method string, params map[string]any) map[string]any {
	c.b.t.Helper()
	params["_meta"] = taskMeta
	return c.request(method, params)
}

// begin starts a trusted loop file as a task and returns its id.
func (c taskClient) begin(name string) string {
	c.b.t.Helper()
	task := c.modern("tools/call", map[string]any{"name": "loop_start", "arguments": map[string]any{"loop_file": name, "wait_seconds": 600}})
	id, _ := task["taskId"].(string)
	if task["resultType"] != "task" || id == "" {
		c.b.t.Fatalf("loop_start: %v, want a task", task)
	}
	return id
}

func (c taskClient) get(id string) map[string]any {
	c.b.t.Helper()
	return c.modern("tasks/get", map[string]any{"taskId": id})
}

// polls asks for a task until it has the status.
func (c taskClient) polls(id, status string) map[string]any {
	c.b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		task := c.get(id)
		if task["status"] == status {
			return task
		}
		select {
		case <-tick.C:
		case <-late:
			c.b.t.Fatalf("the task is %v, not %s", task, status)
		}
	}
}

// listen opens a stream that watches a task, under an id that no other request has.
func (c taskClient) listen(id string) {
	c.b.t.Helper()
	if err := c.send(map[string]any{"jsonrpc": "2.0", "id": "listening", "method": "subscriptions/listen", "params": map[string]any{
		"notifications": map[string]any{"taskIds": []string{id}}, "_meta": taskMeta,
	}}); err != nil {
		c.b.t.Fatal(err)
	}
}

// told reads the stream until the task has the status.
func (c taskClient) told(status string) map[string]any {
	c.b.t.Helper()
	for {
		line, err := c.out.ReadBytes('\n')
		var m struct {
			Method string
			Params map[string]any
		}
		if err == nil {
			err = json.Unmarshal(line, &m)
		}
		if err != nil {
			c.b.t.Fatalf("waiting to be told of %s: %v\n%s", status, err, c.stderr.text())
		}
		if meta, _ := m.Params["_meta"].(map[string]any); m.Method == "notifications/tasks" && meta["io.modelcontextprotocol/subscriptionId"] != "listening" {
			c.b.t.Errorf("not of the stream: %s", line)
		}
		if m.Method == "notifications/tasks" && m.Params["status"] == status {
			return m.Params
		}
	}
}

// output is what the loop of a completed task handed back, and how it ended.
func output(task map[string]any) string {
	result, _ := task["result"].(map[string]any)
	snapshot, _ := result["structuredContent"].(map[string]any)
	return fmt.Sprint(snapshot["status"], ": ", snapshot["output"])
}

func (c taskClient) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// TestATaskOutlivesItsServer: the server is killed while the body works. The next server, of another
// client, has the same task, and brings it to its end.
func TestATaskOutlivesItsServer(t *testing.T) {
	b := newBox(t)
	b.trusted("slow", "slow", "until: {all: [{kind: predicate, expression: score >= 1}]}")
	first := b.taskClient()
	id := first.begin("slow")
	b.untilFile(works + "/begun")
	if task := first.get(id); task["status"] != "working" {
		t.Errorf("at work: %v", task)
	}
	first.kill()

	second := b.taskClient()
	if task := second.get(id); task["status"] != "working" || task["taskId"] != id {
		t.Errorf("after the kill: %v", task)
	}
	b.write(works+"/go-on", "")
	done := second.polls(id, "completed")
	if got := output(done); got != "completed: pass 1" {
		t.Errorf("the result is %s", got)
	}
	if third := b.taskClient(); output(third.get(id)) != output(done) || third.get(id)["createdAt"] != done["createdAt"] {
		t.Errorf("a third server tells of %v", third.get(id))
	}
}

// TestATaskSeenFromAnotherProcess: one server's client starts it, another's listens, is asked, and
// answers; both see the end. Then a third cancels what the first began.
func TestATaskSeenFromAnotherProcess(t *testing.T) {
	b := newBox(t)
	b.trusted("good", "count", "until: {all: [{kind: human, question: Good?}]}")
	b.trusted("sleeper", "sleep", "until: {all: [{kind: human, question: Good?}]}")
	one, two := b.taskClient(), b.taskClient()
	id := one.begin("good")
	two.listen(id)
	asked := two.told("input_required")
	requests, _ := asked["inputRequests"].(map[string]any)
	responses := map[string]any{}
	for key := range requests {
		responses[key] = map[string]any{"action": "accept", "content": map[string]any{"decision": "approve"}}
	}
	if ack := two.modern("tasks/update", map[string]any{"taskId": id, "inputResponses": responses}); len(requests) != 1 || ack["resultType"] != "complete" {
		t.Errorf("asked for %v; the answer was acknowledged with %v", requests, ack)
	}
	if got := output(one.polls(id, "completed")); got != "completed: pass 1" {
		t.Errorf("the first sees %s", got)
	}
	if got := output(two.get(id)); got != "completed: pass 1" {
		t.Errorf("the second sees %s", got)
	}

	id = one.begin("sleeper")
	b.untilFile(works + "/pid")
	three := b.taskClient()
	three.listen(id)
	three.told("working")
	three.modern("tasks/cancel", map[string]any{"taskId": id})
	if task := one.polls(id, "cancelled"); task["result"] != nil {
		t.Errorf("a cancelled task: %v", task)
	}
}

// TestAListenerSurvivesTheHost: the server that hosts the store, works on the loop and is killed is
// another client's. The stream tells the end all the same.
func TestAListenerSurvivesTheHost(t *testing.T) {
	b := newBox(t)
	b.trusted("slow", "slow", "until: {all: [{kind: predicate, expression: score >= 1}]}")
	host := b.taskClient()
	id := host.begin("slow")
	b.untilFile(works + "/begun")
	b.want(0, []string{"host"}, "Process "+host.pid()+" hosts")
	listener := b.taskClient()
	listener.listen(id)
	listener.told("working")
	host.kill()
	b.write(works+"/go-on", "")
	if got := output(listener.told("completed")); got != "completed: pass 1" {
		t.Errorf("the stream tells %s", got)
	}
}

// TestAQuestionOutlivesItsServer: what the task asked before the kill is asked under the same key
// after it, and answered there.
func TestAQuestionOutlivesItsServer(t *testing.T) {
	b := newBox(t)
	b.trusted("good", "count", "until: {all: [{kind: human, question: Good?}]}")
	first := b.taskClient()
	id := first.begin("good")
	asked := first.polls(id, "input_required")["inputRequests"]
	first.kill()
	second := b.taskClient()
	again := second.get(id)
	if fmt.Sprint(again["inputRequests"]) != fmt.Sprint(asked) {
		t.Errorf("asked before the kill: %v, after it: %v", asked, again)
	}
	responses := map[string]any{}
	for key := range asked.(map[string]any) {
		responses[key] = map[string]any{"action": "accept", "content": map[string]any{"decision": "deny", "message": "more"}}
	}
	second.modern("tasks/update", map[string]any{"taskId": id, "inputResponses": responses})
	for denied := ""; denied != "completed: pass 2"; { // the next pass asks again, under another key
		task := second.polls(id, "input_required")
		for key := range task["inputRequests"].(map[string]any) {
			if responses[key] == nil {
				second.modern("tasks/update", map[string]any{"taskId": id, "inputResponses": map[string]any{
					key: map[string]any{"action": "accept", "content": map[string]any{"decision": "approve"}},
				}})
				denied = output(second.polls(id, "completed"))
			}
		}
	}
}
