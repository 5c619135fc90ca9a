package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loop-mcp/internal/disktest"
)

// onSmallDisk is a user's machine whose store is on a disk of 4 MiB.
func onSmallDisk(t *testing.T) (*box, *disktest.Disk) {
	t.Helper()
	disk := disktest.Small(t, 4<<20)
	b := newBox(t)
	b.env = append(b.env, "LOOP_MCP_HOME="+filepath.Join(disk.Dir, "data"))
	return b, disk
}

// saysFull verifies what a person or a client is told.
func (b *box) saysFull(what, text string) {
	b.t.Helper()
	if !strings.Contains(text, "the disk of ") || !strings.Contains(text, "is full") || strings.Contains(text, "deadline") || strings.Contains(text, "internal error") {
		b.t.Errorf("%s says %q", what, text)
	}
}

// TestTheDiskIsFullWhileLoopsRun: two servers and a command line, one of them
// hosts. All say what is wrong, the loop that runs does not fail, and all goes on
// without a restart when there is room again.
func TestTheDiskIsFullWhileLoopsRun(t *testing.T) {
	b, disk := onSmallDisk(t)
	host := b.opened()
	other := b.opened()
	b.want(0, []string{"start", b.loop("slow", "slow", scoreThree)})
	slow := b.only("slow")
	host.until(slow, "running")
	b.untilFile("begun")
	disk.Fill(0)
	b.write("go-on", "")

	for name, c := range map[string]*client{"the host": host, "the other": other} {
		_, problem := c.call("loop_start", map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "?"}}}})
		b.saysFull(name, problem)
		if s, problem := c.call("loop_list", map[string]any{}); problem != "" {
			t.Errorf("loop_list of %s: %s, %v", name, problem, s)
		}
		s, problem := c.call("loop_inspect", map[string]any{"loop_id": slow})
		if why := fmt.Sprint(s["why"]); problem != "" || s["status"] != "running" || !strings.Contains(why, "is full") {
			t.Errorf("%s shows %v, why %s, %s", name, s["status"], why, problem)
		}
		_, problem = c.call("loop_continue", map[string]any{"loop_id": slow, "action": "steer", "message": "x"})
		b.saysFull("a steer through "+name, problem)
	}
	disk.Free()
	other.until(slow, "completed")
	if p, _ := host.progress(slow); p.starts != p.iteration {
		t.Errorf("%v starts for %v iterations", p.starts, p.iteration)
	}
	b.want(0, []string{"verify"})
}

// TestStartingOnAFullDisk: every command says so, and works when there is room.
func TestStartingOnAFullDisk(t *testing.T) {
	b, disk := onSmallDisk(t)
	file := b.loop("good", "count", scoreThree)
	b.want(0, []string{"run", file}, "completed")
	for _, leave := range []int{0, 100 << 10} {
		disk.Fill(leave)
		b.saysFull("run", b.want(1, []string{"run", file}).stderr)
		b.saysFull("start", b.want(1, []string{"start", file}).stderr)
		c := b.connect()
		_, problem := c.call("loop_start", map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "?"}}}})
		b.saysFull("loop_start", problem)
		disk.Free()
		if _, problem := c.call("loop_start", map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "?"}}}}); problem != "" {
			t.Errorf("with room again: %s", problem)
		}
		c.close()
	}
	b.want(0, []string{"verify"})
}

// TestABackupOntoAFullDiskSaysSo and leaves no half of a file.
func TestABackupOntoAFullDiskSaysSo(t *testing.T) {
	b, disk := onSmallDisk(t)
	b.env = append(b.env, "LOOP_MCP_HOME="+filepath.Join(b.dir, "elsewhere"))
	b.want(0, []string{"run", b.loop("good", "count", scoreThree)}, "completed")
	disk.Fill(0)
	target := filepath.Join(disk.Dir, "loops.zip")
	b.want(1, []string{"backup", target}, "no space left", target)
	if left, _ := filepath.Glob(filepath.Join(disk.Dir, "*")); len(left) != 1 { // the ballast
		t.Errorf("left are %v", left)
	}
	disk.Free()
	b.want(0, []string{"backup", target})
}
