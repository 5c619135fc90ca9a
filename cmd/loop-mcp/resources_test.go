package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// namesIn returns the names, or URIs, of what a list has.
func namesIn(result map[string]any, list, key string) (all []string) {
	items, _ := result[list].([]any)
	for _, item := range items {
		one, _ := item.(map[string]any)
		all = append(all, fmt.Sprint(one[key]))
	}
	return all
}

// TestPromptsAreTrustedFiles: whatever a folder holds, prompts are what
// loop_start would start; and looking at all this makes no store.
func TestPromptsAreTrustedFiles(t *testing.T) {
	b := newBox(t)
	text := readFile(t, b.loop("mine", "count", scoreThree+"\ninputs: {who: {required: true, help: Who}}"))
	b.write("config/loop-mcp/loops/mine.loop.yaml", text)
	b.write("config/loop-mcp/loops/broken.loop.yaml", "goal: [\n")
	theirs := b.write(".loops/theirs.loop.yaml", readFile(t, b.loop("theirs", "count", scoreThree)))
	c := b.connect()
	prompts := func() string {
		return strings.Join(namesIn(c.request("prompts/list", map[string]any{}), "prompts", "name"), " ")
	}
	if got := prompts(); got != "loop loop_review mine" {
		t.Errorf("prompts %s", got)
	}
	b.want(0, []string{"trust", theirs})
	if got := prompts(); got != "loop loop_review mine theirs" {
		t.Errorf("prompts %s after loop-mcp trust", got)
	}
	b.write(".loops/theirs.loop.yaml", readFile(t, theirs)+"\n# changed\n")
	if got := prompts(); got != "loop loop_review mine" {
		t.Errorf("prompts %s after a change", got)
	}
	got, err := json.Marshal(c.request("prompts/get", map[string]any{"name": "mine", "arguments": map[string]string{"who": "Ann"}}))
	if err != nil || !strings.Contains(string(got), `{\"loop_file\":\"mine\",\"inputs\":{\"who\":\"Ann\"}}`) {
		t.Errorf("the prompt is %s", got)
	}
	if _, err := c.exchange("prompts/get", map[string]any{"name": "mine"}); err == nil || !strings.Contains(err.Error(), "inputs.who: is missing: Who") {
		t.Errorf("without its argument: %v", err)
	}
	if _, err := c.exchange("prompts/get", map[string]any{"name": "theirs"}); err == nil || !strings.Contains(err.Error(), "loop-mcp trust") {
		t.Errorf("an untrusted one: %v", err)
	}
	if got := namesIn(c.request("resources/list", map[string]any{}), "resources", "uri"); !slices.Equal(got, []string{"loops://recent"}) {
		t.Errorf("resources %v", got)
	}
	c.request("resources/read", map[string]any{"uri": "loops://recent"})
	c.request("resources/subscribe", map[string]any{"uri": "loops://recent"})
	if exists(filepath.Join(b.dir, "store")) {
		t.Error("looking made a store")
	}
	c.close()
	if log := c.stderr.text(); strings.Count(log, "broken: line 1") != 1 || strings.Contains(log, "theirs") {
		t.Errorf("the log says %s", log)
	}
}

// clientLoop starts a loop that waits for its client and returns its id.
func (b *box) clientLoop() string {
	b.t.Helper()
	file := b.write("draft.loop.yaml", "name: draft\ngoal: write it\nbody: {kind: client}\nuntil: {all: [{kind: human, question: good?}]}\n")
	b.want(0, []string{"start", file})
	return b.only("draft")
}

// updated reads lines until one of them tells that a resource was updated.
func updated(t *testing.T, lines *bufio.Reader, uri string) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Errorf("nobody told of %s: %v", uri, err)
			return
		}
		if strings.Contains(line, "notifications/resources/updated") && strings.Contains(line, `"`+uri+`"`) {
			return
		}
	}
}

// TestAChangeElsewhereIsTold: who subscribes hears of what another process did,
// over each transport and in each era.
func TestAChangeElsewhereIsTold(t *testing.T) {
	b := newBox(t)
	id := b.clientLoop()
	uri := "loop://" + id
	change := func() { b.want(6, []string{"continue", id, "--message", "a hint"}) }

	c := b.connect()
	c.request("resources/subscribe", map[string]any{"uri": uri})
	change()
	updated(t, c.out, uri)

	s := b.web("127.0.0.1:0")
	old := s.client("", false)
	stream := old.open(t, http.MethodGet, nil)
	old.post("resources/subscribe", map[string]any{"uri": uri})
	change()
	updated(t, stream, uri)

	modern := s.client("", true)
	stream = modern.open(t, http.MethodPost, map[string]any{"resourceSubscriptions": []string{uri}})
	for {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "subscriptions/acknowledged") {
			break
		}
	}
	change()
	updated(t, stream, uri)
}

// open opens the stream on which a client of the older era gets notifications,
// or one of subscriptions/listen.
func (c *webClient) open(t *testing.T, method string, filter map[string]any) *bufio.Reader {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": "stream", "method": "subscriptions/listen", "params": map[string]any{"notifications": filter,
		"_meta": map[string]any{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": map[string]any{}}}})
	if err != nil {
		t.Fatal(err)
	}
	if filter == nil {
		// Notifications outside a request wait for this one.
		ready, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
		if err != nil {
			t.Fatal(err)
		}
		ready.Header.Set("Content-Type", "application/json")
		ready.Header.Set("Accept", "application/json, text/event-stream")
		ready.Header.Set("Mcp-Session-Id", c.session)
		c.read(ready)
		body = nil
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if c.modern {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		r.Header.Set("Mcp-Method", "subscriptions/listen")
	} else {
		r.Header.Set("Mcp-Session-Id", c.session)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", method, resp, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return bufio.NewReader(resp.Body)
}
