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
		}
		now := h.health()
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

// recover restarts an unhealthy server if there is room on the disk.
func (h *Host) recover() {
	free, err := diskFree(h.opts.Dir)
	if err != nil || free < roomToStart {
		h.log.Warnf("the store's disk has %d bytes free; the server is restarted when it has %d", free, roomToStart)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := h.Restart(ctx); err != nil {
		h.log.Errorf("%v", err)
	}
}
