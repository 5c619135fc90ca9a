package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (run with -update if that is meant):\n%s", path, diff)
	}
}

func indented(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// client is an MCP client without a transport: it hands messages to the server
// as stdio does, and keeps what comes back, with times.
type client struct {
	t       *testing.T
	s       *server.MCPServer
	keep    bool // arguments through KeepArguments, as over stdio
	channel chan mcp.JSONRPCNotification

	mu      sync.Mutex
	noticed []notice
}

// notice is one progress notification and when it came.
type notice struct {
	at      time.Time
	params  map[string]any
	message string
}

func newClient(t *testing.T, s *server.MCPServer) *client {
	t.Helper()
	server.WithOutputSchemaValidation()(s) // no answer of any test breaks its tool's schema
	return &client{t: t, s: s, keep: true, channel: make(chan mcp.JSONRPCNotification, 1000)}
}

func (c *client) Initialize()                                         {}
func (c *client) Initialized() bool                                   { return true }
func (c *client) SessionID() string                                   { return "test" }
func (c *client) NotificationChannel() chan<- mcp.JSONRPCNotification { return c.channel }

// listen notes the time of each notification until the returned function is
// called.
func (c *client) listen() (stop func() []notice) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case n := <-c.channel:
				c.mu.Lock()
				p := n.Params.AdditionalFields
				message, _ := p["message"].(string)
				c.noticed = append(c.noticed, notice{at: time.Now(), params: p, message: message})
				c.mu.Unlock()
			case <-quit:
				return
			}
		}
	}()
	return func() []notice {
		close(quit)
		<-done
		return c.noticed
	}
}

// send hands one message to the server and returns the answer.
func (c *client) send(ctx context.Context, msg string) []byte {
	c.t.Helper()
	ctx = c.s.WithContext(ctx, c)
	var m struct{ Method string }
	_ = json.Unmarshal([]byte(msg), &m)
	raw := json.RawMessage(msg)
	if c.keep {
		ctx, raw = KeepArguments(ctx, m.Method, raw)
	}
	data, err := json.Marshal(c.s.HandleMessage(ctx, raw))
	if err != nil {
		c.t.Fatalf("answer to %.200s: %v", msg, err)
	}
	return data
}

// reply is a tool's answer.
type reply struct {
	text    string
	isError bool
	answer  map[string]any // of structuredContent
	detail  ErrorDetail    // of an error
	raw     []byte
}

func (c *client) call(tool, args string) reply { return c.callWith(c.t.Context(), tool, args, "") }

