package loops_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

// TestAKeyIsSharedAndLasts: what one process signed another one verifies, also
// after a restart, as long as somebody asks for the key now and then.
func TestAKeyIsSharedAndLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := loopstest.NewMemory()
		key := func(name string) []byte {
			t.Helper()
			k, err := loops.New(store, loops.Parts{}, nil).Key(t.Context(), name)
			if err != nil || len(k) != 32 {
				t.Fatalf("key %x, %v", k, err)
			}
			return k
		}
		first, other := key("a"), key("b")
		if bytes.Equal(first, other) {
			t.Error("two names have one key")
		}
		for range 10 {
			if !bytes.Equal(key("a"), first) {
				t.Fatal("another process has another key")
			}
			time.Sleep(loops.RecordTTL / 3) // later than a quarter: it is written anew
		}
		if _, err := loops.New(store, loops.Parts{}, nil).Key(t.Context(), "No key"); err == nil {
			t.Error("a name that no record can have was taken")
		}
	})
}

// TestProcessesThatAskAtOnceGetOneKey: the first one that is stored.
func TestProcessesThatAskAtOnceGetOneKey(t *testing.T) {
	store := loopstest.NewMemory()
	keys := make([][]byte, 8)
	var asked sync.WaitGroup
	for i := range keys {
		asked.Go(func() { keys[i], _ = loops.New(store, loops.Parts{}, nil).Key(context.Background(), "a") })
	}
	asked.Wait()
	for _, k := range keys {
		if len(k) != 32 || !bytes.Equal(k, keys[0]) {
			t.Fatalf("keys %x", keys)
		}
	}
}

// TestAnUnreadableKeyIsReplaced: it would keep people from being asked for ever.
func TestAnUnreadableKeyIsReplaced(t *testing.T) {
	store := loopstest.NewMemory()
	for _, bad := range []string{"", "{}", `{"key":"AAAA"}`, "nonsense"} {
		if err := store.Update(t.Context(), "key.a", func([]byte) ([]byte, error) { return []byte(bad), nil }); err != nil {
			t.Fatal(err)
		}
		k, err := loops.New(store, loops.Parts{}, nil).Key(t.Context(), "a")
		if err != nil || len(k) != 32 || bytes.Equal(k, make([]byte, 32)) {
			t.Errorf("from %q: key %x, %v", bad, k, err)
		}
	}
}

// TestARequestCanBeTriedOut: it changes nothing, and says what Do would say.
func TestARequestCanBeTriedOut(t *testing.T) {
	story(t, loopstest.Script(loopstest.Done("draft")), func(w *world) {
		id := w.start(humans("Good?"))
		s := w.attention(id, loops.NeedsInput)
		for _, r := range []loops.Request{
			{Action: loops.Approve, AttentionID: "ap-99"}, {Action: loops.AnswerIt, Message: "x"}, {Action: loops.Submit, AttentionID: s.Attention.ID}, {Action: loops.Reopen, Message: "x"},
		} {
			_, want := w.Do(t.Context(), id, r)
			if got := s.Allows(r); got == nil || want == nil || got.Error() != want.Error() {
				t.Errorf("%s: %v, Do says %v", r.Action, got, want)
			}
		}
		if err := s.Allows(loops.Request{Action: loops.Approve, AttentionID: s.Attention.ID}); err != nil {
			t.Error(err)
		}
		if now := w.attention(id, loops.NeedsInput); now.Rev != s.Rev {
			t.Error("the loop was changed")
		}
	})
}
