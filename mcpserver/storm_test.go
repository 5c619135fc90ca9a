package mcpserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/mcpserver/stdio"
)

// stormMeta makes a request one of the revision 2026-07-28.
const stormMeta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"storm","version":"1"}`

// TestTwoHundredWaits: two hundred calls that wait for one loop, half of them in
// each era, take less than 10 MB, get the right answer each when the loop
// settles, and leave nothing behind.
func TestTwoHundredWaits(t *testing.T) {
	const calls, most = 200, 10 << 20
	w := newWorld(t, nil, nil)
	id := w.startClient("")
	c := w.pipes(t)
	ask := func(from, seconds int) {
		for i := range calls {
			meta := fmt.Sprintf(`"progressToken":"%d"`, from+i)
			if i%2 == 0 {
				meta += "," + stormMeta
			}
			c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"loop_wait","arguments":{"loop_id":%q,"for":"settled","wait_seconds":%d},"_meta":{%s}}}`+"\n",
				from+i, id, seconds, meta))
		}
	}
	ask(1000, 0) // what is only made once is there before memory is measured
	c.answers(calls, func(r stormReply) { c.check(r, "your_turn") })
	goroutines, before := runtime.NumGoroutine(), inUse()

	ask(2000, 50)
	untilStacksHave(t, "(*Engine).Wait(", calls)
	cost := inUse() - before
	t.Logf("%d calls that wait take %d KB", calls, cost>>10)
	if !raceEnabled && cost > most { // under the race detector frames are larger
		t.Errorf("%d calls that wait take %d bytes, want at most %d", calls, cost, most)
	}

	w.ok("loop_cancel", args("loop_id", id))
	seen := map[string]bool{}
	c.answers(calls, func(r stormReply) {
		seen[string(r.ID)] = true
		c.check(r, "cancelled")
	})
	if len(seen) != calls {
		t.Errorf("%d of %d calls are answered", len(seen), calls)
	}
	asBefore(t, goroutines, before, 1<<20)
	c.end()
}

// TestAfterAStorm: ten thousand requests of all kinds, right and wrong, and
// their cancellations are answered as they should be, and goroutines and memory
// are as they were.
func TestAfterAStorm(t *testing.T) {
	const atOnce = 100
	requests := 10_000
	if raceEnabled {
		requests = 2000
	}
	w := newWorld(t, nil, nil)
	id := w.startClient("")
	c := w.pipes(t)
	r := rand.New(rand.NewPCG(7, 7))
	round := func(from int) {
		open := map[string]func(stormReply){}
		var lines strings.Builder
		for n := range atOnce {
			line, key, check := stormLine(r, from+n, id)
			lines.WriteString(line + "\n")
			if key != "" {
				open[key] = check
			}
		}
		go c.write(lines.String())
		c.answers(len(open), func(r stormReply) {
			check, asked := open[string(r.ID)]
			if !asked {
				t.Fatalf("nobody asked for %.300s", r.raw)
			}
			delete(open, string(r.ID))
			check(r)
		})
	}
	from := 0
	for ; from < requests/10; from += atOnce { // until pools and buffers have the size they need
		round(from)
	}
	goroutines, before := runtime.NumGoroutine(), inUse()
	for ; from < requests; from += atOnce {
		round(from)
	}
	asBefore(t, goroutines, before, 2<<20) // 200 bytes a request
	if got := w.ok("loop_inspect", args("loop_id", id)).get("status"); got != "your_turn" {
		t.Errorf("the loop is %v", got)
	}
	c.end()
}

