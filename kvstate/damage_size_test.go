package kvstate_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/internal/kepttest"
	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

var (
	damageRuns = flag.Int("damage", 30, "how many damaged stores are opened")
	damageSeed = flag.Uint64("damage-seed", 1, "the run with this seed; 0: a new one")
)

// whole is a store that was closed, and what it answered.
type whole struct {
	dir   string
	loops map[loops.ID]loops.Loop
	blobs map[loops.ID]string // one each
	files map[string][]string // paths below dir, by kind
}

// fillStore makes a store with a record of every kind.
func fillStore(t *testing.T) whole {
	t.Helper()
	w := whole{dir: t.TempDir(), loops: map[loops.ID]loops.Loop{}, blobs: map[loops.ID]string{}, files: map[string][]string{}}
	visit(t, w.dir, marksOf(w.dir), func(store *kvstate.Store, _ jetstream.JetStream) {
		states := progress(t, store)
		big := must[loops.State](t)(store.Create(t.Context(), newLoop("big-aaaa")))
		for range 4 {
			big = must[loops.State](t)(store.Commit(t.Context(), iterate(big, noiseOf(400_000)))) // objects
		}
		settled := iterate(must[loops.State](t)(store.Create(t.Context(), newLoop("settled-aaaa"))), noiseOf(5000))
		settled.Status = loops.Completed
		states[big.ID], states[settled.ID] = big, must[loops.State](t)(store.Commit(t.Context(), settled))
		for id := range states {
			w.blobs[id] = must[string](t)(store.PutBlob(t.Context(), id, []byte(noiseOf(3000)+string(id))))
			must[loops.ID](t)(store.Reserve(t.Context(), "request of "+string(id), id))
		}
		must[string](t)(store.PutBlob(t.Context(), big.ID, []byte(noiseOf(600_000)))) // an object, too
		if err := store.Update(t.Context(), "day", func([]byte) ([]byte, error) { return []byte("17"), nil }); err != nil {
			t.Fatal(err)
		}
		for id := range states {
			w.loops[id] = must[loops.Loop](t)(store.History(t.Context(), id))
		}
	})
	err := filepath.WalkDir(w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(w.dir, path)
			kind := fileKind(rel)
			w.files[kind] = append(w.files[kind], rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fileKind names what a file of a store is, such as "KV_LOOPS *.blk".
func fileKind(rel string) string {
	kind := filepath.Base(rel)
	if ext := filepath.Ext(kind); ext == ".blk" || ext == ".mark" {
		kind = "*" + ext
	}
	parts := strings.Split(filepath.ToSlash(rel), "/")
	if at := slices.Index(parts, "streams"); at >= 0 && at+2 < len(parts) {
		kind = parts[at+1] + " " + kind
	}
	return kind
}

// copyTo copies the store, because damage must not add up.
func (w whole) copyTo(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
}

// hurt does something to a file and says what.
func hurt(t *testing.T, path string, r *rand.Rand) string {
	t.Helper()
	data := must[[]byte](t)(os.ReadFile(path))
	did := ""
	switch what := r.IntN(7); {
	case what == 0:
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return "is missing"
	case what == 6 && filepath.Ext(path) == ".blk" && bytes.Contains(data[len(data)/2:], []byte("NATS/1.0")):
		at := headerAfter(data, len(data)/4+r.IntN(len(data)/4))
		data[at-4+r.IntN(4)] ^= 1 << r.IntN(8)
		did = fmt.Sprintf("has a bit flipped of the length of a header, before %d", at)
	case what == 1 || len(data) == 0:
		data, did = nil, "is empty"
	case what == 2:
		n := min(len(data), 1+r.IntN(64))
		data, did = data[:len(data)-n], fmt.Sprintf("lost %d bytes at its end", n)
	case what == 3:
		n := 1 + r.IntN(700)
		for range n {
			data = append(data, byte(r.Uint32()))
		}
		did = fmt.Sprintf("has %d bytes of garbage at its end", n)
	case what == 4:
		at := r.IntN(len(data))
		data[at] ^= 1 << r.IntN(8)
		did = fmt.Sprintf("has a bit flipped at %d", at)
	default:
		at := r.IntN(len(data)) &^ 4095
		clear(data[at:min(len(data), at+4096)])
		did = fmt.Sprintf("has zeros at %d", at)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return did
}

// TestDamageIsNeverSilent opens stores with one damaged file of any kind, some
// of them without the index beside it, as after a crash. Each answer is the one
// from before, or says that something is damaged; what is not damaged goes on.
func TestDamageIsNeverSilent(t *testing.T) {
	seed := *damageSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./kvstate -run TestDamageIsNeverSilent -damage=%d -damage-seed=%d", *damageRuns, seed)
	w := fillStore(t)
	kinds := slices.Sorted(maps.Keys(w.files))
	t.Logf("kinds of files: %q", kinds)
	kinds = append(kinds, "endpoint.json", "runner") // left by a killed process
	for _, kind := range kinds {
		if strings.HasSuffix(kind, ".blk") { // where the records are
			kinds = append(kinds, kind, kind, kind)
		}
	}
	found := map[string]int{}
	var mu sync.Mutex
	t.Run("stores", func(t *testing.T) {
		for n := range *damageRuns {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				dir := kepttest.Dir(t)
				w.copyTo(t, dir)
				did := w.damage(t, dir, kinds[(uint64(n)+seed)%uint64(len(kinds))], r)
				t.Log(did)
				result := w.examine(t, dir, did)
				t.Log(result)
				mu.Lock()
				defer mu.Unlock()
				found[result]++
			})
		}
	})
	t.Logf("in all: %v", found)
	if *damageRuns >= 30 && found["damaged"] < *damageRuns/10 {
		t.Errorf("%d of %d stores say that something is damaged: the damage hits too little to show anything", found["damaged"], *damageRuns)
	}
}

// damage hurts a file of a kind.
func (w whole) damage(t *testing.T, dir, kind string, r *rand.Rand) string {
	t.Helper()
	rel := ""
	switch kind {
	case "endpoint.json", "runner":
		rel = map[string]string{"endpoint.json": kind, "runner": "runners/run-dead.lock"}[kind]
		path := filepath.Join(dir, rel)
		text := []byte(`{"pid":999999,"protocol":1,"network":"unix","address":"/nowhere"}`)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text, 0o600)); err != nil {
			t.Fatal(err)
		}
	default:
		rel = w.files[kind][r.IntN(len(w.files[kind]))]
	}
	path := filepath.Join(dir, rel)
	did := rel + " " + hurt(t, path, r)
	if index := filepath.Join(filepath.Dir(path), "index.db"); strings.HasSuffix(rel, ".blk") && r.IntN(2) == 0 && os.Remove(index) == nil {
		did += ", and there is no index"
	}
	return did
}

