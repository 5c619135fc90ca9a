// Package leaktest ends the tests of a package with a look at the goroutines
// that they left behind.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines have for their end after the last test.
const patience = 15 * time.Second

// lasting are functions of goroutines that the standard library starts once and
// never ends.
var lasting = []string{"os/signal.signal_recv", "os/signal.loop", "runtime.ensureSigM", "testing.(*M).", "testing.runFuzz", "internal/poll.runtime_pollServerInit"}

// upstream is how goroutines look that libraries leave behind.
var upstream = [][]string{
	// nats.go 1.55, when it puts an object and the machine is slow: the publisher has
	// been cleaned up before its goroutine reads which channel it is to wait on, and
	// it waits on none for good.
	{"[chan receive (nil chan)", "jetstream.(*jetStream).resetPendingAcksOnReconnect"},
	// nats-server 2.15, for each batch that it has no room to stage. A server that was
	// not shut down leaves many others.
	{"[select", "server.(*msgBlock).flushLoop", "created by github.com/nats-io/nats-server/v2/server.(*msgBlock).spinUpFlushLoopLocked"},
}

// Run runs the tests and returns the exit code for os.Exit: that of the tests,
// or 1 with the stacks of the goroutines that are there and were not before.
func Run(m *testing.M) int {
	before := running()
	code := m.Run()
	if code != 0 {
		return code
	}
	left := settled(before)
	if len(left) == 0 {
		return 0
	}
	fmt.Fprintf(os.Stderr, "the tests left %d goroutines behind:\n\n", len(left))
	for _, stack := range left {
		fmt.Fprintln(os.Stderr, stack+"\n")
	}
	return 1
}

// settled waits until no goroutine but those of before is left, and returns the
// stacks of those that stay.
func settled(before map[string]string) []string {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		var left []string
		for id, stack := range running() {
			if _, was := before[id]; !was {
				left = append(left, stack)
			}
		}
		select {
		case <-tick.C:
		case <-late:
			slices.Sort(left)
			return left
		}
		if len(left) == 0 {
			return nil
		}
	}
}

// running returns the stacks of all goroutines but this one and the lasting
// ones, by number.
func running() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for i, stack := range strings.Split(strings.TrimSpace(string(buf)), "\n\n") {
		if i == 0 || slices.ContainsFunc(lasting, func(f string) bool { return strings.Contains(stack, f) }) {
			continue
		}
		if slices.ContainsFunc(upstream, func(parts []string) bool {
			return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(stack, part) })
		}) {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}
