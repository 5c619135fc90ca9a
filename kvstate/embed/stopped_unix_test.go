//go:build unix

package embed_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"example.com/loop-mcp/kvstate/embed"
)

// TestStoppedHost: a host that is stopped keeps the lock, the others say which
// process does not answer, and all go on with it.
func TestStoppedHost(t *testing.T) {
	dir := t.TempDir()
	host := startChild(t, childDir+"="+dir, childShares+"=yes")
	m := join(t, embed.Options{Dir: dir})
	if m.Hosts() {
		t.Fatal("there are two hosts")
	}
	put(t, m, "key", "value")
	if err := host.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(host.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil { // until it stands still
		t.Fatal(err)
	}
	pid := fmt.Sprint(host.Process.Pid)
	_, err := embed.JoinBriefly(t.Context(), embed.Options{Dir: dir})
	var inUse *embed.InUseError
	if !errors.As(err, &inUse) || !inUse.Silent || !strings.Contains(err.Error(), "kill -CONT "+pid) {
		t.Errorf("somebody who comes is told %v", err)
	} else if runtime.GOOS == "linux" && !inUse.Lasts() {
		t.Errorf("nobody sees that it is stopped: %v", err)
	}
	if _, err := embed.StepDown(t.Context(), dir, "1.0.0"); err == nil || !strings.Contains(err.Error(), "kill -CONT "+pid) {
		t.Errorf("who asks it to step down is told %v", err)
	}
	if h, ok := embed.Look(dir); !ok || h.Answers || fmt.Sprint(h.PID) != pid {
		t.Errorf("the host is %+v, %v", h, ok)
	}
	eventually(t, func(context.Context) error {
		if err := m.Trouble(); err == nil || !strings.Contains(err.Error(), "kill -CONT "+pid) || strings.Count(err.Error(), "is stopped") != 1 {
			return fmt.Errorf("somebody who is there is told %w", err)
		}
		return nil
	})
	if err := host.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	holds(t, m, "key", "value")
	if m.Hosts() {
		t.Error("there are two hosts")
	}
	if h, ok := embed.Look(dir); !ok || !h.Answers || !h.Shared {
		t.Errorf("the host is %+v, %v", h, ok)
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait()
	holds(t, m, "key", "value")
	if !m.Hosts() || m.Trouble() != nil {
		t.Errorf("after the kill: hosts %v, %v", m.Hosts(), m.Trouble())
	}
	if _, ok := embed.Look(t.TempDir()); ok {
		t.Error("somebody hosts an empty directory")
	}
}
