package command

import (
	"encoding/json"
	"testing"

	"example.com/loop-mcp/loops"
)

func TestForkBeginsASessionOfItsOwn(t *testing.T) {
	session := loops.BodySpec{Kind: loops.BodyCommand, Usage: loops.UsageClaudeJSON, Resume: []string{"--resume"}}
	plain := loops.BodySpec{Kind: loops.BodyCommand, Usage: loops.UsageJSON}
	for name, test := range map[string]struct {
		body         loops.BodySpec
		memory, want string
		warned       bool
	}{
		"a session": {session, `{"session":"7a5d5158-aaaa","sessions":[{"id":"7a5d5158-aaaa"}]}`, "", true},
		"a session and more of the program's own": {session, `{"session":"7a5d5158-aaaa","seen":[1]}`, `{"seen":[1]}`, true},
		"no session yet":                      {session, `{"seen":[1]}`, `{"seen":[1]}`, false},
		"a program with its own word session": {plain, `{"session":"7a5d5158-aaaa"}`, `{"session":"7a5d5158-aaaa"}`, false},
		"what is no object":                   {plain, `[1]`, `[1]`, false},
	} {
		got, warning, err := (&Body{}).Fork(test.body, json.RawMessage(test.memory), 3)
		if string(got) != test.want || (warning != "") != test.warned || err != nil {
			t.Errorf("%s: memory %s, warning %q, %v; want %s", name, got, warning, err, test.want)
		}
	}
}