// examine opens a damaged store and returns what became of it.
func (w whole) examine(t *testing.T, dir, did string) string {
	t.Helper()
	problem := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", did, fmt.Sprintf(format, args...))
	}
	h, err := embed.Start(t.Context(), embed.Options{Dir: dir, Durability: embed.Process})
	if err != nil {
		if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "update this program") {
			problem("refused: %v", err)
		}
		return "refused: " + err.Error()
	}
	defer h.Close()
	opts := marksOf(dir)
	opts.Disk = h
	store, err := kvstate.Open(t.Context(), stream(t, h), &opts)
	if err != nil {
		problem("not opened: %v", err)
		return "not opened: " + err.Error()
	}
	defer store.Close()
	bad := w.compare(t, store, problem)
	v, err := store.Verify(t.Context())
	if err != nil {
		problem("verify: %v", err)
	}
	if bad > 0 && v.Damaged() == 0 {
		problem("%d answers say that something is damaged, and verify finds nothing", bad)
	}
	other, err := store.Create(t.Context(), newLoop("new-aaaa"))
	if err == nil {
		_, err = store.Commit(t.Context(), iterate(other, "on"))
	}
	if err != nil {
		problem("a new loop: %v", err)
	}
	for id, l := range w.loops {
		now, err := store.Load(t.Context(), id)
		if errors.Is(err, loops.ErrDamaged) || l.Status.Settled() {
			continue
		}
		if err == nil {
			_, err = store.Commit(t.Context(), iterate(now, "on"))
		}
		if err != nil && !errors.Is(err, loops.ErrDamaged) {
			problem("%s does not go on: %v", id, err)
		}
	}
	if bad == 0 && v.Damaged() == 0 {
		return "whole"
	}
	return "damaged"
}

