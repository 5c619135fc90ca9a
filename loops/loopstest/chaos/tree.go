package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
)

// Tree makes a run with a tree of loops that share one budget (cmd/tree). Two
// processes work on it and are killed. Shape is how many loops stand below one, by
// depth: "3,5" is 1, 3 and 15.
func Tree(ctx context.Context, opts Options, shape string) (report audit.Report, dir string, err error) {
	opts.Program = "unused"
	w, err := newWorld(ctx, opts)
	if err != nil {
		return report, "", err
	}
	defer w.history.out.Close()
	program := filepath.Join(w.dir, "bin", "tree")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "example.com/loop-mcp/loops/loopstest/chaos/cmd/tree").CombinedOutput(); err != nil {
		return report, w.dir, fmt.Errorf("build the tree: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var workers sync.WaitGroup
	problems := make([]error, 2)
	for n := range problems {
		workers.Go(func() {
			problems[n] = w.treeWorker(ctx, uint64(n), program, "-dir", w.dir, "-shape", shape, "-until", w.firstKill())
		})
	}
	workers.Wait()
	if err := errors.Join(problems...); err != nil {
		return report, w.dir, err
	}
	report, err = audit.Folder(ctx, w.dir, audit.Options{})
	return report, w.dir, err
}

// firstKill is a file that is there when a process of a tree has been killed.
func (w *world) firstKill() string { return filepath.Join(w.dir, "killed") }

// treeWorker starts one process after the other and kills them, until one ends by
// itself because there is nothing left to do.
func (w *world) treeWorker(ctx context.Context, n uint64, program string, args ...string) error {
	random := w.random(n)
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, program, args...)
		log, err := os.CreateTemp(filepath.Join(w.dir, "logs"), "tree-*.log")
		if err != nil {
			return err
		}
		cmd.Stderr = log
		err = cmd.Start()
		log.Close()
		if err != nil {
			return err
		}
		w.history.add(audit.Told{Op: audit.OpUp, PID: cmd.Process.Pid})
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		last := int(w.kills.Load()) >= w.opts.Kills
		life := time.NewTimer(time.Duration(100+random.IntN(400)) * time.Millisecond)
		select {
		case err := <-ended:
			return err
		case <-life.C:
			if last {
				return <-ended
			}
			asked := time.Now().UnixNano()
			_ = cmd.Process.Kill()
			<-ended
			if w.kills.Add(1) == 1 {
				if err := os.WriteFile(w.firstKill(), nil, 0o600); err != nil {
					return err
				}
			}
			w.history.add(audit.Told{Op: audit.OpKill, PID: cmd.Process.Pid, Asked: asked, Snapshot: audit.Snapshot{Starts: 1}})
		}
	}
	return context.Cause(ctx)
}
