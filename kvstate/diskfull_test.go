package kvstate_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/disktest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// smallStore opens a store on a disk of a few MiB.
func smallStore(t *testing.T, size int) (*disktest.Disk, *embed.Host, *kvstate.Store) {
	t.Helper()
	disk := disktest.Small(t, size)
	dir := filepath.Join(disk.Dir, "data")
	h := must[*embed.Host](t)(embed.Start(t.Context(), embed.Options{Dir: dir, Poll: 200 * time.Millisecond}))
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	opts := marksOf(dir)
	opts.Disk = h
	return disk, h, open(t, stream(t, h), &opts)
}

// running returns s after one more iteration, with the next one under way.
func running(s loops.State, output string) loops.State {
	s = iterate(s, output)
	s.Status = loops.Running
	return s
}

// saysFull verifies that an error is about the disk of the store.
func saysFull(t *testing.T, what string, disk *disktest.Disk, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: succeeded on a full disk", what)
	case !errors.Is(err, loops.ErrUnwritable):
		t.Errorf("%s: %v is not ErrUnwritable", what, err)
	case errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is full") || !strings.Contains(err.Error(), disk.Dir):
		t.Errorf("%s: %q does not name the disk", what, err)
	}
}

// TestTheDiskIsFull fills the disk of a store up, tries to write a record of each
// kind, makes room again and goes on with the same server and store.
func TestTheDiskIsFull(t *testing.T) {
	for _, size := range []int{4 << 20, 16 << 20} {
		t.Run(fmt.Sprint(size>>20, " MiB"), func(t *testing.T) {
			disk, _, store := smallStore(t, size)
			a := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
			a = must[loops.State](t)(store.Commit(t.Context(), running(a, noiseOf(2000))))
			spend := func(old []byte) ([]byte, error) { return append(old, '1'), nil }
			if err := store.Update(t.Context(), "daily", spend); err != nil {
				t.Fatal(err)
			}
			for _, leave := range []int{0, 8 << 10, 100 << 10} {
				disk.Fill(leave)
				began := time.Now()
				_, err := store.Create(t.Context(), newLoop("full-bbbb"))
				saysFull(t, "create", disk, err)
				_, err = store.Commit(t.Context(), running(a, noiseOf(2000)))
				saysFull(t, "commit", disk, err)
				_, err = store.Commit(t.Context(), running(a, noiseOf(500_000)))
				saysFull(t, "a record with an object", disk, err)
				_, err = store.PutBlob(t.Context(), a.ID, []byte(noiseOf(1000)))
				saysFull(t, "blob", disk, err)
				_, err = store.PutBlob(t.Context(), a.ID, []byte(noiseOf(400_000)))
				saysFull(t, "large blob", disk, err)
				_, err = store.Reserve(t.Context(), "request", a.ID)
				saysFull(t, "request id", disk, err)
				if leave < 64<<10 { // else what was spent may use what is left free
					saysFull(t, "update", disk, store.Update(t.Context(), "daily", spend))
				}
				t.Logf("with %d bytes free, the refusals took %s", leave, time.Since(began))
				store.Publish(a.ID, loops.LiveLine{Start: 1, Live: loops.Live{Text: "live text needs no disk"}})
				if got := must[loops.State](t)(store.Load(t.Context(), a.ID)); got.Rev != a.Rev {
					t.Errorf("stored is revision %d, want %d", got.Rev, a.Rev)
				}
				if store.Trouble() == nil {
					t.Error("no trouble is known")
				}
				disk.Free()
				if err := store.Trouble(); err != nil {
					t.Errorf("with room again: %v", err)
				}
				a = must[loops.State](t)(store.Commit(t.Context(), running(a, noiseOf(2000))))
			}
			b := must[loops.State](t)(store.Create(t.Context(), newLoop("full-bbbb")))
			must[loops.State](t)(store.Commit(t.Context(), running(b, "on")))
			if l := must[loops.Loop](t)(store.History(t.Context(), a.ID)); len(l.Iterations) != 4 {
				t.Errorf("%d iterations", len(l.Iterations))
			}
			if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 0 {
				t.Errorf("verify: %+v", v)
			}
		})
	}
}

// TestAFullDiskTakesACancel: what ends or pauses a loop has the last of the room.
func TestAFullDiskTakesACancel(t *testing.T) {
	disk, _, store := smallStore(t, 4<<20)
	a := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
	disk.Fill(150 << 10)
	_, err := store.Commit(t.Context(), running(a, "more"))
	saysFull(t, "commit", disk, err)
	a.Intent.Cancel = &loops.CancelWish{Reason: loops.CancelClient}
	a = must[loops.State](t)(store.Commit(t.Context(), a))
	a.Intent, a.Status = loops.Intent{}, loops.Cancelled
	must[loops.State](t)(store.Commit(t.Context(), a))
}