// compare returns how many answers say that something is damaged; all others
// must be those of before.
func (w whole) compare(t *testing.T, store *kvstate.Store, problem func(string, ...any)) (bad int) {
	t.Helper()
	said := func(what string, err error) bool {
		if errors.Is(err, loops.ErrDamaged) {
			bad++
		} else if err != nil {
			problem("%s: %v", what, err)
		}
		return err == nil
	}
	heads := must[[]loops.Head](t)(store.List(t.Context()))
	for id, want := range w.loops {
		got, err := store.History(context.WithoutCancel(t.Context()), id)
		if said(string(id), err) && !cmp.Equal(want, got, wholeBytes) {
			problem("%s was %s and is %s", id, want.Summary(), got.Summary())
		}
		if head := find(heads, id); head.Rev != want.Rev && head.Status != loops.Failed {
			problem("%s is listed as %+v", id, head)
		}
		data, err := store.Blob(t.Context(), id, w.blobs[id])
		if errors.Is(err, loops.ErrNotFound) {
			bad++ // whoever asks for it finds out
		} else if said("the blob of "+string(id), err) && string(data) != noiseOf(3000)+string(id) {
			problem("the blob of %s is another one", id)
		}
		bound, err := store.Reserve(t.Context(), "request of "+string(id), "new-aaaa")
		if said("the request of "+string(id), err) && bound != id {
			problem("the request of %s is bound to %s", id, bound)
		}
	}
	err := store.Update(t.Context(), "day", func(old []byte) ([]byte, error) {
		if string(old) != "17" {
			problem("the day's record says %q", old)
		}
		return old, nil
	})
	said("the day's record", err)
	return bad
}

// TestAMangledMessageIsDamagedAndNotWaitedFor: the server takes it for whole and
// answers what can't be read. Whoever asks is told so at once, and not after half
// a minute that the store does not answer.
func TestAMangledMessageIsDamagedAndNotWaitedFor(t *testing.T) {
	w := fillStore(t)
	for _, kind := range []string{"KV_LOOPREQ *.blk", "OBJ_LOOPBLOBS *.blk", "KV_LOOPKEPT *.blk", "KV_LOOPDATA *.blk"} {
		for what, flip := range map[string]func(data []byte, at int){
			"the first letter of each header": func(data []byte, at int) { data[at] ^= 1 },
			"the length of each header":       func(data []byte, at int) { data[at-4] ^= 8 },
			"the end of each header's line":   func(data []byte, at int) { data[at+len("NATS/1.0")] ^= 4 },
		} {
			t.Run(kind+" "+what, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				w.copyTo(t, dir)
				for _, rel := range w.files[kind] {
					path := filepath.Join(dir, rel)
					data := must[[]byte](t)(os.ReadFile(path))
					for at := 4; at < len(data)-16; at++ {
						if bytes.HasPrefix(data[at:], []byte("NATS/1.0\r\n")) {
							flip(data, at)
						}
					}
					if err := os.WriteFile(path, data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if result := w.examine(t, dir, what); result != "damaged" {
					t.Error(result)
				}
			})
		}
	}
}
