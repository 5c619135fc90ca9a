package kvstate_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/loops"
)

var updateStore = flag.Bool("update-store", false, "write the golden store of the present format anew, after the format was raised")

// goldenStores are stores that released versions wrote, one a format.
const goldenStores = "testdata/stores"

// goldenLoops makes a store with loops in several statuses.
func goldenLoops(t *testing.T, dir string) {
	t.Helper()
	opts := marksOf(dir)
	opts.Retention, opts.Runner = -1, "old"
	visit(t, dir, opts, func(store *kvstate.Store, _ jetstream.JetStream) {
		for n, status := range []loops.Status{loops.Queued, loops.Paused, loops.Completed} {
			s := must[loops.State](t)(store.Create(t.Context(), newLoop(loops.ID("golden-"+string(status)))))
			for range 3 * n {
				s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, text(300))))
			}
			s.Status = status
			s = must[loops.State](t)(store.Commit(t.Context(), s))
			must[loops.ID](t)(store.Reserve(t.Context(), "request "+string(status), s.ID))
			must[string](t)(store.PutBlob(t.Context(), s.ID, []byte("kept for "+s.ID)))
		}
	})
}

// histories is what a store answers, as JSON by id.
func histories(t *testing.T, store *kvstate.Store) map[loops.ID]json.RawMessage {
	t.Helper()
	all := map[loops.ID]json.RawMessage{}
	for _, head := range must[[]loops.Head](t)(store.List(t.Context())) {
		all[head.ID] = must[[]byte](t)(json.Marshal(must[loops.Loop](t)(store.History(t.Context(), head.ID))))
	}
	return all
}

// TestUpdateGoldenStore writes the store of the present format, on demand.
func TestUpdateGoldenStore(t *testing.T) {
	if !*updateStore {
		t.Skip("it is written with -update-store")
	}
	dir := t.TempDir()
	goldenLoops(t, dir)
	var said []byte
	visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		said = must[[]byte](t)(json.MarshalIndent(histories(t, store), "", " "))
	})
	if err := os.WriteFile(filepath.Join(dir, "answers.json"), said, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	err := z.AddFS(os.DirFS(dir))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(goldenStores, 0o755), os.WriteFile(filepath.Join(goldenStores, fmt.Sprintf("format-%d.zip", kvstate.Format)), out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// unzip puts an archive into a folder.
func unzip(t *testing.T, path, dir string) {
	t.Helper()
	z := must[*zip.ReadCloser](t)(zip.OpenReader(path))
	defer z.Close()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if entry.IsDir() {
			mode = 0o700
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAStoreOfAnOlderVersionOpens: every format that was ever released is
// listed, read, verified and gone on with.
func TestAStoreOfAnOlderVersionOpens(t *testing.T) {
	found := must[[]string](t)(filepath.Glob(filepath.Join(goldenStores, "format-*.zip")))
	if len(found) < kvstate.Format {
		t.Fatalf("there are golden stores %q for %d formats: go test ./kvstate -run TestUpdateGoldenStore -update-store", found, kvstate.Format)
	}
	for _, path := range found {
		t.Run(filepath.Base(path), func(t *testing.T) {
			dir := t.TempDir()
			unzip(t, path, dir)
			want := map[loops.ID]json.RawMessage{}
			if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(filepath.Join(dir, "answers.json"))), &want); err != nil {
				t.Fatal(err)
			}
			visit(t, dir, marksOf(dir), func(store *kvstate.Store, _ jetstream.JetStream) {
				got := histories(t, store)
				for id := range want {
					var old, now any
					if err := errors.Join(json.Unmarshal(want[id], &old), json.Unmarshal(got[id], &now)); err != nil {
						t.Fatalf("%s: %v", id, err)
					}
					if diff := cmp.Diff(old, now); diff != "" {
						t.Errorf("%s: %s", id, diff)
					}
				}
				if len(got) != len(want) {
					t.Errorf("listed are %v", slices.Collect(maps.Keys(got)))
				}
				if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 0 || !v.Marked {
					t.Errorf("verify: %+v", v)
				}
				if id := ready(t, store); id != "golden-queued" {
					t.Errorf("handed out is %s", id)
				}
				if id := must[loops.ID](t)(store.Reserve(t.Context(), "request paused", "new-aaaa")); id != "golden-paused" {
					t.Errorf("a request of then is bound to %s", id)
				}
				s := must[loops.State](t)(store.Load(t.Context(), "golden-paused"))
				s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "on")))
				if l := must[loops.Loop](t)(store.History(t.Context(), s.ID)); len(l.Iterations) != 4 {
					t.Errorf("%d iterations", len(l.Iterations))
				}
			})
		})
	}
}

