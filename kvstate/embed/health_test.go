package embed_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/kvstate/embed"
)

// TestHealth breaks the store below the server and mends it.
func TestHealth(t *testing.T) {
	dir := t.TempDir()
	health := make(chan error, 10)
	h := start(t, embed.Options{Dir: dir, Poll: 100 * time.Millisecond, OnHealth: func(err error) { health <- err }})
	put(t, h, "key", "value")
	// With a file in the way of the store the server cannot come back.
	store, aside := filepath.Join(dir, "store"), filepath.Join(dir, "aside")
	if err := errors.Join(os.Rename(store, aside), os.WriteFile(store, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := h.Restart(t.Context()); err == nil {
		t.Fatal("the restart succeeded without a store")
	}
	if err := <-health; err == nil {
		t.Error("a server that is gone is reported as healthy")
	}
	if err := errors.Join(os.Remove(store), os.Rename(aside, store)); err != nil {
		t.Fatal(err)
	}
	if err := <-health; err != nil {
		t.Errorf("a mended server is reported as %v", err)
	}
	holds(t, h, "key", "value")
}

// TestAServerThatGivesUpIsNotWaitedFor: nobody reached the store for the half minute
// that a server has to get ready, when the new one had said at once that it can't.
func TestAServerThatGivesUpIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := start(t, embed.Options{Dir: dir, Poll: time.Hour})
		store, aside := filepath.Join(dir, "store", "jetstream"), filepath.Join(dir, "aside")
		if err := errors.Join(os.Rename(store, aside), os.WriteFile(store, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := h.Restart(t.Context()); err == nil {
			t.Fatal("the restart succeeded without a store")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the restart gave up after %s", took)
		}
		if err := errors.Join(os.Remove(store), os.Rename(aside, store)); err != nil {
			t.Fatal(err)
		}
	})
}

// A server must not be restarted on a disk of which it is not known that it works.
func TestADiskIsNotKnownToWorkWhileItIsTried(t *testing.T) {
	if meanwhile, after := embed.WorksWhileTried(t.TempDir()); meanwhile || !after {
		t.Errorf("it works: %t while it was tried, %t afterwards", meanwhile, after)
	}
}

// TestHealthy lets a healthy server be polled for an hour.
func TestHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, embed.Options{Dir: t.TempDir(), OnHealth: func(err error) { t.Errorf("reported as %v", err) }})
		time.Sleep(time.Hour)
	})
}
