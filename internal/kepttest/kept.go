// Package kepttest gives tests a folder that stays when the test fails, so that
// the store, the effect log and whatever else a fault has left can be looked at.
package kepttest

import (
	"os"
	"strings"
	"testing"
)

// Dir makes a folder that goes with its test, unless the test fails: then the
// test's log says where it is.
func Dir(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	dir, err := os.MkdirTemp("", name[:min(len(name), 40)]+"-") //nolint:usetesting // it stays when the test fails, and sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept in %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove what the test made: %v", err)
		}
	})
	return dir
}
