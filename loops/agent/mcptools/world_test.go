//go:build unix

package mcptools

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/agent"
)

// world is a toolbox with its servers, checked for leaks at the end.
type world struct {
	*testing.T
	box *Toolbox
	dir string
}

func newWorld(t *testing.T, servers map[string]Server) *world {
	t.Helper()
	return worldOf(t, Config{Servers: servers})
}

func worldOf(t *testing.T, c Config) *world {
	t.Helper()
	box, err := New(c, &Options{Self: filepath.Join(t.TempDir(), "none")})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, box: box, dir: t.TempDir()}
	t.Cleanup(w.close)
	return w
}

// close ends everything and looks for goroutines that are still about.
func (w *world) close() {
	w.Helper()
	if err := w.box.Close(context.Background()); err != nil {
		w.Error(err)
	}
	var left string
	eventually(w.T, func() bool { left = goroutines(); return left == "" }, func() string { return "goroutines are left:\n" + left })
}

// goroutines are the stacks of this package's and mcp-go's goroutines, except
// those of tests.
func goroutines() string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if (strings.Contains(stack, "mcptools.") || strings.Contains(stack, "mcp-go/client")) &&
			!strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "mcp-go/server") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

// eventually waits for something that happens soon and can't be waited for
// otherwise.
func eventually(t *testing.T, ok func() bool, what func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !ok(); {
		select {
		case <-late:
			t.Fatal(what())
		case <-tick.C:
		}
	}
}

const theLoop = loops.ID("demo-aaaa")

func (w *world) open(patterns ...string) agent.Session {
	w.Helper()
	s, err := w.box.Open(w.Context(), theLoop, w.dir, patterns)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// says calls a tool that has to succeed.
func (w *world) says(s agent.Session, tool, args string) string {
	w.Helper()
	out, err := s.Call(w.Context(), tool, json.RawMessage(args))
	if err != nil || out.Error {
		w.Fatalf("%s gave %+v, %v", tool, out, err)
	}
	return out.Text
}

// log is what reached a server that was told to keep one.
func (w *world) log(path string) []string {
	w.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(string(data), "call ", "call:"))
}

func (w *world) connection(server string) *conn { return w.box.live[theLoop].servers[server].current() }

// callIs waits until a call is on its way out in a given state.
func (w *world) callIs(server string, state int32) {
	w.Helper()
	p := w.connection(server).client.GetTransport().(*pipe)
	eventually(w.T, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.waiting {
			if bytes.Contains(f.data, []byte(`"tools/call"`)) && f.state.Load() == state {
				return true
			}
		}
		return false
	}, func() string { return "there is no such call" })
}

// cancelled makes a call and cancels it as soon as it is in a given state.
func (w *world) cancelled(s agent.Session, server, tool, args string, state int32) error {
	w.Helper()
	ctx, cancel := context.WithCancelCause(w.Context())
	failed := make(chan error)
	go func() {
		_, err := s.Call(ctx, tool, json.RawMessage(args))
		failed <- err
	}()
	w.callIs(server, state)
	cancel(loops.ErrCancelled)
	err := <-failed
	if !errors.Is(err, loops.ErrCancelled) {
		w.Errorf("a cancelled call gave %v", err)
	}
	return err
}
