//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestStepDownHandsTheStoreOn: loops go on, and alone the host stays.
func TestStepDownHandsTheStoreOn(t *testing.T) {
	b := newBox(t)
	b.want(1, []string{"host", "--step-down"}, "no process hosts")
	one := b.opened()
	b.want(1, []string{"host", "--step-down"}, "process "+one.pid()+" goes on hosting the loops in "+filepath.Join(b.dir, "store")+": it is the only one that has them open, so there is nobody")
	b.want(0, []string{"start", b.loop("slow", "slow", scoreThree)})
	id := b.only("slow")
	one.until(id, "running")
	two := b.opened()
	b.want(0, []string{"host", "--step-down"}, "Process "+two.pid()+" hosts")
	b.write("go-on", "")
	one.until(id, "completed")
	two.until(id, "completed")
	if p, _ := two.progress(id); p.starts != p.iteration {
		t.Errorf("the handover cost %v starts for %v iterations", p.starts, p.iteration)
	}
	b.want(0, []string{"host", "--step-down"}, "Process "+one.pid()+" hosts")
}

// unixDialer dials one socket.
type unixDialer string

func (d unixDialer) Dial(string, string) (net.Conn, error) { return net.Dial("unix", string(d)) }
func (unixDialer) SkipTLSHandshake() bool                  { return true }

// newerProgram takes the store over as a program of a protocol to come would.
func (b *box) newerProgram() {
	b.t.Helper()
	store := filepath.Join(b.dir, "store")
	var e struct{ Address string }
	if err := json.Unmarshal([]byte(readFile(b.t, filepath.Join(store, "endpoint.json"))), &e); err != nil {
		b.t.Fatal(err)
	}
	conn, err := nats.Connect("nats://loop-mcp", nats.SetCustomDialer(unixDialer(e.Address)))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	answer, err := conn.Request("loop.host.stepdown", fmt.Appendf(nil, `{"protocol":99,"version":"99.0.0","pid":%d,"runner":"run-new"}`, os.Getpid()), time.Minute)
	if err != nil || strings.Contains(string(answer.Data), "problem") {
		b.t.Fatalf("the host answered %v, %v", answer, err)
	}
	lock, err := os.OpenFile(filepath.Join(store, "LOCK"), os.O_RDWR, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		b.t.Fatal(err)
	}
	b.write("store/endpoint.json.new", fmt.Sprintf(`{"pid":%d,"version":"99.0.0","protocol":99,"network":"unix","address":"/nowhere"}`, os.Getpid()))
	if err := os.Rename(filepath.Join(store, "endpoint.json.new"), filepath.Join(store, "endpoint.json")); err != nil {
		b.t.Fatal(err)
	}
}

// TestANewerProgramTakesTheStoreFromOlderOnes: they stop their work, say what to
// do, and leave their loops to it.
func TestANewerProgramTakesTheStoreFromOlderOnes(t *testing.T) {
	b := newBox(t)
	c := b.opened()
	background := b.detached()
	b.want(0, []string{"start", b.loop("sleeper", "sleep", "until: {all: [{kind: claim}]}")})
	b.untilFile("pid")
	run := b.start("run", b.loop("slow", "slow", scoreThree))
	b.until("the second loop was not started", func() bool { return len(b.answer(b.want(0, []string{"ls", "--json"}))["items"].([]any)) == 2 })
	b.newerProgram()
	const sentence = "a newer loop-mcp hosts the loops"
	if r := run.wait(); r.code != 1 || !strings.Contains(r.stderr, sentence) {
		t.Errorf("run ended with %d: %s", r.code, r.stderr)
	}
	problem := ""
	defer func() { t.Log(problem, c.stderr.text()) }()
	b.until("the client is not told", func() bool {
		_, problem = c.call("loop_list", map[string]any{})
		return strings.Contains(problem, sentence) && strings.Contains(problem, "restart this client")
	})
	b.untilGone(background)
	if log := readFile(t, filepath.Join(b.dir, "store", "background.log")); !strings.Contains(log, sentence) {
		t.Errorf("the log of the background server: %s", log)
	}
	b.until("the server keeps its claims", func() bool { return len(b.processes()) == 0 })
	b.until("the body runs on", func() bool { return !runs(readFile(t, filepath.Join(b.dir, "pid"))) })
	b.want(1, []string{"ls"}, sentence)
}
