package command

import (
	"encoding/json"
	"strings"
)

// events calls f for each JSON object of a report: one object, an array of
// them, or one a line with other text between.
func events(stdout string, f func(json.RawMessage)) {
	text := strings.TrimSpace(stdout)
	var list []json.RawMessage
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil {
		for _, one := range list {
			f(one)
		}
		return
	}
	if strings.HasPrefix(text, "{") && json.Valid([]byte(text)) {
		f(json.RawMessage(text))
		return
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "{") && json.Valid([]byte(line)) {
			f(json.RawMessage(line))
		}
	}
}

// count is a number of tokens in somebody else's report. What is no sane count
// is an error when the sums are made.
type count struct {
	raw json.RawMessage
}

func (c *count) UnmarshalJSON(raw []byte) error {
	c.raw = append(c.raw[:0], raw...)
	return nil
}

// counts adds counts up and remembers the first wrong one.
type counts struct{ err error }

func (s *counts) add(field string, all ...count) int64 {
	var sum int64
	for _, c := range all {
		if len(c.raw) == 0 || string(c.raw) == "null" {
			continue
		}
		n, err := whole(c.raw, maxTokens)
		if err != nil && s.err == nil {
			s.err = fieldError(field, err)
		}
		sum += n
	}
	return sum
}
