package kvstate_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

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
