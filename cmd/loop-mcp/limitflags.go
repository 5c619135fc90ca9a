package main

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"example.com/loop-mcp/loops"
)

// limitNames are the limits that --limit takes.
func limitNames() []string {
	t := reflect.TypeFor[loops.Limits]()
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

// applyLimits sets the limits that NAME=VALUE flags give.
func applyLimits(limits *loops.Limits, flags []string) error {
	values, err := pairs("--limit", flags)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return nil
	}
	object := make(map[string]any, len(values))
	for name, text := range values {
		object[name] = text
		if number, err := strconv.ParseFloat(text, 64); err == nil {
			object[name] = number
		}
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return usagef("--limit: %w", err)
	}
	if err := loops.Decode(encoded, limits); err != nil {
		return usagef("--limit %w", err)
	}
	return nil
}
