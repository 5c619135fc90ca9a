package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// writeFiles writes the loop files of bodies and of `run`.
func (w *world) writeFiles() error {
	for name, target := range map[string]int{"child": 4, "ran": 6} {
		var run []string
		for _, arg := range w.run1([]any{"-work", "100ms"}) {
			run = append(run, fmt.Sprintf("%q", arg))
		}
		text := fmt.Sprintf("name: %s\ngoal: go on\nbody: { kind: command, run: [%s] }\nuntil: { all: [ { kind: predicate, expression: iteration >= %d } ] }\n"+
			"limits: { max_iterations: 40, max_passes: 40 }\nretry: { initial: 10ms, max: 50ms }\nstall: { passes: 0 }\n", name, strings.Join(run, ", "), target)
		if err := os.WriteFile(strings.Replace(w.childFile(), "child", name, 1), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// commandLine uses the command line beside the servers until the last kill: it
// lists, and it runs loops, which are killed, too.
func (w *world) commandLine(ctx context.Context) {
	random := w.random(1<<32 + 1)
	for ctx.Err() == nil {
		select {
		case <-w.done:
			return
		default:
		}
		if random.IntN(3) > 0 {
			w.list(ctx)
			pause(ctx, 200*time.Millisecond)
			continue
		}
		cmd := w.command("run", strings.Replace(w.childFile(), "child", "ran", 1), "--json")
		err := cmd.Start()
		closeLog(cmd)
		if err != nil {
			continue
		}
		w.history.add(audit.Told{Op: audit.OpUp, PID: cmd.Process.Pid})
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		pid, asked := cmd.Process.Pid, time.Now().UnixNano()
		timer := time.NewTimer(time.Duration(100+random.IntN(1500)) * time.Millisecond)
		select {
		case <-ended:
			w.history.add(audit.Told{Op: audit.OpEnd, PID: pid, Asked: asked})
		case <-timer.C:
			inFlight := bodiesBelow(pid)
			_ = cmd.Process.Kill()
			<-ended
			w.kills.Add(1)
			w.history.add(audit.Told{Op: audit.OpKill, PID: pid, Asked: asked, Snapshot: audit.Snapshot{Starts: inFlight}})
		}
		timer.Stop()
	}
}

// list notes loops that were acknowledged before and are not listed.
func (w *world) list(ctx context.Context) {
	before := w.acknowledged()
	there := map[string]bool{}
	for page, more := "", true; more; more = page != "" {
		cmd := w.command("ls", "--json", "--limit", "100", "--page", page)
		out, err := cmd.Output()
		closeLog(cmd)
		var listed struct {
			Items []struct {
				LoopID string `json:"loop_id"`
			} `json:"items"`
			NextPage string `json:"next_page"`
		}
		if err != nil || json.Unmarshal(out, &listed) != nil {
			w.opts.Log("ls: %v: %s", err, said(cmd))
			return
		}
		for _, item := range listed.Items {
			there[item.LoopID] = true
		}
		page = listed.NextPage
	}
	for _, id := range before {
		if !there[id] {
			w.history.add(audit.Told{Op: audit.OpMissing, Loop: id, Failed: "loop-mcp ls does not list it"})
		}
	}
}
