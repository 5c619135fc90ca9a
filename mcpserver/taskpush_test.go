package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/mcpserver/stdio"
	"example.com/loop-mcp/mcpserver/tasks"
	"github.com/google/go-cmp/cmp"
)

// TestPushesOfALoop: a stream tells how the loop stands, asks, and shows the end.
func TestPushesOfALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), nil)
		c := w.taskClient(takesTasksAsks, nil)
		id := c.begin(fmt.Sprintf(handlerTask, ""))
		synctest.Wait()
		c.last++
		c.write(`{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":{"notifications":{"taskIds":[%q,"nope"],"resourceSubscriptions":["loop://%[2]s"]},%[3]s}}`, c.last, id, c.modern)
		got := c.read()
		if len(got) != 2 {
			t.Fatalf("the stream begins with %v", got)
		}
		message(got[0]).want(t, "method", "notifications/subscriptions/acknowledged", "params.notifications.taskIds", []any{id},
			"params.notifications.resourceSubscriptions", []any{"loop://" + id})
		asked := message{"result": got[1]["params"]}
		asked.want(t, "result.status", "input_required", "result.taskId", id)
		listening := c.last

		c.last++
		c.write(`{"jsonrpc":"2.0","id":%d,"method":"tasks/update","params":{"taskId":%q,"inputResponses":{%q:{"action":"accept","content":{"answer":"red"}}},%s}}`,
			c.last, id, c.key(asked), c.modern)
		time.Sleep(time.Minute)
		var painted message
		updated := 0
		for _, m := range c.read() {
			switch {
			case m["method"] == "notifications/tasks":
				painted = m
			case m["method"] == nil:
				message(m).want(t, "result.resultType", "complete")
			default:
				message(m).want(t, "method", "notifications/resources/updated", "params.uri", "loop://"+id, "params._meta", fmt.Sprintf("~subscriptionId:%d", listening))
				updated++
			}
		}
		if updated == 0 {
			t.Error("the same stream tells nothing of the resource")
		}
		painted.want(t, "params.status", "input_required", "params.inputRequests", "~painted red")
		w.ok("loop_approve", args("loop_id", id, "decision", "approve", "attention_id", strings.Split(c.key(message{"result": painted["params"]}), ".")[0]))
		time.Sleep(time.Minute)
		var told message
		for _, m := range c.read() {
			if m["method"] == "notifications/tasks" {
				told = m
			}
		}
		told.want(t, "params.status", "completed", "params.result.structuredContent.output", "~ok: approved")
		w.ok("loop_continue", args("loop_id", id, "action", "reopen", "message", "more"))
		time.Sleep(time.Hour)
		for _, m := range c.read() {
			if m["method"] == "notifications/tasks" {
				t.Errorf("after its end the task is told of again: %v", m)
			}
		}
		c.write(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, listening)
		c.get(id).want(t, "result.status", "completed")
	})
}

// TestTasksOfAnotherTokenAreUnknown: to every request, and in every acknowledgement.
func TestTasksOfAnotherTokenAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), nil)
		client := func(owner string) *taskClient {
			layer := tasks.New(NewTasks(func(context.Context) (*loops.Engine, error) { return w.e, nil }, nil), nil)
			return &taskClient{talk(t, w.s, &stdio.Options{Around: layer.Around, Before: func(ctx context.Context, method string, msg json.RawMessage) (context.Context, json.RawMessage) {
				return KeepArguments(WithOwner(ctx, owner), method, msg)
			}}, "modern", takesTasksAsks)}
		}
		ann, bob := client("ann"), client("bob")
		id := ann.begin(fmt.Sprintf(handlerTask, `,"request_id":"r1"`))
		synctest.Wait()
		key := ann.key(ann.get(id))
		never := strings.Replace(id, "say-", "tell-", 1)
		for method, params := range map[string]string{
			"tasks/get": `"taskId":%q`, "tasks/cancel": `"taskId":%q`,
			"tasks/update": `"taskId":%q,"inputResponses":{"` + key + `":{"action":"accept","content":{"answer":"mine"}}}`,
		} {
			got, unknown := bob.send(method, fmt.Sprintf(params, id)), bob.send(method, fmt.Sprintf(params, never))
			if diff := cmp.Diff(unknown["error"], got["error"]); diff != "" || got["error"] == nil {
				t.Errorf("%s: %v, want what an unknown id gives:\n%s", method, got, diff)
			}
		}
		bob.last++
		bob.write(`{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":{"notifications":{"taskIds":[%q]},%s}}`, bob.last, id, bob.modern)
		message(bob.read()[0]).want(t, "method", "notifications/subscriptions/acknowledged", "params.notifications", "map[]")
		if other := bob.begin(fmt.Sprintf(handlerTask, `,"request_id":"r1"`)); other == id {
			t.Error("the same request_id of another token gives the same task")
		}
		if again := ann.key(ann.get(id)); again != key {
			t.Errorf("the task asks for %s, want %s still", again, key)
		}
	})
}

// TestTaskTranscript pins a task's life on the wire.
func TestTaskTranscript(t *testing.T) {
	secret, hashed := regexp.MustCompile(`(say-)[a-z2-7]{26}`), regexp.MustCompile(`("(?:q|ap)-\d+\.)[0-9a-f]{8}"`)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, loops.BodyFunc(painter), nil)
		c := w.taskClient(takesTasksAsks, &Options{Retention: 24 * time.Hour})
		var out strings.Builder
		say := func(method, params string) message {
			c.last++
			line := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s,%s}}`, c.last, method, params, c.modern)
			c.write("%s", line)
			synctest.Wait()
			var last message
			text := "→ " + strings.Replace(line, c.modern, `"_meta":(modern, with tasks and forms)`, 1) + "\n"
			for _, m := range c.read() {
				data, err := encode(m)
				if err != nil {
					t.Fatal(err)
				}
				text, last = text+"← "+string(data)+"\n", m
			}
			text = hashed.ReplaceAllString(secret.ReplaceAllString(text, "${1}SECRET"), `${1}HASH"`)
			out.WriteString(text)
			return last
		}
		m := say("tools/call", `"name":"loop_start","arguments":`+fmt.Sprintf(handlerTask, ""))
		id, _ := m.at("result.taskId").(string)
		m = say("tasks/get", fmt.Sprintf(`"taskId":%q`, id))
		say("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":{%q:{"action":"accept","content":{"answer":"red"}}}`, id, c.key(m)))
		m = say("tasks/get", fmt.Sprintf(`"taskId":%q`, id))
		say("tasks/update", fmt.Sprintf(`"taskId":%q,"inputResponses":{%q:{"action":"accept","content":{"decision":"approve"}}}`, id, c.key(m)))
		say("tasks/get", fmt.Sprintf(`"taskId":%q`, id))
		say("subscriptions/listen", fmt.Sprintf(`"notifications":{"taskIds":[%q]}`, id))
		say("tasks/cancel", fmt.Sprintf(`"taskId":%q`, id))
		say("tasks/get", `"taskId":"say-0001"`)
		golden(t, "wire/tasks.transcript", []byte(out.String()))
	})
}