// TestTheDiskFillsUpInTheMiddleOfAWrite: somebody else takes the last bytes
// between the question for room and the write. The server then writes nothing
// more until it is started anew, which happens by itself.
func TestTheDiskFillsUpInTheMiddleOfAWrite(t *testing.T) {
	disk, h, _ := smallStore(t, 4<<20)
	opts := marksOf(filepath.Join(disk.Dir, "data"))
	opts.Disk, opts.Runner = &lateDisk{Disk: h, late: 30}, "other"
	store := open(t, stream(t, h), &opts)
	a := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
	acknowledged := a
	disk.Fill(100 << 10)
	began := time.Now()
	var err error
	for range 30 {
		if a, err = store.Commit(t.Context(), running(acknowledged, noiseOf(20_000))); err != nil {
			break
		}
		acknowledged = a
	}
	saysFull(t, "commit", disk, err)
	t.Logf("noticed after %s", time.Since(began))
	disk.Free()
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		now, err := store.Load(t.Context(), acknowledged.ID)
		if err == nil {
			acknowledged, err = store.Commit(t.Context(), running(now, "on"))
		}
		if err == nil {
			break
		}
		if !errors.Is(err, loops.ErrUnwritable) && !errors.Is(err, loops.ErrConflict) && !errors.Is(err, context.DeadlineExceeded) {
			t.Logf("on the way: %v", err)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("it does not go on: %v", err)
		}
	}
	if l := must[loops.Loop](t)(store.History(t.Context(), acknowledged.ID)); len(l.Iterations) < acknowledged.Iteration {
		t.Errorf("%d iterations, acknowledged were %d", len(l.Iterations), acknowledged.Iteration)
	}
}

// lateDisk does not notice that the disk is full before it is asked so often.
type lateDisk struct {
	kvstate.Disk
	late int
}

func (d *lateDisk) Room(size int64, urgent bool) error {
	if d.late--; d.late > 0 {
		return nil
	}
	return d.Disk.Room(size, urgent)
}

// TestAFullDiskCanBeLookedAt opens a store whose disk is full.
func TestAFullDiskCanBeLookedAt(t *testing.T) {
	disk := disktest.Small(t, 4<<20)
	dir := filepath.Join(disk.Dir, "data")
	look := func(use func(*kvstate.Store)) error {
		h, err := embed.Start(t.Context(), embed.Options{Dir: dir})
		if err != nil {
			return err
		}
		defer h.Close()
		opts := marksOf(dir)
		opts.Disk = h
		js := must[jetstream.JetStream](t)(jetstream.New(h.Conn()))
		store, err := kvstate.Open(t.Context(), js, &opts)
		if err != nil {
			return err
		}
		defer store.Close()
		use(store)
		return nil
	}
	var a loops.State
	if err := look(func(s *kvstate.Store) {
		a = must[loops.State](t)(s.Create(t.Context(), newLoop("full-aaaa")))
		a = must[loops.State](t)(s.Commit(t.Context(), running(a, "one")))
	}); err != nil {
		t.Fatal(err)
	}
	for _, leave := range []int{0, 64 << 10} {
		disk.Fill(leave)
		err := look(func(s *kvstate.Store) {
			if got := must[loops.State](t)(s.Load(t.Context(), a.ID)); got.Rev != a.Rev {
				t.Errorf("with %d bytes free the loop is at revision %d", leave, got.Rev)
			}
			_, err := s.Create(t.Context(), newLoop("full-bbbb"))
			saysFull(t, "create", disk, err)
		})
		t.Logf("with %d bytes free: %v", leave, err)
		if err != nil && (!strings.Contains(err.Error(), "is full") || !strings.Contains(err.Error(), disk.Dir)) {
			t.Errorf("with %d bytes free: %v", leave, err)
		}
		disk.Free()
		if err := look(func(s *kvstate.Store) {
			a = must[loops.State](t)(s.Commit(t.Context(), running(must[loops.State](t)(s.Load(t.Context(), a.ID)), "more")))
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheMemoryForBatchesIsFull: somebody else fills the folder in memory in which
// the server writes batches first. The disk of the store has room, so commits go
// on, and all are there afterwards.
func TestTheMemoryForBatchesIsFull(t *testing.T) {
	memory := disktest.Over(t, "/dev/shm", 64<<20)
	dir := t.TempDir()
	opts := marksOf(dir)
	h := host(t, dir, embed.Power)
	opts.Disk, opts.Group = h, true
	js := stream(t, h)
	store := open(t, js, &opts)
	const crowd = 40
	states := make([]loops.State, crowd)
	for n := range states {
		states[n] = must[loops.State](t)(store.Create(t.Context(), newLoop(loops.ID(fmt.Sprintf("crowd-%d", n)))))
	}
	commit := func(what string, times int) {
		began := time.Now()
		var all sync.WaitGroup
		for n := range states {
			all.Go(func() {
				for range times {
					s, err := store.Commit(t.Context(), running(states[n], noiseOf(2000+n)))
					if err != nil {
						t.Errorf("%s: %v", what, err)
						return
					}
					states[n] = s
				}
			})
		}
		all.Wait()
		t.Logf("%s: %s, %d commits in batches", what, time.Since(began), inBatches(t, js))
	}
	commit("with room", 5)
	if inBatches(t, js) == 0 {
		t.Error("no commits go in batches: this shows nothing")
	}
	memory.Fill(0)
	commit("without room", 5)
	memory.Free()
	commit("with room again", 5)
	for _, s := range states {
		if l := must[loops.Loop](t)(store.History(t.Context(), s.ID)); len(l.Iterations) != 15 {
			t.Errorf("%s has %d iterations", s.ID, len(l.Iterations))
		}
	}
}
