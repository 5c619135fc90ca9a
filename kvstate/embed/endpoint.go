package embed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const endpointFile = "endpoint.json"

// Protocol is the number of what processes on one store agree on: how they reach
// the host, and what is in the store. Those with another number do not mix.
const Protocol = 1

// endpoint is what endpoint.json says about the process that has the directory.
type endpoint struct {
	PID        int       `json:"pid"`
	Runner     string    `json:"runner,omitempty"` // its name in claims
	Started    time.Time `json:"started"`
	Version    string    `json:"version"`
	Protocol   int       `json:"protocol"`
	Durability string    `json:"durability"`
	Command    string    `json:"command"`
	Alone      bool      `json:"alone,omitempty"`   // it does not share the store
	Network    string    `json:"network,omitempty"` // unix or tcp
	Address    string    `json:"address,omitempty"`
	Token      string    `json:"token,omitempty"` // that the server asks for
}

// announce tells other processes who has the directory and how to reach it. Who
// only looks does so later when there is no room.
func (h *Host) announce(e endpoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.say(e)
}

// sayAgain announces what had no room before.
func (h *Host) sayAgain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unsaid == nil {
		return
	}
	if err := h.say(*h.unsaid); err != nil {
		h.log.Errorf("%v", err)
	}
}

// say writes endpoint.json. The caller holds mu.
func (h *Host) say(e endpoint) error {
	e.PID, e.Runner, e.Started = os.Getpid(), h.runner, time.Now().UTC().Truncate(time.Second)
	e.Version, e.Protocol, e.Durability = h.opts.Version, h.opts.protocol, h.opts.Durability
	e.Command = commandLine()
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := filepath.Join(h.opts.Dir, endpointFile)
	err = replace(path, data)
	if noRoom(err) { // the one that is there is about a host that is gone, or this one
		_ = os.Remove(path)
		err = replace(path, data)
	}
	h.unsaid = nil
	switch {
	case err == nil:
		return nil
	case h.opts.Looks && noRoom(err):
		h.unsaid = &e
		return nil
	}
	return fmt.Errorf("say who has the store: %w", err)
}

// readEndpoint returns what endpoint.json says. It may be about a process that
// is gone: the lock decides.
func readEndpoint(dir string) (e endpoint, ok bool) {
	data, err := os.ReadFile(filepath.Join(dir, endpointFile))
	if err != nil || json.Unmarshal(data, &e) != nil {
		return endpoint{}, false
	}
	return e, true
}

// IncompatibleError says that the host of a store is of a version that does not
// mix with this one.
type IncompatibleError struct {
	Dir           string
	PID           int
	Version, Mine string // of the programs
	Protocol      int    // of the host
	Own           int    // protocol of this program
}

// Error names both versions and says what to do.
func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("process %d (version %s) hosts the loops in %s and speaks protocol %d, this program (version %s) protocol %d: use the same version, or end that process",
		e.PID, e.Version, e.Dir, e.Protocol, e.Mine, e.Own)
}
