package main

import (
	"fmt"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// The roles of the processes that share a store.
const (
	roleServer     = "server"     // an MCP server: there as long as its client is connected
	roleHTTP       = "http"       // an MCP server over HTTP: there until it is told to end
	roleCommand    = "command"    // a command line that works on one loop, or on none
	roleBackground = "background" // serve --detach: there until nothing is left to do
	roleWorker     = "worker"     // works on loops in the foreground until it is told to end
	roleHandler    = "handler"    // serves a handler and works on no loop
)

// neighbours tells who shares the store; a backend may.
type neighbours interface{ Peers() ([]embed.Peer, error) }

// runsWhile says what keeps a loop moving: of all processes that share the
// store, the one that stays longest counts, whichever of them answers.
func (h *host) runsWhile(s loops.State) string {
	if h.settings.clustered() {
		return "a worker is there"
	}
	var peers []embed.Peer
	if n, ok := h.nats.(neighbours); ok {
		var err error
		if peers, err = n.Peers(); err != nil {
			h.log.Debug("nobody knows who shares the store", "error", err)
		}
	}
	return keptBy(peers, h.nats.Runner(), h.role, h.works(s.ID), s.Claim.Owner)
}

// keptBy is runsWhile for a process named self with that role; works: it works
// on the loop when the loop wants that. owner has the loop's claim.
func keptBy(peers []embed.Peer, self, role string, works bool, owner string) string {
	var server, worker, claimed *embed.Peer // others
	for i, p := range peers {
		switch {
		case p.Role == roleBackground:
			return fmt.Sprintf("until it settles: a background server is running (process %d)", p.PID)
		case p.Role == roleWorker, p.Role == roleHTTP && p.Runner != self:
			worker = &peers[i]
		case p.Runner == self:
		case p.Role == roleServer:
			server = &peers[i]
		case p.Runner == owner:
			claimed = &peers[i]
		}
	}
	switch {
	case role == roleWorker && works:
		return "this worker runs"
	case role == roleHTTP && works:
		return "this server runs"
	case worker != nil && worker.Role == roleHTTP:
		return fmt.Sprintf("a server is running (process %d)", worker.PID)
	case worker != nil:
		return fmt.Sprintf("a worker is running (process %d)", worker.PID)
	case role == roleServer && works && server != nil:
		return fmt.Sprintf("this client is connected, or another one is (server process %d)", server.PID)
	case role == roleServer && works:
		return "this client is connected"
	case works && server != nil:
		return fmt.Sprintf("this command runs, or a client is connected (server process %d)", server.PID)
	case works:
		return "this command runs"
	case server != nil:
		return fmt.Sprintf("a client is connected (server process %d)", server.PID)
	case claimed != nil:
		return fmt.Sprintf("a command runs (process %d)", claimed.PID)
	}
	return "a process that works on loops is open: none is now"
}

// works reports whether this process works on a loop when that wants a worker.
func (h *host) works(id loops.ID) bool {
	return h.working.Load() && (h.only == "" || h.only == id)
}
