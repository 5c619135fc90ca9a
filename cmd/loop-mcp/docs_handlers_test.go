package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"example.com/loop-mcp/loops/remote"
)

func wireFields[T any](*testing.T) string { return wireTable(reflect.TypeFor[T]()) }

// wireTable lists the fields of a message of the handlers' wire.
func wireTable(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("| field | meaning |\n| --- | --- |\n")
	rows(&b, t, "")
	return b.String()
}

func rows(b *strings.Builder, t reflect.Type, prefix string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		text := f.Tag.Get("jsonschema_description")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", prefix+name, strings.ReplaceAll(text, "|", "\\|"))
		if inner == reflect.TypeFor[remote.Usage]() || inner == reflect.TypeFor[remote.Ask]() || inner == reflect.TypeFor[remote.Failure]() {
			rows(b, inner, prefix+name+".")
		}
	}
}
