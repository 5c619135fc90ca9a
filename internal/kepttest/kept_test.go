package kepttest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"example.com/loop-mcp/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// verdict is a test that is told how it ends.
type verdict struct {
	testing.TB
	failed  bool
	cleanup func()
}

func (v *verdict) Failed() bool     { return v.failed }
func (v *verdict) Cleanup(f func()) { v.cleanup = f }

func TestWhatAFailedTestMadeStays(t *testing.T) {
	for _, failed := range []bool{true, false} {
		v := &verdict{TB: t}
		dir := Dir(v)
		if err := os.WriteFile(filepath.Join(dir, "effects"), []byte("one\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		v.failed = failed
		v.cleanup()
		_, err := os.Stat(filepath.Join(dir, "effects"))
		if gone := errors.Is(err, fs.ErrNotExist); gone == failed {
			t.Errorf("failed %t: %v", failed, err)
		}
		_ = os.RemoveAll(dir)
	}
}
