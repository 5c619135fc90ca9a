package kvstate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// everyStatus fills a store with a loop in each status, with all that a loop can
// have, and returns their blobs.
func everyStatus(t *testing.T, store *kvstate.Store) map[loops.ID][]string {
	t.Helper()
	blobs := map[loops.ID][]string{}
	for n, status := range loops.Statuses() {
		id := loops.ID(fmt.Sprintf("%s-%d", strings.ReplaceAll(string(status), "_", "-"), n))
		first := newLoop(id)
		first.Origin.Labels = map[string]string{"n": fmt.Sprint(n)}
		first.Origin.RequestID = "request of " + string(id)
		must[loops.ID](t)(store.Reserve(t.Context(), first.Origin.RequestID, id))
		s := must[loops.State](t)(store.Create(t.Context(), first))
		small := must[string](t)(store.PutBlob(t.Context(), id, []byte("small "+id)))
		large := must[string](t)(store.PutBlob(t.Context(), id, []byte(noiseOf(300_000+n))))
		blobs[id] = []string{small, large}
		for i := range 3 + n {
			s = iterate(s, noiseOf(2000+i))
			s.Output.Blob, s.Output.Size = large, int64(300_000+n)
			s.New.Iteration.Output = s.Output
			s.Memory = json.RawMessage(fmt.Sprintf(`{"i":%d,"blob":%q}`, i, small))
			s.New.Iteration.Memory = s.Memory
			s.Best = &loops.Best{Iteration: 1, Score: 0.5, Output: s.Output}
			s.Notes = map[string]json.RawMessage{"all[0]": json.RawMessage(`{"seen":true}`)}
			s.Steers = []loops.Steer{{Text: "to the left", Seen: true}}
			s.Ledger = loops.Ledger{Starts: i + 2, Iterations: i + 1, Usage: loops.Usage{TotalTokens: 77}}
			s.Claim = loops.Claim{Owner: "a-dead-runner", Token: "token"}
			s = must[loops.State](t)(store.Commit(t.Context(), s))
		}
		s.Status = status
		s.Attention = &loops.Attention{Kind: loops.AttentionQuestion, ID: "it-4", Prompt: "why?"}
		s.Stop = &loops.Stop{Reason: loops.GoalClaimed, Detail: "it says so"}
		must[loops.State](t)(store.Commit(t.Context(), s))
	}
	if err := store.Update(t.Context(), "day.2026", func([]byte) ([]byte, error) { return []byte{1, 0, 255}, nil }); err != nil {
		t.Fatal(err)
	}
	return blobs
}

func backupOf(t *testing.T, store *kvstate.Store) []byte {
	t.Helper()
	var file bytes.Buffer
	m, err := store.Backup(t.Context(), &file)
	if err != nil || len(m.LeftOut) > 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	return file.Bytes()
}

func restore(t *testing.T, store *kvstate.Store, file []byte) error {
	t.Helper()
	_, err := store.Restore(t.Context(), bytes.NewReader(file), int64(len(file)))
	return err
}

func TestBackupAndRestore(t *testing.T) {
	from, _ := fresh(t, nil)
	blobs := everyStatus(t, from)
	file := backupOf(t, from)

	dir := t.TempDir()
	var second []byte
	visit(t, dir, marksOf(dir), func(to *kvstate.Store, _ jetstream.JetStream) {
		if err := restore(t, to, file); err != nil {
			t.Fatal(err)
		}
		same(t, from, to, blobs)
		if v := must[kvstate.Verification](t)(to.Verify(t.Context())); v.Damaged() != 0 || len(v.Loops) != len(blobs) {
			t.Errorf("verified: %+v", v)
		}
		second = backupOf(t, to)
		if err := restore(t, to, file); !errors.Is(err, kvstate.ErrNotEmpty) {
			t.Errorf("a second restore: %v", err)
		}
	})
	// What was restored is stored: another process has it, and it goes on.
	visit(t, dir, marksOf(dir), func(to *kvstate.Store, _ jetstream.JetStream) {
		same(t, from, to, blobs)
		for id := range blobs {
			s := must[loops.State](t)(to.Load(t.Context(), id))
			s = must[loops.State](t)(to.Commit(t.Context(), iterate(s, "on")))
			if l := must[loops.Loop](t)(to.History(t.Context(), id)); len(l.Iterations) != s.Iteration {
				t.Errorf("%s has %d iterations, want %d", id, len(l.Iterations), s.Iteration)
			}
		}
	})
	a, b := members(t, file), members(t, second)
	delete(a, "manifest.json") // has the time
	delete(b, "manifest.json")
	delete(a, "SHA256SUMS")
	delete(b, "SHA256SUMS")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))); diff != "" {
		t.Errorf("members of a backup of the restored store:\n%s", diff)
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs in a backup of the restored store", name)
		}
	}
}

