package loopstest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/loop-mcp/loops"
)

// stored returns a copy of what a record holds: nil when there is none.
func stored(t *testing.T, store loops.Store, key string) []byte {
	t.Helper()
	var data []byte
	stop := errors.New("only reading")
	err := store.Update(t.Context(), key, func(old []byte) ([]byte, error) {
		data = bytes.Clone(old)
		return nil, stop
	})
	if err != stop {
		t.Fatalf("Update: got error %v, want the one of change, as it is", err)
	}
	return data
}

func put(data []byte) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return data, nil }
}

func increment(old []byte) ([]byte, error) {
	n := 0
	if old != nil {
		var err error
		if n, err = strconv.Atoi(string(old)); err != nil {
			return nil, err
		}
	}
	return strconv.AppendInt(nil, int64(n+1), 10), nil
}

func testUpdate(t *testing.T, store loops.Store) {
	const writers, each = 8, 25
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				if err := store.Update(t.Context(), "daily.2026-11-21", increment); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	same(t, "the count", fmt.Sprint(writers*each), string(stored(t, store, "daily.2026-11-21")))
	if other := stored(t, store, "daily.2026-11-22"); other != nil {
		t.Errorf("another record holds %q", other)
	}
	mine := []byte("mine")
	must[any](t)(nil, store.Update(t.Context(), "copy", put(mine)))
	mine[0] = 'X'
	same(t, "the record after its source has changed", "mine", string(stored(t, store, "copy")))
	must[any](t)(nil, store.Update(t.Context(), "copy", func(old []byte) ([]byte, error) {
		old[0] = 'X' // its own copy
		return []byte("yours"), nil
	}))
	same(t, "the changed record", "yours", string(stored(t, store, "copy")))
	must[any](t)(nil, store.Update(t.Context(), "copy", put(nil)))
	if data := stored(t, store, "copy"); data == nil || len(data) > 0 {
		t.Errorf("an empty record is %#v, want one that is there and empty", data)
	}
}

func testUpdateRefused(t *testing.T, store loops.Store) {
	must[any](t)(nil, store.Update(t.Context(), "kept", put([]byte("kept"))))
	if stored(t, store, "kept"); stored(t, store, "none") != nil {
		t.Error("a refused change has made a record")
	}
	large := bytes.Repeat([]byte("x"), loops.MaxRecord)
	must[any](t)(nil, store.Update(t.Context(), "large", put(large)))
	same(t, "the size of the largest record", loops.MaxRecord, len(stored(t, store, "large")))
	err := store.Update(t.Context(), "kept", put(append(large, 'x')))
	wantError(t, "an update that is too large", err, loops.ErrInvalid)
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a b", "A", "*", ">", "a/b", "ü", strings.Repeat("k", 65)} {
		wantError(t, fmt.Sprintf("the key %q", key), store.Update(t.Context(), key, put([]byte("x"))), loops.ErrInvalid)
	}
	must[any](t)(nil, store.Update(t.Context(), strings.Repeat("k", 64), put([]byte("x"))))
	same(t, "the record", "kept", string(stored(t, store, "kept")))
}
