package remote_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/internal/leaktest"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
	"example.com/loop-mcp/loops/remote"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
)

func TestMain(m *testing.M) {
	ats.Register() // the server's clock, outside every bubble
	os.Exit(leaktest.Run(m))
}

// world is a NATS server, an engine that looks for its handlers there, and
// whoever serves them, in virtual time.
type world struct {
	*loops.Engine
	t      *testing.T
	srv    *server.Server
	nc     *nats.Conn // the engine's
	caller *remote.Caller
}

// story runs a test in virtual time.
func story(t *testing.T, tell func(w *world)) {
	t.Helper()
	storyWith(t, nil, 0, tell)
}

func storyWith(t *testing.T, opts *remote.CallerOptions, maxPayload int32, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		var err error
		if w.srv, err = server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, MaxPayload: maxPayload}); err != nil {
			t.Fatal(err)
		}
		w.srv.Start()
		t.Cleanup(func() { w.srv.Shutdown(); w.srv.WaitForShutdown() })
		if !w.srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("the server is not ready")
		}
		w.nc = w.connect()
		w.caller = remote.NewCaller(w.nc, opts)
		w.Engine = loops.New(loopstest.NewMemory(), loops.Parts{Elsewhere: w.caller.Body}, nil)
		w.run(func(ctx context.Context) error { return w.Run(ctx) })
		tell(w)
	})
}

// run runs something until the test ends or the returned function is called, and
// waits for it.
func (w *world) run(run func(ctx context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func (w *world) connect() *nats.Conn {
	nc, err := nats.Connect("", nats.InProcessServer(w.srv), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	return nc
}

// serve serves a handler on a connection of its own.
func (w *world) serve(name string, body loops.Body, opts *remote.ServeOptions) (stop func()) {
	nc := w.connect()
	stop = w.run(func(ctx context.Context) error { return remote.Serve(ctx, nc, name, body, opts) })
	synctest.Wait()
	return stop
}

func spec(change func(*loops.Spec)) loops.Spec {
	s := loops.Spec{Name: "story", Goal: "say ok", Body: loops.BodySpec{Kind: loops.BodyHandler, Name: "worker"}}
	if change != nil {
		change(&s)
	}
	return s
}

func (w *world) start(change func(*loops.Spec)) loops.ID {
	w.t.Helper()
	out, err := w.Start(w.t.Context(), loops.StartRequest{Spec: spec(change)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ID
}

func (w *world) settled(id loops.ID, status loops.Status) loops.State {
	w.t.Helper()
	s, timedOut, err := w.Wait(w.t.Context(), id, 0, loops.ForSettled, 100*time.Hour, nil)
	if err != nil || timedOut || s.Status != status {
		w.t.Fatalf("timed out %t, %v; %s: %+v; want %s", timedOut, err, s.Summary(), s.Stop, status)
	}
	return s
}

func (w *world) get(id loops.ID) loops.State {
	w.t.Helper()
	s, err := w.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// said is the live text of the last minute.
func (w *world) said(id loops.ID) string {
	w.t.Helper()
	lines, err := w.Recent(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return loops.Said(lines)
}

// blocks is a body that waits for a channel to close.
func blocks(release <-chan struct{}) loops.Body {
	return loops.BodyFunc(func(ctx context.Context, _ loops.Turn) (loops.Result, error) {
		select {
		case <-release:
			return loops.Result{Output: "ok", Done: true}, nil
		case <-ctx.Done():
			return loops.Result{}, context.Cause(ctx)
		}
	})
}
