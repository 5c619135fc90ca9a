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
	b.want(1, []string{"backup", target}, "the disk of "+disk.Dir+" is full", target)
	if left, _ := filepath.Glob(filepath.Join(disk.Dir, "*")); len(left) != 1 { // the ballast
		t.Errorf("left are %v", left)
	}
	disk.Free()
	b.want(0, []string{"backup", target})
}

// TestEveryCallAndCommandOnAFullDiskSaysSo: each tool that changes something and
// each command, with a server there and without one, also where it is the
// configuration that can't be written. What only reads is answered all the same,
// and a copy on another disk is whole.
func TestEveryCallAndCommandOnAFullDiskSaysSo(t *testing.T) {
	b, disk := onSmallDisk(t)
	b.env = append(b.env, "XDG_CONFIG_HOME="+filepath.Join(disk.Dir, "config"), "LOOP_MCP_ALLOW_COMMANDS=*")
	file := b.loop("good", "count", scoreThree)
	b.want(0, []string{"run", file}, "completed")
	b.want(6, []string{"run", b.loop("asks", "count", "until: {all: [{kind: human, question: fine?}]}")})
	b.want(0, []string{"start", b.loop("rests", "count", scoreThree)})
	done, asks, rests := b.only("good"), b.only("asks"), b.only("rests")
	b.want(0, []string{"pause", rests})
	c := b.opened()
	mine, problem := c.call("loop_start", map[string]any{"goal": "x", "until": map[string]any{"all": []any{map[string]any{"kind": "claim"}}}})
	if problem != "" {
		t.Fatal(problem)
	}
	turn, _ := mine["attention"].(map[string]any)
	id := fmt.Sprint(mine["loop_id"])
	waits, _ := c.call("loop_inspect", map[string]any{"loop_id": asks})
	approval, _ := waits["attention"].(map[string]any)
	elsewhere := filepath.Join(b.dir, "loops.zip")
	b.want(0, []string{"backup", elsewhere})
	disk.Fill(0)
	for name, args := range map[string]map[string]any{
		"loop_continue submit": {"loop_id": id, "action": "submit", "attention_id": turn["id"], "output": "x", "done": true},
		"loop_continue steer":  {"loop_id": id, "action": "steer", "message": "x"},
		"loop_continue resume": {"loop_id": rests, "action": "resume"},
		"loop_continue reopen": {"loop_id": done, "action": "reopen", "message": "x"},
		"loop_approve approve": {"loop_id": asks, "decision": "approve", "attention_id": approval["id"]},
		"loop_approve limits":  {"loop_id": rests, "decision": "set_limits", "limits": map[string]any{"max_passes": 20}},
		"loop_pause":           {"loop_id": id},
		"loop_cancel":          {"loop_id": id},
		"loop_fork":            {"loop_id": done},
	} {
		tool, _, _ := strings.Cut(name, " ")
		_, problem := c.call(tool, args)
		b.saysFull(name, problem)
	}
	for tool, args := range map[string]map[string]any{
		"loop_list": {}, "loop_inspect": {"loop_id": done, "view": "iterations"}, "loop_wait": {"loop_id": rests, "wait_seconds": 0},
	} {
		if _, problem := c.call(tool, args); problem != "" {
			t.Errorf("%s: %s", tool, problem)
		}
	}
	commands := [][]string{
		{"run", file}, {"start", file}, {"continue", rests}, {"continue", rests, "--message", "x"}, {"approve", asks}, {"approve", rests, "--limit", "max_passes=20"},
		{"pause", id}, {"cancel", id}, {"fork", done}, {"serve", "--detach"}, {"doctor"},
	}
	for i, there := range []bool{true, false} {
		if !there {
			c.close()
		}
		for _, args := range commands {
			disk.Fill(0) // a process that went has left the room of its traces
			r := b.want(1, args)
			b.saysFull(fmt.Sprintf("%q, with a server there: %t,", args, there), r.stdout+r.stderr)
		}
		copied := filepath.Join(b.dir, fmt.Sprintf("full-%d.zip", i))
		for text, args := range map[string][]string{
			done: {"ls"}, "completed": {"show", done}, "met": {"show", done, "--view", "iterations"}, "damaged: 0": {"verify"}, "4 loops": {"backup", copied}, "": {"host"},
		} {
			disk.Fill(0)
			b.want(0, args, text)
		}
		b.env = append(b.env, "LOOP_MCP_HOME="+filepath.Join(b.dir, fmt.Sprintf("copy-%d", i)))
		b.want(0, []string{"restore", copied}, "4 loops")
		b.env = b.env[:len(b.env)-1]
	}
	for _, args := range [][]string{{"allow", "go"}, {"trust", file}, {"backup", filepath.Join(disk.Dir, "loops.zip")}} {
		disk.Fill(0)
		b.saysFull(args[0], b.want(1, args, disk.Dir, "make room on it").stderr)
	}
	b.env = append(b.env, "LOOP_MCP_HOME="+filepath.Join(disk.Dir, "other"))
	disk.Fill(0)
	b.saysFull("restore", b.want(1, []string{"restore", elsewhere}).stderr)
	disk.Free()
	b.want(0, []string{"restore", elsewhere})
	b.want(0, []string{"verify"})
}
