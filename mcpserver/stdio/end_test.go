package stdio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/mcpserver/internal/rpc"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// TestScript: 13 requests and the end of input, the last without newline: 13 answers.
func TestScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := []string{initialize}
		for i := 1; i < 12; i++ {
			lines = append(lines, callLine(fmt.Sprint(i), "wait", `{"seconds":1}`, ""))
		}
		lines = append(lines, `{"jsonrpc":"2.0","id":12,"method":"tools/list"}`)
		var out bytes.Buffer
		if err := Serve(t.Context(), newServer(), strings.NewReader(strings.Join(lines, "\n")), &out, nil); err != nil {
			t.Error(err)
		}
		if got := strings.Count(out.String(), "\n"); got != 13 {
			t.Errorf("%d answers, want 13:\n%s", got, &out)
		}
		if cut := strings.Count(out.String(), "cut short"); cut > 0 {
			t.Errorf("%d calls were cut short", cut)
		}
	})
}

// TestGrace: a call longer than the grace period is cancelled and says its last words; one that
// ignores that is left alone and writes nothing later.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		g := newGate()
		s.AddTool(mcp.NewTool("stubborn"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			g.pass()
			return mcp.NewToolResultText("too late"), nil
		})
		p := startPeer(t, s, nil)
		p.send(callLine("1", "wait", "{}", ""), callLine("2", "wait", `{"seconds":1}`, ""), callLine("3", "stubborn", "{}", ""))
		start := time.Now()
		rest, err := p.end()
		checkSummaries(t, rest, "2: waited", "1: cut short")
		if took := time.Since(start); err != nil || took != defaultGrace+lastWords {
			t.Errorf("Serve returned %v after %v, want nil after %v", err, took, defaultGrace+lastWords)
		}
		close(g.open)
	})
}

// TestStuckInitialize: what waits behind it is answered when its own context ends.
func TestStuckInitialize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		hooks := &server.Hooks{}
		hooks.AddBeforeInitialize(func(context.Context, any, *mcp.InitializeRequest) { g.pass() })
		p := startPeer(t, newServer(server.WithHooks(hooks)), nil)
		checkSummaries(t, p.send(initialize, pingLine("1")))
		rest, err := p.end()
		checkSummaries(t, rest, "1: {}")
		if err != nil {
			t.Error(err)
		}
		close(g.open)
	})
}

// TestContextEnds: Serve returns ctx's error though the client keeps its end open, calls are answered.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPeer(t, ctx, newServer(), nil)
		p.startReading()
		p.send(callLine("1", "wait", "{}", ""))
		cancel()
		if err := <-p.served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve returned %v, want context canceled", err)
		}
		p.read.Wait()
		checkSummaries(t, p.answers(), "1: cut short")
	})
}

// TestWriteBreaks: a client that is gone ends Serve with an error, and calls at once.
func TestWriteBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, client := io.Pipe()
		served := make(chan error)
		s := newServer()
		ended := make(chan struct{})
		s.AddTool(mcp.NewTool("until"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			<-ctx.Done()
			close(ended)
			return mcp.NewToolResultText(""), nil
		})
		go func() { served <- Serve(t.Context(), s, in, brokenWriter{}, nil) }()
		start := time.Now()
		_, _ = io.WriteString(client, callLine("1", "until", "{}", "")+"\n"+pingLine("2")+"\n")
		if err := <-served; !errors.Is(err, errBroken) {
			t.Errorf("Serve returned %v, want the broken write", err)
		}
		<-ended
		if took := time.Since(start); took > 0 {
			t.Errorf("Serve returned after %v, want at once", took)
		}
	})
}

// TestWriteBreaksInGrace: nobody waits for the rest of the grace period.
func TestWriteBreaksInGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newServer(), nil)
		p.write(callLine("1", "wait", `{"seconds":1}`, "") + "\n" + callLine("2", "wait", "{}", "") + "\n")
		start := time.Now()
		p.in.Close()
		p.out.CloseWithError(errBroken)
		err := <-p.served
		if took := time.Since(start); !errors.Is(err, errBroken) || took != time.Second {
			t.Errorf("Serve returned %v after %v, want the broken write after 1s", err, took)
		}
	})
}

