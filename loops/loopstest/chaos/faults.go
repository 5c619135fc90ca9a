package chaos

import (
	"context"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// faults hit the servers until enough were killed.
func (w *world) faults(ctx context.Context) error {
	random := w.random(1 << 32)
	for int(w.kills.Load()) < w.opts.Kills {
		if !pause(ctx, time.Duration(random.ExpFloat64()*float64(w.opts.Gap))) {
			return nil
		}
		if err := w.fault(ctx, random); err != nil {
			return err
		}
		if n := w.kills.Load(); n%50 == 0 && n > 0 {
			w.opts.Log("%d kills, %d loops started, %d settled", n, w.started.Load(), w.settled.Load())
		}
	}
	return nil
}

// fault is one thing that happens to servers.
func (w *world) fault(ctx context.Context, random *rand.Rand) error {
	kind := random.IntN(100)
	at := random.IntN(len(w.slots))
	for try := 0; try < 5 && bodiesBelow(w.slots[at].get().pid()) == 0; try++ {
		at = random.IntN(len(w.slots))
	}
	if random.IntN(2) == 0 { // the host more often than the others
		host := w.host()
		for n, s := range w.slots {
			if srv := s.get(); srv != nil && srv.pid() == host {
				at = n
			}
		}
	}
	rest := time.Duration(random.IntN(200)) * time.Millisecond
	stop := time.Duration(20+random.IntN(1500)) * time.Millisecond
	if random.IntN(10) == 0 {
		stop += 3 * time.Second // longer than anybody waits for the host
	}
	s := w.slots[at]
	switch {
	case kind < 4: // all at once: loops rest until somebody comes
		for _, s := range w.slots {
			w.kill(s)
		}
		pause(ctx, rest)
		for _, s := range w.slots {
			if err := s.start(ctx); err != nil {
				return err
			}
		}
		return nil
	case w.opts.Calm || kind < 80:
		w.kill(s)
	case kind < 90:
		srv := s.get()
		_ = srv.cmd.Process.Signal(syscall.SIGSTOP)
		pause(ctx, stop)
		_ = srv.cmd.Process.Signal(syscall.SIGCONT)
		w.history.add(audit.Told{Op: audit.OpStop, PID: srv.pid()})
		return nil
	case kind < 95: // killed while it is stopped
		srv := s.get()
		_ = srv.cmd.Process.Signal(syscall.SIGSTOP)
		pause(ctx, stop)
		w.kill(s)
	case kind < 98:
		if err := w.end(s.take()); err != nil {
			return err
		}
	default:
		srv, asked := s.take(), time.Now().UnixNano()
		_ = srv.cmd.Process.Signal(os.Interrupt)
		<-srv.gone
		_ = srv.cmd.Wait() // it says that it was interrupted
		w.history.add(audit.Told{Op: audit.OpEnd, PID: srv.pid(), Asked: asked})
	}
	pause(ctx, rest)
	return s.start(ctx)
}

// kill kills the server in a place.
func (w *world) kill(s *slot) {
	srv := s.take()
	asked := time.Now().UnixNano()
	inFlight := srv.kill()
	w.kills.Add(1)
	w.history.add(audit.Told{Op: audit.OpKill, PID: srv.pid(), Asked: asked, Snapshot: audit.Snapshot{Starts: inFlight}})
}

// pause waits; false: the run is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
