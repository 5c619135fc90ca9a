package leaktest

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestAGoroutineThatStaysIsSeen(t *testing.T) {
	before := running()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(ended); staysBehind(end) }()
	left := settled(before)
	close(end)
	<-ended
	if len(left) != 1 || !strings.Contains(left[0], "staysBehind") {
		t.Errorf("seen are %q", left)
	}
}

func staysBehind(end chan struct{}) { <-end }