// TestWriteBreaksWhileFull: requests that wait for room don't hold up the end.
func TestWriteBreaksWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newServer(), nil)
		for i := range 10 {
			p.write(callLine(fmt.Sprint(i), "progress", `{"count":100000}`, "") + "\n")
		}
		synctest.Wait()
		start := time.Now()
		p.out.CloseWithError(errBroken)
		err := <-p.served
		if took := time.Since(start); !errors.Is(err, errBroken) || took > 0 {
			t.Errorf("Serve returned %v after %v, want the broken write at once", err, took)
		}
	})
}

// TestReadBreaks: what broke is returned, after the answers.
func TestReadBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPeer(t, newServer(), nil)
		p.send(callLine("1", "wait", `{"seconds":1}`, ""))
		p.in.CloseWithError(errBroken)
		if err := <-p.served; !errors.Is(err, errBroken) {
			t.Errorf("Serve returned %v, want the broken read", err)
		}
		p.read.Wait()
		checkSummaries(t, p.answers(), "1: waited")
	})
}

// TestClientNeverReads: at the end of input Serve gives up on the client and leaves no goroutine
// behind, whatever waits to be written: the bubble would not end.
func TestClientNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := newPeer(t, t.Context(), newServer(), &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for i := range 100 {
			p.write(callLine(fmt.Sprint(i), "progress", `{"count":100000}`, "") + "\n")
		}
		p.write(strings.Repeat("junk\n", 1000))
		synctest.Wait()
		p.in.Close()
		if err := <-p.served; !errors.Is(err, errUnread) {
			t.Errorf("Serve returned %v, want %v", err, errUnread)
		}
		if strings.Contains(log.String(), "interrupted") {
			t.Errorf("the write was not interrupted: %s", &log)
		}
	})
}

// TestBroadcastNobodyReads: notifications outside a request don't hold up the end either.
func TestBroadcastNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		p := newPeer(t, t.Context(), s, nil)
		p.write(initialize + "\n" + `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n")
		synctest.Wait()
		p.write(strings.Repeat("junk\n", 50_000)) // fills the output
		synctest.Wait()
		for range 3 * rpc.MailboxPlaces {
			s.SendNotificationToAllClients("notifications/tools/list_changed", nil)
		}
		p.in.Close()
		if err := <-p.served; !errors.Is(err, errUnread) {
			t.Errorf("Serve returned %v, want %v", err, errUnread)
		}
	})
}

// TestSlowClient: a client that reads on gets everything, however long after the end of input.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, t.Context(), newServer(), nil)
		const calls, size = 60, 100_000
		for i := range calls {
			p.write(callLine(fmt.Sprint(i), "echo", `{"text":"`+strings.Repeat("x", size)+`"}`, "") + "\n")
		}
		p.in.Close()
		read := 0
		for buf := make([]byte, writeSize); ; {
			n, err := p.out.Read(buf)
			read += n
			if err != nil {
				break
			}
			<-time.After(time.Second)
		}
		if err := <-p.served; err != nil || read < calls*size {
			t.Errorf("Serve returned %v after %d bytes, want nil after %d", err, read, calls*size)
		}
	})
}

// TestFiles: a blocked read of a pipe, and a blocked write to one, are interrupted: nothing is logged
// about either.
func TestFiles(t *testing.T) {
	in, client := filePipe(t)
	unread, out := filePipe(t)
	defer unread.Close()
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		served <- Serve(ctx, newServer(), in, out, &Options{
			Logger:       slog.New(slog.NewTextHandler(&log, nil)),
			FirstMessage: func() { close(first) },
		})
	}()
	fmt.Fprintln(client, callLine("1", "echo", `{"text":"`+strings.Repeat("x", 100_000)+`"}`, ""))
	<-first
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returned %v, want context canceled", err)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
}

func filePipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