// same compares all that two stores have.
func same(t *testing.T, from, to *kvstate.Store, blobs map[loops.ID][]string) {
	t.Helper()
	for id, refs := range blobs {
		want, got := must[loops.Loop](t)(from.History(t.Context(), id)), must[loops.Loop](t)(to.History(t.Context(), id))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(loops.State{}, "Rev"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
		for _, ref := range refs {
			if data := must[[]byte](t)(to.Blob(t.Context(), id, ref)); len(data) == 0 {
				t.Errorf("%s: blob %s is empty", id, ref)
			}
		}
		if bound := must[loops.ID](t)(to.Reserve(t.Context(), "request of "+string(id), "other")); bound != id {
			t.Errorf("the request of %s is bound to %s", id, bound)
		}
	}
	a, b := must[[]loops.Head](t)(from.List(t.Context())), must[[]loops.Head](t)(to.List(t.Context()))
	byID := func(x, y loops.Head) bool { return x.ID < y.ID }
	if diff := cmp.Diff(a, b, cmpopts.SortSlices(byID), cmpopts.IgnoreFields(loops.Head{}, "Rev"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("heads (-want +got):\n%s", diff)
	}
	err := to.Update(t.Context(), "day.2026", func(old []byte) ([]byte, error) {
		if !bytes.Equal(old, []byte{1, 0, 255}) {
			t.Errorf("the record is %v", old)
		}
		return old, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Every backup of a loop that is being worked on is one of its checkpoints.
func TestBackupWhileALoopRuns(t *testing.T) {
	store, _ := fresh(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("busy-aaaa")))
	s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "first")))
	allowed := make(chan struct{}, 30) // commits for each backup, so that the history stays small
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			select {
			case <-allowed:
				s, err = store.Commit(t.Context(), iterate(s, noiseOf(3000)))
			case <-ctx.Done():
			}
		}
		done <- err
	}()
	before := 0
	for range 10 {
		for len(allowed) < cap(allowed) {
			allowed <- struct{}{}
		}
		to, _ := fresh(t, nil)
		if err := restore(t, to, backupOf(t, store)); err != nil {
			t.Fatal(err)
		}
		l := must[loops.Loop](t)(to.History(t.Context(), "busy-aaaa"))
		if l.Iteration < before || len(l.Iterations) != l.Iteration {
			t.Errorf("at iteration %d with %d of them after %d", l.Iteration, len(l.Iterations), before)
		}
		before = l.Iteration
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if before < 2 {
		t.Errorf("the loop was at iteration %d: nothing happened beside the backups", before)
	}
}

// A backup without the loops that are damaged says which.
func TestBackupLeavesOutWhatIsDamaged(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	for _, id := range []loops.ID{"ill-aaaa", "well-aaaa"} {
		s := must[loops.State](t)(store.Create(t.Context(), newLoop(id)))
		must[loops.State](t)(store.Commit(t.Context(), iterate(s, "one")))
	}
	forged := newest(t, js, "ill-aaaa")
	forged.Data[len(forged.Data)/2] ^= 8
	must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), forged))
	var file bytes.Buffer
	m := must[kvstate.Manifest](t)(store.Backup(t.Context(), &file))
	if m.Loops != 1 || len(m.LeftOut) != 1 || m.LeftOut[0].ID != "ill-aaaa" || time.Since(m.At) > time.Hour {
		t.Errorf("the manifest is %+v", m)
	}
	to, _ := fresh(t, nil)
	if err := restore(t, to, file.Bytes()); err != nil {
		t.Fatal(err)
	}
	if heads := must[[]loops.Head](t)(to.List(t.Context())); len(heads) != 1 || heads[0].ID != "well-aaaa" {
		t.Errorf("restored are %+v", heads)
	}
}
