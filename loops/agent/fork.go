package agent

import (
	"encoding/json"
	"fmt"

	"example.com/loop-mcp/loops"
)

var _ loops.Forker = (*Body)(nil)

// Fork implements [loops.Forker]. A pass that was under way is the fork's first,
// with its conversation; otherwise the fork begins one with what a pass has of the
// one before. What it refers to is read from the original.
func (b *Body) Fork(_ loops.BodySpec, raw json.RawMessage, pass int) (json.RawMessage, string, error) {
	var m struct {
		Version int `json:"agent"`
		Pass    int `json:"pass"`
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil || m.Version <= 0 || json.Unmarshal(raw, &fields) != nil {
		return raw, "", nil //nolint:nilerr // another body's
	}
	if m.Version > memoryVersion {
		return nil, "", fmt.Errorf("the loop's memory has version %d and this program reads %d; use the newer program", m.Version, memoryVersion)
	}
	fields["pass"] = json.RawMessage("0")
	if pass != 0 && m.Pass == pass {
		fields["pass"] = json.RawMessage("1")
	}
	if open := fields["answer"]; open != nil { // its iteration is none of the fork's
		var answer map[string]json.RawMessage
		if err := json.Unmarshal(open, &answer); err != nil {
			return nil, "", fmt.Errorf("read the agent's memory: %w", err)
		}
		answer["iteration"] = json.RawMessage("0")
		fields["answer"], _ = json.Marshal(answer) // it was JSON
	}
	forked, err := json.Marshal(fields)
	return forked, "", err
}
