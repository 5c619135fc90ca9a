package openai

import (
	"encoding/json"
	"strings"
)

// contentOf reads a piece of content: a text, or parts of text and reasoning.
func contentOf(raw json.RawMessage) (text, thought string) {
	if len(raw) == 0 || raw[0] != '[' {
		return textOf(raw), ""
	}
	var parts []struct {
		Type     string          `json:"type"`
		Text     string          `json:"text"`
		Thinking json.RawMessage `json:"thinking"` // parts of text
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", ""
	}
	for _, p := range parts {
		text += p.Text
		if len(p.Thinking) > 0 {
			inner, _ := contentOf(p.Thinking)
			thought += inner
		}
	}
	return text, thought
}

func textOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// argsOf reads a piece of arguments.
func argsOf(raw json.RawMessage) string {
	if len(raw) > 0 && raw[0] == '{' {
		return string(raw)
	}
	return textOf(raw)
}

// joined puts pieces of reasoning_details together: neighbours of the same type
// and index are one, their texts in a row. The router takes back only whole ones.
func joined(pieces []json.RawMessage) []json.RawMessage {
	var whole []map[string]json.RawMessage
	texts := map[int]map[string]*strings.Builder{} // of each whole one, by member
	for _, piece := range pieces {
		p := map[string]json.RawMessage{}
		if json.Unmarshal(piece, &p) != nil {
			continue
		}
		n := len(whole) - 1
		if n < 0 || string(whole[n]["type"]) != string(p["type"]) || string(whole[n]["index"]) != string(p["index"]) || textOf(p["type"]) == "reasoning.encrypted" {
			whole, n = append(whole, map[string]json.RawMessage{}), n+1
			texts[n] = map[string]*strings.Builder{}
		}
		for name, value := range p {
			switch {
			case name == "text" || name == "summary":
				if texts[n][name] == nil {
					texts[n][name] = &strings.Builder{}
				}
				texts[n][name].WriteString(textOf(value))
			case string(value) != "null" || whole[n][name] == nil:
				whole[n][name] = value
			}
		}
	}
	out := make([]json.RawMessage, 0, len(whole))
	for n, w := range whole {
		for name, text := range texts[n] {
			w[name] = marshal(text.String())
		}
		out = append(out, marshal(w))
	}
	return out
}
