//go:build unix

package mcptools

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

// BenchmarkCall is a call of a tool over stdio, there and back.
func BenchmarkCall(b *testing.B) {
	box, err := New(Config{Servers: map[string]Server{"fake": fakeServer()}}, &Options{Self: filepath.Join(b.TempDir(), "none")})
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close(b.Context())
	s, err := box.Open(b.Context(), theLoop, b.TempDir(), []string{"*"})
	if err != nil {
		b.Fatal(err)
	}
	args := json.RawMessage(`{"path":"a.txt"}`)
	for b.Loop() {
		if out, err := s.Call(b.Context(), "fake__echo", args); err != nil || out.Error {
			b.Fatal(out, err)
		}
	}
}
