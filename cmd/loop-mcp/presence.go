package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"example.com/loop-mcp/kvstate/cluster"
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

// neighbour is a process that shares the store.
type neighbour struct {
	embed.Peer
	host string // the machine; empty: this one
}

// place names a neighbour's process.
func (n neighbour) place() string {
	if n.host == "" {
		return fmt.Sprintf("process %d", n.PID)
	}
	return fmt.Sprintf("process %d on %s", n.PID, plain(n.host))
}

// neighbours are the processes that share the store; on NATS servers those that
// work on loops.
func (h *host) neighbours() ([]neighbour, error) {
	var all []neighbour
	switch store := h.nats.(type) {
	case interface{ Peers() ([]embed.Peer, error) }:
		peers, err := store.Peers()
		for _, p := range peers {
			all = append(all, neighbour{Peer: p})
		}
		return all, err
	case *cluster.Member:
		ctx, cancel := context.WithTimeout(context.Background(), lookFor)
		defer cancel()
		workers, err := store.Recent(ctx)
		for _, w := range workers { // an older program does not say its role
			all = append(all, neighbour{Peer: embed.Peer{Runner: w.Process(), Role: cmp.Or(w.Role, roleWorker), PID: w.PID}, host: w.Host})
		}
		return all, err
	}
	return nil, nil
}

// lookFor is how long servers may take to say who works on their loops.
const lookFor = time.Second

// noneNow ends what is said of a loop that nobody works on.
const noneNow = "none is now"

// runsWhile says what keeps a loop moving: of all processes that share the
// store, the one that stays longest counts, whichever of them answers.
func (h *host) runsWhile(s loops.State) string {
	all, err := h.neighbours()
	if err != nil {
		h.log.Debug("nobody knows who shares the store", "error", err)
	}
	owner := s.Claim.Owner
	if h.settings.clustered() {
		owner = cluster.Worker{Name: owner}.Process()
	}
	return keptBy(all, h.nats.Runner(), h.role, h.works(s.ID), owner)
}

// keptBy is runsWhile for a process named self with that role; works: it works
// on the loop when the loop wants that. owner has the loop's claim.
func keptBy(peers []neighbour, self, role string, works bool, owner string) string {
	var server, worker, claimed *neighbour // others
	for i, p := range peers {
		switch {
		case p.Role == roleBackground:
			return fmt.Sprintf("until it settles: a background server is running (%s)", p.place())
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
		return fmt.Sprintf("a server is running (%s)", worker.place())
	case worker != nil:
		return fmt.Sprintf("a worker is running (%s)", worker.place())
	case role == roleServer && works && server != nil:
		return fmt.Sprintf("this client is connected, or another one is (server %s)", server.place())
	case role == roleServer && works:
		return "this client is connected"
	case works && server != nil:
		return fmt.Sprintf("this command runs, or a client is connected (server %s)", server.place())
	case works:
		return "this command runs"
	case server != nil:
		return fmt.Sprintf("a client is connected (server %s)", server.place())
	case claimed != nil:
		return fmt.Sprintf("a command runs (%s)", claimed.place())
	}
	return "a process that works on loops is open: " + noneNow
}

// works reports whether this process works on a loop when that wants a worker.
func (h *host) works(id loops.ID) bool {
	return h.working.Load() && (h.only == "" || h.only == id)
}
