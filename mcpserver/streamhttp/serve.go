package streamhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve answers the connections of l until ctx ends; it then lets running requests go on for
// Options.Grace and returns ctx.Err(). It closes l. Without a token, it refuses a listener that is
// not on a loopback address.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	if err := h.MayServe(l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    h.opts.MaxHeader,
		ErrorLog:          slog.NewLogLogger(h.opts.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		_ = h.Shutdown(ended(ctx))
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(h.opts.Grace, 0))
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = s.Shutdown(grace) // its time limit is no news: Close ends what is left
	}()
	_ = h.Shutdown(grace) // likewise
	<-stopped
	_ = s.Close() // breaks the connections of clients that don't read
	<-served      //nolint:errcheck // that it was closed
	return ctx.Err()
}

var errNoToken = errors.New("a token is needed")

// MayServe says why Serve would refuse a listener at addr, if it would.
func (h *Handler) MayServe(addr net.Addr) error {
	tcp, ok := addr.(*net.TCPAddr)
	if len(h.opts.Tokens) > 0 || !ok || tcp.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("serve on %s: %w, because other machines can reach that address", addr, errNoToken)
}

func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel()
	return ctx
}

// Shutdown ends the long streams, lets running calls go on until ctx ends, cancels those that are
// left, gives them a moment for their last words, and ends the sessions. Requests are refused from its beginning. It returns ctx.Err() when
// calls had to be cancelled. Calling it again waits in the same way.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	if !h.ended {
		h.ended = true
		if h.calls == 0 {
			close(h.silent)
		}
	}
	h.mu.Unlock()
	h.end()
	var err error
	select {
	case <-h.silent:
	case <-ctx.Done():
		err = ctx.Err()
	}
	h.cancel()
	if !h.wait(lastWords) {
		h.silence()
	}
	h.sessions.close()
	if !h.wait(lastWords) {
		h.opts.Logger.Warn("a handler ignores the end of its context")
	}
	return err
}

// wait waits for the end of all calls, for d at most.
func (h *Handler) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-h.silent:
		return true
	case <-timer.C:
		return false
	}
}