func (c *client) callWith(ctx context.Context, tool, args, meta string) reply {
	c.t.Helper()
	raw := c.send(ctx, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s%s}}`, tool, args, meta))
	var m struct {
		Error  any
		Result struct {
			Content           []struct{ Type, Text string }
			StructuredContent json.RawMessage
			IsError           bool
			Meta              map[string]json.RawMessage `json:"_meta"`
		}
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Error != nil || len(m.Result.Content) != 1 {
		c.t.Fatalf("%s %.300s: not a tool result: %.600s (%v)", tool, args, raw, err)
	}
	r := reply{text: m.Result.Content[0].Text, isError: m.Result.IsError, raw: raw}
	if r.isError {
		_ = json.Unmarshal(m.Result.Meta[ErrorKey], &r.detail)
		if m.Result.StructuredContent != nil || r.detail.Message != r.text || r.detail.Code == "" {
			c.t.Fatalf("%s: an error has its text, no structured content and a detail in _meta: %s", tool, raw)
		}
		return r
	}
	_ = json.Unmarshal(m.Result.StructuredContent, &r.answer)
	var text map[string]any
	if err := json.Unmarshal([]byte(r.text), &text); err != nil {
		c.t.Fatalf("%s: text is not JSON: %s", tool, r.text)
	}
	if diff := cmp.Diff(r.answer, text); diff != "" || r.answer == nil {
		c.t.Fatalf("%s: the two halves differ:\n%s", tool, diff)
	}
	return r
}

// ok is call for one that must succeed.
func (c *client) ok(tool, args string) reply {
	c.t.Helper()
	r := c.call(tool, args)
	if r.isError {
		c.t.Fatalf("%s %.300s: %s", tool, args, r.text)
	}
	return r
}

// fails is call for one that must be refused, with each of the texts in it.
func (c *client) fails(tool, args string, want ...string) reply {
	c.t.Helper()
	r := c.call(tool, args)
	if !r.isError {
		c.t.Fatalf("%s %.300s: want an error, got %.300s", tool, args, r.text)
	}
	for _, text := range want {
		if !strings.Contains(r.text, text) {
			c.t.Errorf("%s %.300s: error %q does not say %q", tool, args, r.text, text)
		}
	}
	return r
}

// get reads a path such as "stop.reason" or "items.0.text" of the answer.
func (r reply) get(path string) any {
	var v any = r.answer
	for key := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// want checks values of the answer, given as path and value by turns.
func (r reply) want(t *testing.T, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := r.get(pairs[i].(string)); fmt.Sprint(got) != fmt.Sprint(pairs[i+1]) {
			t.Errorf("%s = %v, want %v, in %s", pairs[i], got, pairs[i+1], r.text)
		}
	}
}

// world is a server on a working engine.
type world struct {
	*client
	e      *loops.Engine
	store  *loopstest.Memory
	opened int // calls for the engine
}

// contains is a stop condition that looks for its goal's last word in the
// output.
func contains(_ context.Context, e loops.Evidence) (loops.Verdict, error) {
	word := e.Goal[strings.LastIndexByte(e.Goal, ' ')+1:]
	met := strings.Contains(e.Output, word)
	return loops.Verdict{Met: met, Reason: fmt.Sprintf("output has %q: %t", word, met), Feedback: "say " + word}, nil
}

// newWorld works on loops until the test ends. body serves the handler
// "worker"; nil: it is done at once. Ids count up.
func newWorld(t *testing.T, body loops.Body, opts *Options) *world {
	t.Helper()
	if body == nil {
		body = loopstest.Script()
	}
	w := &world{store: loopstest.NewMemory()}
	w.e = loops.New(w.store, loops.Parts{
		Handlers: map[string]loops.Body{"worker": body},
		Stops:    map[string]loops.StopCondition{"contains": loops.StopFunc(contains)},
	}, &loops.Options{
		RunsWhile: func(loops.State) string { return "this test runs" },
		NewID: func(name string) loops.ID { // by the number of loops, however often it is asked
			heads, err := w.store.List(context.Background())
			if err != nil {
				t.Error(err)
			}
			return loops.ID(fmt.Sprintf("%s-%04d", name, len(heads)+1))
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w.client = newClient(t, New(func(context.Context) (*loops.Engine, error) { w.opened++; return w.e, nil }, opts))
	return w
}

// handlerArgs starts a loop whose handler works until it says ok.
const handlerArgs = `{"name":"say","goal":"say ok","body":{"kind":"handler","name":"worker"},"until":{"all":[{"kind":"contains"}]}%s}`

func (w *world) startHandler(more string) string {
	w.t.Helper()
	return w.ok("loop_start", fmt.Sprintf(handlerArgs, more)).get("loop_id").(string)
}

// clientArgs starts a loop that the client works on and a person approves.
const clientArgs = `{"name":"draft","goal":"write it","until":{"all":[{"kind":"human","question":"good?"}]}%s}`

func (w *world) startClient(more string) string {
	w.t.Helper()
	return w.ok("loop_start", fmt.Sprintf(clientArgs, more)).get("loop_id").(string)
}

// args writes a JSON object from keys and values by turns.
func args(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// contextAfter is a context that is cancelled after d.
func contextAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(d, cancel)
	return ctx, cancel
}