// stormLine makes request n, with the key under which its answer comes, or none,
// and what checks it.
func stormLine(r *rand.Rand, n int, loop string) (line, key string, check func(stormReply)) {
	key = fmt.Sprint(n)
	huge := fmt.Sprintf(`"%d-%s"`, n, strings.Repeat("x", 1+r.IntN(100)/99<<16))
	call := func(id, tool, arguments string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments)
	}
	status := func(want string) func(stormReply) {
		return func(r stormReply) { r.c.check(r, want) }
	}
	code := func(want int) func(stormReply) {
		return func(r stormReply) {
			if r.Error == nil || r.Error.Code != want {
				r.c.t.Errorf("want the code %d, got %.300s", want, r.raw)
			}
		}
	}
	refused := func(r stormReply) {
		if !r.Result.IsError {
			r.c.t.Errorf("want an error of the tool, got %.300s", r.raw)
		}
	}
	switch r.IntN(8) {
	case 0:
		return call(key, "loop_inspect", `{"loop_id":"`+loop+`"}`), key, status("your_turn")
	case 1:
		return call(huge, "loop_wait", `{"loop_id":"`+loop+`","for":"change","wait_seconds":0}`), huge, status("your_turn")
	case 2:
		return call(key, "loop_wait", `{"loop_id":"nobody-2222"}`), key, refused
	case 3:
		return call(key, "loop_start", `{"goal":7}`), key, refused
	case 4:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"nothing/such"}`, n), key, code(-32601)
	case 5: // cancelled at once: no answer
		return call(key, "loop_wait", `{"loop_id":"`+loop+`","for":"settled","wait_seconds":50}`) +
			fmt.Sprintf("\n"+`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, n), "", nil
	case 6:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":{"_meta":{%s}}}`, n, stormMeta), key, func(r stormReply) {
			if len(r.Result.Tools) == 0 {
				r.c.t.Errorf("want the tools, got %.300s", r.raw)
			}
		}
	default:
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":[]}`, n), key, code(-32600)
	}
}

// inUse is what heap and stacks take after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // what sync.Pool keeps goes at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// asBefore waits until the goroutines are no more than they were, and compares
// the memory in use with what it was.
func asBefore(t *testing.T, goroutines int, memory int64, more int64) {
	t.Helper()
	eventually(t, func() string {
		if now := runtime.NumGoroutine(); now > goroutines {
			return fmt.Sprintf("%d goroutines, there were %d", now, goroutines)
		}
		if now := inUse(); now > memory+more {
			return fmt.Sprintf("%d KB in use, there were %d", now>>10, memory>>10)
		}
		return ""
	})
}

// untilStacksHave waits until n goroutines are in the function.
func untilStacksHave(t *testing.T, function string, n int) {
	t.Helper()
	buf := make([]byte, 4<<20)
	eventually(t, func() string {
		if got := strings.Count(string(buf[:runtime.Stack(buf, true)]), function); got < n {
			return fmt.Sprintf("%d goroutines in %s, want %d", got, function, n)
		}
		return ""
	})
}

// eventually asks until nothing is missing, for 30 seconds at most.
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); ; {
		what := missing()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(what)
		}
	}
}

// piped is a stdio client behind two real pipes.
type piped struct {
	t      *testing.T
	in     *os.File
	out    *bufio.Reader
	served chan error
}

func (w *world) pipes(t *testing.T) *piped {
	t.Helper()
	serverIn, clientOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	clientIn, serverOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &piped{t: t, in: clientOut, out: bufio.NewReaderSize(clientIn, 1<<20), served: make(chan error, 1)}
	go func() {
		c.served <- stdio.Serve(context.Background(), w.s, serverIn, serverOut, &stdio.Options{Before: KeepArguments})
	}()
	t.Cleanup(func() {
		for _, f := range []*os.File{clientOut, serverIn, serverOut, clientIn} {
			f.Close()
		}
	})
	return c
}

func (c *piped) write(text string) {
	if _, err := io.WriteString(c.in, text); err != nil {
		c.t.Errorf("write to the server: %v", err)
	}
}

// end closes the input and waits for the server.
func (c *piped) end() {
	c.t.Helper()
	c.in.Close()
	if err := <-c.served; err != nil {
		c.t.Error(err)
	}
}

// stormReply is one answer.
type stormReply struct {
	c      *piped
	raw    []byte
	ID     json.RawMessage
	Method string
	Error  *struct{ Code int }
	Result struct {
		IsError           bool
		Tools             []any
		StructuredContent map[string]any
	}
}

// answers hands the next n answers to check.
func (c *piped) answers(n int, check func(stormReply)) {
	c.t.Helper()
	for range n {
		r := stormReply{c: c}
		for r.ID == nil {
			var err error
			r = stormReply{c: c}
			if r.raw, err = c.out.ReadBytes('\n'); err == nil {
				err = json.Unmarshal(r.raw, &r)
			}
			if err != nil {
				c.t.Fatalf("the server wrote %.300q: %v", r.raw, err)
			}
		}
		check(r)
	}
}

// check checks that an answer shows a loop of that status.
func (c *piped) check(r stormReply, status string) {
	c.t.Helper()
	if r.Error != nil || r.Result.IsError || r.Result.StructuredContent["status"] != status {
		c.t.Errorf("want a loop that is %s, got %.300s", status, r.raw)
	}
}
