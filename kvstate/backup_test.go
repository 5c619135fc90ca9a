package kvstate_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// members unpacks a backup.
func members(t *testing.T, file []byte) map[string][]byte {
	t.Helper()
	in := must[*zip.Reader](t)(zip.NewReader(bytes.NewReader(file), int64(len(file))))
	all := map[string][]byte{}
	for _, m := range in.File {
		r := must[io.ReadCloser](t)(m.Open())
		all[m.Name] = must[[]byte](t)(io.ReadAll(r))
		r.Close()
	}
	return all
}

// packed makes a backup file of members; sum writes the checksums anew.
func packed(t *testing.T, all map[string][]byte, sum bool) []byte {
	t.Helper()
	if sum {
		var sums strings.Builder
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if name != "SHA256SUMS" {
				fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(all[name]), name)
			}
		}
		all["SHA256SUMS"] = []byte(sums.String())
	}
	var file bytes.Buffer
	out := zip.NewWriter(&file)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		must[int](t)(must[io.Writer](t)(out.Create(name)).Write(all[name]))
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// A file that is not whole is refused, by the name of what is wrong, and nothing
// is written.
func TestRestoreRefusesADamagedFile(t *testing.T) {
	from, _ := fresh(t, nil)
	s := must[loops.State](t)(from.Create(t.Context(), newLoop("well-aaaa")))
	ref := must[string](t)(from.PutBlob(t.Context(), s.ID, []byte("whole")))
	s = iterate(s, "clipped")
	s.Output.Blob = ref
	s.New.Iteration.Output = s.Output
	must[loops.State](t)(from.Commit(t.Context(), s))
	file := backupOf(t, from)
	blob := "blobs/well-aaaa/" + ref
	tests := []struct {
		name  string
		sum   bool
		forge func(all map[string][]byte)
		want  string
	}{
		{"a changed loop", false, func(all map[string][]byte) { all["loops/well-aaaa.json"][30] ^= 1 }, "loops/well-aaaa.json is damaged"},
		{"a changed blob", false, func(all map[string][]byte) { all[blob][0] ^= 1 }, blob + " is damaged"},
		{"a changed blob with its checksum", true, func(all map[string][]byte) { all[blob][0] ^= 1 }, blob},
		{"a missing blob", true, func(all map[string][]byte) { delete(all, blob) }, blob + ", which is missing"},
		{"a missing blob that is in the checksums", false, func(all map[string][]byte) { delete(all, blob) }, blob + " is missing"},
		{"no checksums", false, func(all map[string][]byte) { delete(all, "SHA256SUMS") }, "SHA256SUMS is missing"},
		{"a member without a checksum", false, func(all map[string][]byte) { all["loops/more-aaaa.json"] = []byte("{}") }, "loops/more-aaaa.json is not in SHA256SUMS"},
		{"a missing loop", true, func(all map[string][]byte) { delete(all, "loops/well-aaaa.json") }, "manifest.json says 1 loops, there are 0"},
		{"a loop that is no loop", true, func(all map[string][]byte) { all["loops/well-aaaa.json"] = []byte("[1]") }, "loops/well-aaaa.json cannot be read"},
		{"another loop", true, func(all map[string][]byte) {
			all["loops/else-aaaa.json"] = all["loops/well-aaaa.json"]
			delete(all, "loops/well-aaaa.json")
		}, `loops/else-aaaa.json: it is the loop "well-aaaa"`},
		{"a path", true, func(all map[string][]byte) { all["loops/../../x.json"] = []byte("{}") }, "does not name a loop"},
		{"something else", true, func(all map[string][]byte) { all["readme.txt"] = nil }, "readme.txt: nothing of that name"},
		{"a newer format", true, func(all map[string][]byte) {
			all["manifest.json"] = bytes.Replace(all["manifest.json"], []byte(`"version":1`), []byte(`"version":2`), 1)
		}, "version 2; this program reads"},
		{"no manifest", true, func(all map[string][]byte) { delete(all, "manifest.json") }, "manifest.json is missing"},
		{"a missing iteration", true, func(all map[string][]byte) {
			all["loops/well-aaaa.json"] = bytes.Replace(all["loops/well-aaaa.json"], []byte(`"iterations":[{"iteration":1`), []byte(`"iterations":[{"iteration":7`), 1)
		}, "iteration 7 stands where 1 belongs"},
	}
	to, js := fresh(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := members(t, file)
			test.forge(all)
			if err := restore(t, to, packed(t, all, test.sum)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for cut := 1; cut < len(file); cut += len(file) / 7 {
		if err := restore(t, to, file[:cut]); err == nil || !strings.Contains(err.Error(), "not a whole backup file") {
			t.Errorf("the first %d bytes: %v", cut, err)
		}
	}
	if heads := must[[]loops.Head](t)(to.List(t.Context())); len(heads) != 0 {
		t.Errorf("stored are %+v", heads)
	}
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	if last := must[*jetstream.StreamInfo](t)(st.Info(t.Context())).State.LastSeq; last != 0 {
		t.Errorf("%d messages were written", last)
	}
	if err := restore(t, to, file); err != nil {
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

// Verify names what is damaged, and a backup leaves that out and nothing else.
func TestVerify(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	blobs := everyStatus(t, store)
	if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 0 || len(v.Loops) != len(blobs) || v.Beside != len(blobs)+1 || v.Loops[0].Blobs != 2 {
		t.Errorf("before: %+v", v)
	}
	ids := slices.Sorted(maps.Keys(blobs))
	forged := newest(t, js, string(ids[0]))
	forged.Data[len(forged.Data)/2] ^= 8
	must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), forged))
	objects := must[jetstream.ObjectStore](t)(js.ObjectStore(t.Context(), "LOOPBLOBS"))
	if err := objects.Delete(t.Context(), string(ids[1])+"/"+blobs[ids[1]][1]); err != nil {
		t.Fatal(err)
	}
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), "$KV.LOOPKEPT."+string(ids[2])+"."+blobs[ids[2]][0], []byte("forged")))
	must[*jetstream.PubAck](t)(js.Publish(t.Context(), "$KV.LOOPDATA.day.2027", []byte("forged")))

	looking := open(t, js, &kvstate.Options{ReadOnly: true})
	count := func() (n uint64) {
		for name := range js.StreamNames(t.Context()).Name() {
			st := must[jetstream.Stream](t)(js.Stream(t.Context(), name))
			n += must[*jetstream.StreamInfo](t)(st.Info(t.Context())).State.LastSeq
		}
		return n
	}
	before := count()
	v := must[kvstate.Verification](t)(looking.Verify(t.Context()))
	if count() != before {
		t.Error("something was written")
	}
	damaged := map[loops.ID]string{}
	for _, c := range v.Loops {
		if len(c.Problems) > 0 {
			damaged[c.ID] = strings.Join(c.Problems, "; ")
		}
	}
	for i, want := range []string{"checksum", "is missing", "has another checksum"} {
		if !strings.Contains(damaged[ids[i]], want) {
			t.Errorf("%s: %q, want %q", ids[i], damaged[ids[i]], want)
		}
	}
	if len(damaged) != 3 || v.Damaged() != 4 || !strings.Contains(strings.Join(v.Problems, ""), "day.2027") {
		t.Errorf("damaged: %v, %v", damaged, v.Problems)
	}
	if _, err := looking.Backup(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("a backup with a damaged record: %v", err)
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

// TestARestoreThatWasCutOffGoesOn where it ended, with the same file and no other,
// and sets nothing back that has moved on meanwhile.
func TestARestoreThatWasCutOffGoesOn(t *testing.T) {
	from, _ := fresh(t, nil)
	blobs := everyStatus(t, from)
	file := backupOf(t, from)
	elsewhere, _ := fresh(t, nil)
	must[loops.State](t)(elsewhere.Create(t.Context(), newLoop("other-aaaa")))
	other := backupOf(t, elsewhere)
	js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
	to := open(t, js, nil)
	ctx, cut := context.WithCancel(t.Context())
	writes := 0
	js.next = slices.Repeat([]func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error){func(publish func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
		if writes++; writes > 12 {
			cut()
			return nil, errLost
		}
		return publish()
	}}, 1000)
	_, err := to.Restore(ctx, bytes.NewReader(file), int64(len(file)))
	if err == nil || !strings.Contains(err.Error(), "restore the same file again") {
		t.Fatalf("a restore that is cut off: %v", err)
	}
	js.next = nil
	heads := must[[]loops.Head](t)(to.List(t.Context()))
	if len(heads) == 0 || len(heads) == len(blobs) {
		t.Fatalf("%d of %d loops are there: the cut shows nothing", len(heads), len(blobs))
	}
	moved := must[loops.State](t)(to.Load(t.Context(), heads[0].ID))
	moved = must[loops.State](t)(to.Commit(t.Context(), iterate(moved, "on")))
	if err := to.Update(t.Context(), "day.2026", func([]byte) ([]byte, error) { return []byte("more"), nil }); err != nil {
		t.Fatal(err)
	}
	if err := restore(t, to, other); !errors.Is(err, kvstate.ErrNotEmpty) {
		t.Errorf("another file: %v", err)
	}
	if err := restore(t, to, file); err != nil {
		t.Fatal(err)
	}
	if now := must[loops.State](t)(to.Load(t.Context(), moved.ID)); now.Rev != moved.Rev {
		t.Errorf("%s was set back to revision %d", now.ID, now.Rev)
	}
	if err := to.Update(t.Context(), "day.2026", func(old []byte) ([]byte, error) {
		if string(old) != "more" {
			t.Errorf("the day was set back to %q", old)
		}
		return old, nil
	}); err != nil {
		t.Error(err)
	}
	delete(blobs, moved.ID)
	for id := range blobs {
		want, got := must[loops.Loop](t)(from.History(t.Context(), id)), must[loops.Loop](t)(to.History(t.Context(), id))
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(loops.State{}, "Rev"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if v := must[kvstate.Verification](t)(to.Verify(t.Context())); v.Damaged() != 0 {
		t.Errorf("verified: %+v", v)
	}
	if err := restore(t, to, file); !errors.Is(err, kvstate.ErrNotEmpty) {
		t.Errorf("once more: %v", err)
	}
}
