package kvstate_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// blocks returns the block files of the loops' stream below a data folder.
func blocks(t *testing.T, dir string) []string {
	t.Helper()
	found := must[[]string](t)(filepath.Glob(filepath.Join(dir, "store", "jetstream", "*", "streams", "KV_LOOPS", "msgs", "*.blk")))
	if len(found) == 0 {
		t.Fatal("there are no block files")
	}
	return found
}

// change rewrites the newest block file.
func change(do func(data []byte, r *rand.Rand) []byte) func(*testing.T, string, *rand.Rand) {
	return func(t *testing.T, dir string, r *rand.Rand) {
		t.Helper()
		path := slices.Max(blocks(t, dir))
		data := must[[]byte](t)(os.ReadFile(path))
		if err := os.WriteFile(path, do(data, r), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func noIndex(t *testing.T, dir string, _ *rand.Rand) {
	t.Helper()
	path := filepath.Join(filepath.Dir(blocks(t, dir)[0]), "index.db")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

type fault func(t *testing.T, dir string, r *rand.Rand)

// diskFaults are what disks do to a store that is closed.
var diskFaults = []struct {
	name   string
	faults []fault
	loses  bool // records, for certain
}{
	{"a flipped bit", []fault{change(flipOne)}, false},
	{"a flipped bit and no index", []fault{change(flipOne), noIndex}, true},
	{"a flipped bit of a header's length", []fault{change(flipHeaderLength)}, false},
	{"a flipped bit of a header's length and no index", []fault{change(flipHeaderLength), noIndex}, false},
	{"a truncated tail", []fault{change(cutHalf)}, true},
	{"a truncated tail and no index", []fault{change(cutHalf), noIndex}, true},
	{"a record cut off", []fault{change(func(b []byte, _ *rand.Rand) []byte { return b[:len(b)-300] }), noIndex}, true},
	{"a zeroed tail", []fault{change(zeroTail)}, false},
	{"a zeroed tail and no index", []fault{change(zeroTail), noIndex}, true},
	{"zeros after the tail", []fault{change(func(b []byte, _ *rand.Rand) []byte { return append(b, make([]byte, 700)...) })}, false},
	{"no index", []fault{noIndex}, false},
	{"an empty block", []fault{change(func([]byte, *rand.Rand) []byte { return nil }), noIndex}, true},
	{"no stream", []fault{func(t *testing.T, dir string, _ *rand.Rand) {
		if err := os.RemoveAll(filepath.Dir(filepath.Dir(blocks(t, dir)[0]))); err != nil {
			t.Fatal(err)
		}
	}}, true},
	{"no store", []fault{func(t *testing.T, dir string, _ *rand.Rand) {
		if err := os.RemoveAll(filepath.Join(dir, "store")); err != nil {
			t.Fatal(err)
		}
	}}, true},
}

// flipOne flips a bit that the server's checksum of a record covers.
func flipOne(b []byte, r *rand.Rand) []byte {
	at := headerAfter(b, len(b)/4+r.IntN(len(b)/2))
	b[at+r.IntN(200)] ^= 1 << r.IntN(8)
	return b
}

// flipHeaderLength flips a bit of the only field that the checksum leaves out:
// the length of a record's header, in the four bytes before it.
func flipHeaderLength(b []byte, r *rand.Rand) []byte {
	at := headerAfter(b, len(b)/4+r.IntN(len(b)/2))
	b[at-4+r.IntN(4)] ^= 1 << r.IntN(8)
	return b
}

// headerAfter returns where the first header after a place begins.
func headerAfter(b []byte, place int) int {
	return place + bytes.Index(b[place:], []byte("NATS/1.0"))
}

func cutHalf(b []byte, r *rand.Rand) []byte { return b[:len(b)/4+r.IntN(len(b)/2)] }

func zeroTail(b []byte, _ *rand.Rand) []byte {
	clear(b[max(0, len(b)-4096):])
	return b
}