// sum is the checksum of a record's header.
func sum(text string) string {
	return fmt.Sprintf("%08x%08x", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)), crc32.ChecksumIEEE([]byte(text)))
}

// rewritten publishes a loop's newest record again with another header.
func rewritten(t *testing.T, js jetstream.JetStream, id loops.ID, change func(h map[string]any)) {
	t.Helper()
	m := newest(t, js, string(id))
	text, _, _ := strings.Cut(m.Header.Get("Loop-Head"), `,"crc":"`)
	var h map[string]any
	dec := json.NewDecoder(strings.NewReader(text + "}"))
	dec.UseNumber()
	if err := dec.Decode(&h); err != nil {
		t.Fatal(err)
	}
	h["p"] = h["b"]
	change(h)
	text = strings.TrimSuffix(string(must[[]byte](t)(json.Marshal(h))), "}")
	m.Header.Set("Loop-Head", text+`,"crc":"`+sum(text)+`"}`)
	m.Subject = "$KV.LOOPS." + string(id)
	must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), m))
}

// TestALoopOfANewerVersionIsLeftToIt: it is shown with what to do, and refused,
// and the other loops go on.
func TestALoopOfANewerVersionIsLeftToIt(t *testing.T) {
	store, js := fresh(t, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("newer-aaaa")))
	s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "one")))
	well := must[loops.State](t)(store.Create(t.Context(), newLoop("well-aaaa")))
	rewritten(t, js, s.ID, func(h map[string]any) { h["v"] = kvstate.Format + 1 })
	for _, store := range []*kvstate.Store{store, open(t, js, nil)} {
		_, err := store.Load(t.Context(), s.ID)
		if !errors.Is(err, loops.ErrDamaged) || !errors.Is(err, loops.ErrNewer) || !strings.Contains(err.Error(), "newer") {
			t.Errorf("Load: %v", err)
		}
		e := loops.New(store, loops.Parts{}, nil)
		shown := must[loops.State](t)(e.Get(t.Context(), s.ID))
		if shown.Stop == nil || shown.Stop.Reason != loops.FailQuarantined || !strings.Contains(strings.Join(shown.Stop.Actions, " "), "update this program") {
			t.Errorf("shown as %+v", shown.Stop)
		}
		if _, err := e.Do(t.Context(), s.ID, loops.Request{Action: loops.ResumeIt}); !errors.Is(err, loops.ErrRefused) {
			t.Errorf("a resume: %v", err)
		}
		well = must[loops.State](t)(store.Commit(t.Context(), iterate(well, "on")))
	}
	if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 1 {
		t.Errorf("verify: %+v", v)
	}
}

// TestARecordWithMoreOrFewerFields is read: what is not known is left alone,
// what is missing has its zero value.
func TestARecordWithMoreOrFewerFields(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"one more":     func(h map[string]any) { h["news"] = []int{1} },
		"one fewer":    func(h map[string]any) { delete(h, "y") },
		"a head field": func(h map[string]any) { h["h"].(map[string]any)["colour"] = "green" },
	} {
		t.Run(name, func(t *testing.T) {
			store, js := fresh(t, nil)
			s := must[loops.State](t)(store.Create(t.Context(), newLoop("fields-aaaa")))
			s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "one")))
			rewritten(t, js, s.ID, change)
			other := open(t, js, nil)
			if got := must[loops.State](t)(other.Load(t.Context(), s.ID)); got.Iteration != 1 {
				t.Errorf("iteration %d", got.Iteration)
			}
		})
	}
}
