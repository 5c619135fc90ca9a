package main

import (
	"testing"

	"example.com/loop-mcp/kvstate/embed"
)

// TestWhatKeepsALoopMoving: the process that answers describes all that share
// the store, not itself.
func TestWhatKeepsALoopMoving(t *testing.T) {
	me := func(role string) neighbour { return neighbour{Peer: embed.Peer{Runner: "me", Role: role, PID: 1}} }
	other := func(role string) neighbour {
		return neighbour{Peer: embed.Peer{Runner: "other", Role: role, PID: 2}}
	}
	background := neighbour{Peer: embed.Peer{Runner: "back", Role: roleBackground, PID: 3}}
	far := neighbour{Peer: embed.Peer{Runner: "far", Role: roleWorker, PID: 4}, host: "build2"}
	tests := []struct {
		name   string
		role   string
		peers  []neighbour
		works  bool
		owner  string
		answer string
	}{
		{"a client alone", roleServer, []neighbour{me(roleServer)}, true, "me", "this client is connected"},
		{"nobody can look", roleServer, nil, true, "", "this client is connected"},
		{"two clients", roleServer, []neighbour{other(roleServer), me(roleServer)}, true, "other", "this client is connected, or another one is (server process 2)"},
		{"a client beside a background server", roleServer, []neighbour{me(roleServer), background}, true, "me", "until it settles: a background server is running (process 3)"},
		{"the background server itself", roleBackground, []neighbour{background}, true, "back", "until it settles: a background server is running (process 3)"},
		{"a worker itself", roleWorker, []neighbour{me(roleWorker)}, true, "me", "this worker runs"},
		{"a client beside a worker", roleServer, []neighbour{me(roleServer), other(roleWorker)}, true, "", "a worker is running (process 2)"},
		{"a server over HTTP itself", roleHTTP, []neighbour{me(roleHTTP)}, true, "me", "this server runs"},
		{"a server over HTTP beside a client", roleHTTP, []neighbour{me(roleHTTP), other(roleServer)}, true, "", "this server runs"},
		{"a client beside a server over HTTP", roleServer, []neighbour{me(roleServer), other(roleHTTP)}, true, "", "a server is running (process 2)"},
		{"run, alone", roleCommand, []neighbour{me(roleCommand)}, true, "me", "this command runs"},
		{"run, beside a client", roleCommand, []neighbour{me(roleCommand), other(roleServer)}, true, "me", "this command runs, or a client is connected (server process 2)"},
		{"show, beside a client", roleCommand, []neighbour{me(roleCommand), other(roleServer)}, false, "other", "a client is connected (server process 2)"},
		{"show, beside a run of that loop", roleCommand, []neighbour{me(roleCommand), other(roleCommand)}, false, "other", "a command runs (process 2)"},
		{"show, beside a run of another loop", roleCommand, []neighbour{me(roleCommand), other(roleCommand)}, false, "", "a process that works on loops is open: none is now"},
		{"a client beside a worker elsewhere", roleServer, []neighbour{me(roleServer), far}, true, "far", "a worker is running (process 4 on build2)"},
		{"show, alone", roleCommand, []neighbour{me(roleCommand)}, false, "dead", "a process that works on loops is open: none is now"},
	}
	for _, tt := range tests {
		self := "me"
		if tt.role == roleBackground {
			self = "back"
		}
		if got := keptBy(tt.peers, self, tt.role, tt.works, tt.owner); got != tt.answer {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.answer)
		}
	}
}
