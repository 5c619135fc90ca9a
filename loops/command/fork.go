package command

import (
	"encoding/json"

	"example.com/loop-mcp/loops"
)

var _ loops.Forker = (*Body)(nil)

// Fork implements [loops.Forker]. An agent's session stays with the original: two
// loops that continue the same one would write into each other's conversation.
func (b *Body) Fork(body loops.BodySpec, memory json.RawMessage, _ int) (json.RawMessage, string, error) {
	if !body.ReportsSession() {
		return memory, "", nil
	}
	s, fields := sessionsIn(memory)
	warning := ""
	if s.Current != "" && len(body.Resume) > 0 {
		warning = "the session of the agent's command line stays with the original: the fork begins a new one"
	}
	rest := sessions{}.into(fields)
	if len(fields) == 0 {
		rest = nil
	}
	return rest, warning, nil
}
