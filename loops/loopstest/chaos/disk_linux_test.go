package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loop-mcp/loops/loopstest/chaos/audit"
	"example.com/loop-mcp/loops/loopstest/chaos/power"
)

// TestADiskThatAnswersWithErrors: while loops run, the disk of the store does not
// take writes any more, or syncs. Every process says so, nobody's loop fails, and
// when the disk works again all go on without a restart; nothing that was
// acknowledged is missing.
func TestADiskThatAnswersWithErrors(t *testing.T) {
	built := &world{dir: t.TempDir()}
	if err := errors.Join(os.Mkdir(filepath.Join(built.dir, "bin"), 0o700), built.build(t.Context())); err != nil {
		t.Fatal(err)
	}
	for name, fault := range map[string]power.Fault{"writes": power.NoWrites, "syncs": power.NoSyncs} {
		t.Run(name, func(t *testing.T) {
			d := onBrokenDisk(t, built)
			ctx, cancel := context.WithTimeout(t.Context(), 3*answerTime)
			defer cancel()
			var users sync.WaitGroup
			for n := range 3 {
				u := newUser(d.w, n)
				u.moves, u.calm = 0, n == 0 // one with large outputs
				users.Go(func() { u.live(ctx) })
			}
			if err := d.w.until(ctx, func() bool { info, err := os.Stat(d.w.effects()); return err == nil && info.Size() > 2000 }); err != nil {
				t.Fatal(err)
			}
			d.disk.Break(fault)
			for n, s := range d.w.slots {
				d.refuses(ctx, s.get(), n)
			}
			d.disk.Break(0)
			for n, s := range d.w.slots {
				d.again(ctx, s.get(), n)
			}
			close(d.w.done)
			users.Wait()
			if err := d.w.settleAll(ctx); err != nil {
				t.Error(err)
			}
			d.audit(ctx)
		})
	}
}

// brokenDisk is a run whose store is on a disk that can break.
type brokenDisk struct {
	t    *testing.T
	w    *world
	disk *power.Disk
	at   string
}

func onBrokenDisk(t *testing.T, built *world) *brokenDisk {
	t.Helper()
	d := &brokenDisk{t: t, at: t.TempDir()}
	var err error
	if d.disk, err = power.Mount(d.at); err != nil {
		if _, missing := os.Stat("/dev/fuse"); errors.Is(missing, fs.ErrNotExist) || os.Getuid() != 0 {
			t.Skipf("no disk can break here: one in memory needs /dev/fuse and root: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.disk.Close(); err != nil {
			t.Error(err)
		}
	})
	d.w, err = newWorld(t.Context(), Options{Seed: seeded(), Servers: 2, Dir: t.TempDir(), Program: built.program, Body: built.body, Config: "network_store: allow", Log: t.Logf,
		Env: []string{"LOOP_MCP_HOME=" + filepath.Join(d.at, "home")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.w.history.out.Close() })
	d.w.places()
	for _, s := range d.w.slots {
		if err := s.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if srv := s.take(); srv != nil {
				srv.kill()
			}
		})
	}
	return d
}

// refuses asks a server for a new loop until it says that the disk does not work.
func (d *brokenDisk) refuses(ctx context.Context, srv *server, n int) {
	d.t.Helper()
	_, err := srv.call(ctx, "loop_start", probe(n))
	d.t.Logf("server %d: %v", n, err)
	if err == nil || !strings.Contains(err.Error(), "does not take what is written") || !strings.Contains(err.Error(), d.at) {
		d.t.Errorf("server %d says %v", n, err)
	}
	if _, err := srv.call(ctx, "loop_list", map[string]any{}); err != nil {
		d.t.Errorf("server %d: a list: %v", n, err)
	}
}

// again asks once more for what was refused: what could not be synced may be
// there all the same, and then it is that. It ends it.
func (d *brokenDisk) again(ctx context.Context, srv *server, n int) {
	d.t.Helper()
	var answer map[string]any
	err := errGone
	for err != nil && ctx.Err() == nil { // the disk's server may still be on its way back
		if answer, err = srv.call(ctx, "loop_start", probe(n)); err == nil {
			_, err = srv.call(ctx, "loop_cancel", map[string]any{"loop_id": answer["loop_id"]})
		}
		pause(ctx, 50*time.Millisecond)
	}
	if err != nil {
		d.t.Fatalf("server %d: %v", n, err)
	}
}

// probe is a loop that waits for a person.
func probe(n int) map[string]any {
	return map[string]any{"name": "probe", "goal": "x", "request_id": fmt.Sprint("probe ", n), "until": map[string]any{"all": []any{map[string]any{"kind": "human", "question": "?"}}}}
}

// audit ends the servers and audits a copy of the disk.
func (d *brokenDisk) audit(ctx context.Context) {
	d.t.Helper()
	for _, s := range d.w.slots {
		if err := s.end(); err != nil {
			d.t.Error(err)
		}
	}
	// By another process: see [power.Disk].
	if out, err := exec.CommandContext(ctx, "cp", "-r", filepath.Join(d.at, "home"), filepath.Join(d.w.dir, audit.DataFolder)).CombinedOutput(); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	report, err := audit.Folder(ctx, d.w.dir, audit.Options{})
	d.t.Log(report)
	if err != nil || len(report.Anomalies) > 0 {
		d.t.Error(err)
	}
}
