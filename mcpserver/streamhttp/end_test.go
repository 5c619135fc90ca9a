package streamhttp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/loop-mcp/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// serving is a handler on a listener of its own, until its context ends.
func serving(t *testing.T, h *Handler) (w *world, end context.CancelFunc, served chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served = make(chan error, 1)
	go func() { served <- h.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	w = &world{T: t, handler: h, url: "http://" + l.Addr().String() + "/mcp", client: client}
	t.Cleanup(cancel)
	return w, cancel, served
}

// TestServeLetsCallsGoOnForAWhile: their answers arrive, then Serve returns.
func TestServeLetsCallsGoOnForAWhile(t *testing.T) {
	g, s := newGate()
	w, end, served := serving(t, New(s, &Options{Grace: time.Minute}))
	w.greet()
	stream, _, _ := w.open(request{http: "GET"})
	stream()
	modern, _ := g.begin(w, modernCall("1", "gate", `{"name":"a"}`))
	older, _ := g.begin(w, request{body: callBody("1", "gate", `{"name":"b"}`, "")})
	end()
	if _, more := stream(); more {
		t.Error("a long stream goes on")
	}
	close(g.goOn)
	for _, answer := range []chan *http.Response{modern, older} {
		resp := <-answer
		if resp == nil {
			t.Fatal("a call has no answer")
		}
		if data, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(data), `"text"`) {
			t.Errorf("%v %s", err, data)
		}
		resp.Body.Close()
	}
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestServeEndsCallsThatTakeTooLong, also those whose clients read nothing.
func TestServeEndsCallsThatTakeTooLong(t *testing.T) {
	g, s := newGate()
	w, end, served := serving(t, New(s, &Options{Grace: -1}))
	w.greet()
	g.begin(w, modernCall("1", "gate", `{"name":"a"}`))
	g.begin(w, request{body: callBody("1", "gate", `{"name":"b"}`, "")})
	w.raw(modernProgress("1", "count", loud, "1"))
	w.raw(request{body: callBody("2", "count", loud, `"progressToken":1`)})
	w.until("four calls", func() bool { return w.handler.load.count(w.handler.load.calls) == 4 })
	end()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.until("calls go on", func() bool { return w.handler.load.count(w.handler.load.calls) == 0 })
}

func TestAListenerThatBreaksEndsServe(t *testing.T) {
	h := New(newServer(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := h.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Error(err)
	}
}

// TestALongHeaderIsRefused: by net/http, which reads no more than it has to.
func TestALongHeaderIsRefused(t *testing.T) {
	w, end, served := serving(t, New(newServer(), &Options{MaxHeader: 4 << 10, Logger: slog.New(slog.DiscardHandler)}))
	q := modernCall("1", "echo", `{}`).with(map[string]string{"X-Long": strings.Repeat("x", 64<<10)})
	if got := w.ask(q); got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := w.ask(modernCall("1", "echo", `{"text":"x"}`)); got.status != http.StatusOK {
		t.Errorf("the next one: %d %s", got.status, got.body)
	}
	end()
	<-served
}
