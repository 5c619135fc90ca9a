package main

import (
	"context"
	"time"

	"example.com/loop-mcp/loops"
)

// untilIdle returns true when ctx ends or nothing has wanted this process for as
// long as idle (0: never because of that), false when the engine has stopped.
func (h *host) untilIdle(ctx context.Context, idle time.Duration) bool {
	tick := time.NewTicker(min(max(idle/10, 50*time.Millisecond), 10*time.Second))
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return true
		case <-h.stopped:
			return false
		case <-tick.C:
		}
		switch wanted, err := h.wanted(ctx); {
		case err != nil:
			h.log.Debug("nobody knows whether there is work", "error", err)
			last = time.Now() // a store in trouble is no reason to leave it
		case wanted || h.Telling():
			last = time.Now()
		case idle > 0 && time.Since(last) >= idle:
			h.log.Info("nothing has wanted this process", "for", idle)
			return true
		}
	}
}

// wanted reports whether a loop that this process can work on runs, waits for
// time or wants a worker; in whichever process: that one may end. A loop that
// waits for its client or for a person is moved by a request, and whoever makes
// one is there.
func (h *host) wanted(ctx context.Context) (bool, error) {
	for page := ""; ; {
		heads, next, err := h.List(ctx, loops.Filter{Limit: 100, Page: page,
			Statuses: []loops.Status{loops.Running, loops.Queued, loops.Waiting, loops.Cancelling}})
		if err != nil {
			return false, err
		}
		for _, head := range heads {
			if s, err := h.Get(ctx, head.ID); err != nil || h.Serves(s) == nil {
				return true, nil //nolint:nilerr // one that can't be read now is no reason to leave
			}
		}
		if page = next; page == "" {
			return false, nil
		}
	}
}
