package embed

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// poll watches the server's health until the host is closed.
func (h *Host) poll() {
	ticker := time.NewTicker(h.opts.Poll)
	defer ticker.Stop()
	var last error
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		case <-h.log.wrong:
		}
		h.sayAgain()
		now := h.health()
		if now != nil {
			ticker.Reset(min(h.opts.Poll, soonPoll))
		} else if last != nil {
			ticker.Reset(h.opts.Poll)
		}
		if (now == nil) != (last == nil) && h.opts.OnHealth != nil {
			h.opts.OnHealth(now)
		}
		// What is wrong twice running is no passing thing.
		if now != nil && last != nil {
			h.recover()
		}
		last = now
	}
}

// health returns what is wrong with the server.
func (h *Host) health() error {
	if err := h.folder.room(0, true); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv == nil {
		return errors.New("the store's server is not running")
	}
	if status := h.srv.Healthz(nil); status.Status != "ok" {
		return fmt.Errorf("the store's server is unhealthy: %s", status.Error)
	}
	return nil
}

// recover restarts a server that is unwell if its disk is not the cause.
func (h *Host) recover() {
	if !h.folder.works() {
		return // or it is asked again at the next look
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := h.Restart(ctx); err != nil {
		h.log.Errorf("%v", h.folder.explain(err))
	}
}
