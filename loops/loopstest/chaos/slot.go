package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// slot is the place of one server after the other.
type slot struct {
	w  *world
	mu sync.Mutex
	s  *server // nil while there is none

	worker bool        // it is a worker, which nobody talks to
	env    []string    // more environment of each of them
	busy   atomic.Bool // in a cluster: some fault works on it
}

const answerTime = 60 * time.Second

// start starts a server with more environment than others have.
func (s *slot) start(ctx context.Context, env ...string) error {
	if s.worker {
		return s.startWorker(ctx)
	}
	cmd := s.w.command("serve")
	cmd.Env = append(slices.Clip(cmd.Env), append(env, s.env...)...)
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	srv, err := connect(ctx, cmd)
	closeLog(cmd)
	if err != nil {
		if srv != nil {
			srv.kill()
		}
		return fmt.Errorf("start a server: %w", err)
	}
	s.w.history.add(audit.Told{Op: audit.OpUp, PID: srv.pid()})
	// The first call opens the store, without which it has nothing to lose.
	go func() { _, _ = srv.call(context.Background(), "loop_list", map[string]any{"limit": 1}) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = srv
	return nil
}

// startWorker starts a worker, again when it ends because it finds no store.
func (s *slot) startWorker(ctx context.Context) error {
	for end := time.Now().Add(answerTime); ; {
		cmd := s.w.command("worker", "--json")
		cmd.Env = append(slices.Clip(cmd.Env), s.env...)
		srv, err := launch(cmd)
		closeLog(cmd)
		if err != nil {
			return fmt.Errorf("start a worker: %w", err)
		}
		s.w.history.add(audit.Told{Op: audit.OpUp, PID: srv.pid()})
		select {
		case <-srv.ready:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.s = srv
			return nil
		case <-srv.gone:
		case <-ctx.Done():
		case <-time.After(answerTime):
		}
		srv.kill()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("worker %d does not begin to work", srv.pid())
		}
		s.w.opts.Log("worker %d ended before it worked", srv.pid())
		pause(ctx, 200*time.Millisecond)
	}
}

// take takes the server out of its place.
func (s *slot) take() *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv := s.s
	s.s = nil
	return srv
}

func (s *slot) get() *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

// end closes the connection in order.
func (s *slot) end() error {
	srv := s.take()
	if srv == nil {
		return nil
	}
	return s.w.end(srv)
}

func (w *world) end(srv *server) error {
	asked := time.Now().UnixNano()
	if srv.ready != nil {
		_ = srv.cmd.Process.Signal(syscall.SIGTERM)
	}
	err := srv.end(answerTime)
	w.history.add(audit.Told{Op: audit.OpEnd, PID: srv.pid(), Asked: asked})
	if err != nil {
		return fmt.Errorf("the server %d did not end well: %w", srv.pid(), err)
	}
	return nil
}

// pick returns any server that is there, waiting for one.
func (w *world) pick(ctx context.Context, random *rand.Rand) *server {
	for first := random.IntN(len(w.slots)); ; {
		for n := range w.slots {
			s := w.slots[(first+n)%len(w.slots)]
			if srv := s.get(); srv != nil && !s.worker {
				return srv
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *world) any() *server { return w.pick(context.Background(), w.random(0)) }

// host is the process that hosts the store, as endpoint.json says.
func (w *world) host() int { return w.endpoint().PID }
