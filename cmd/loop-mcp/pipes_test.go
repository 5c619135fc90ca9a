package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestRunGoesOnWhenAProgramBesideItLeaves: the host of the store gets SIGPIPE when
// it sends something to a program that has just left, an ls for instance. It took
// that for its own reader's end and left with 130, in one of eight runs.
func TestRunGoesOnWhenAProgramBesideItLeaves(t *testing.T) {
	b := newBox(t)
	s := b.start("run", b.loop("slow", "slow", "until: {all: [{kind: claim}]}"))
	b.untilFile("begun")
	for range 10 {
		s.signal(syscall.SIGPIPE)
		b.want(0, []string{"ls"}, "slow-", "running")
	}
	b.write("go-on", "")
	if r := s.wait(); r.code != 0 || !strings.Contains(r.stdout, "completed") {
		t.Errorf("exit code %d, want 0\nstdout: %s\nstderr: %s", r.code, r.stdout, r.stderr)
	}
}

// TestRunEndsWhenNobodyReadsIt: as in loop-mcp run FILE | head -1.
func TestRunEndsWhenNobodyReadsIt(t *testing.T) {
	b := newBox(t)
	cmd := b.command("run", b.loop("hang", "hang", "until: {all: [{kind: claim}]}"), "--jsonl")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	b.untilFile("again")
	reader.Close()
	b.want(0, []string{"continue", b.only("hang"), "--detach", "--message", "something to print"})
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	b.want(0, []string{"continue", b.only("hang")}, "completed", "done at last")
}
