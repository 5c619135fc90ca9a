// Package fields is what is written into a configuration of a client, whatever
// its file looks like.
package fields

import "strings"

// Field is a key of an entry and its value: text, a list of texts or a truth
// value.
type Field = struct {
	Key   string
	Value any
}

// Written is a value as JSON and TOML write it, whose texts quote writes.
func Written(value any, quote func(text string) string) string {
	switch v := value.(type) {
	case string:
		return quote(v)
	case []string:
		texts := make([]string, len(v))
		for i, text := range v {
			texts[i] = quote(text)
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case bool:
		if v {
			return "true"
		}
	}
	return "false"
}
