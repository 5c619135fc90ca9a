package main

import (
	"testing"

	"example.com/loop-mcp/kvstate/embed"
)

// TestWhatKeepsALoopMoving: the process that answers describes all that share
// the store, not itself.
func TestWhatKeepsALoopMoving(t *testing.T) {
	me := func(role string) embed.Peer { return embed.Peer{Runner: "me", Role: role, PID: 1} }
	other := func(role string) embed.Peer { return embed.Peer{Runner: "other", Role: role, PID: 2} }
	background := embed.Peer{Runner: "back", Role: roleBackground, PID: 3}
	tests := []struct {
		name   string
		role   string
		peers  []embed.Peer
		works  bool
		owner  string
		answer string
	}{
		{"a client alone", roleServer, []embed.Peer{me(roleServer)}, true, "me", "this client is connected"},
		{"nobody can look", roleServer, nil, true, "", "this client is connected"},
		{"two clients", roleServer, []embed.Peer{other(roleServer), me(roleServer)}, true, "other", "this client is connected, or another one is (server process 2)"},
		{"a client beside a background server", roleServer, []embed.Peer{me(roleServer), background}, true, "me", "until it settles: a background server is running (process 3)"},
		{"the background server itself", roleBackground, []embed.Peer{background}, true, "back", "until it settles: a background server is running (process 3)"},
		{"a worker itself", roleWorker, []embed.Peer{me(roleWorker)}, true, "me", "this worker runs"},
		{"a client beside a worker", roleServer, []embed.Peer{me(roleServer), other(roleWorker)}, true, "", "a worker is running (process 2)"},
		{"a server over HTTP itself", roleHTTP, []embed.Peer{me(roleHTTP)}, true, "me", "this server runs"},
		{"a server over HTTP beside a client", roleHTTP, []embed.Peer{me(roleHTTP), other(roleServer)}, true, "", "this server runs"},
		{"a client beside a server over HTTP", roleServer, []embed.Peer{me(roleServer), other(roleHTTP)}, true, "", "a server is running (process 2)"},
		{"run, alone", roleCommand, []embed.Peer{me(roleCommand)}, true, "me", "this command runs"},
		{"run, beside a client", roleCommand, []embed.Peer{me(roleCommand), other(roleServer)}, true, "me", "this command runs, or a client is connected (server process 2)"},
		{"show, beside a client", roleCommand, []embed.Peer{me(roleCommand), other(roleServer)}, false, "other", "a client is connected (server process 2)"},
		{"show, beside a run of that loop", roleCommand, []embed.Peer{me(roleCommand), other(roleCommand)}, false, "other", "a command runs (process 2)"},
		{"show, beside a run of another loop", roleCommand, []embed.Peer{me(roleCommand), other(roleCommand)}, false, "", "a process that works on loops is open: none is now"},
		{"show, alone", roleCommand, []embed.Peer{me(roleCommand)}, false, "dead", "a process that works on loops is open: none is now"},
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
