package loopstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/loop-mcp/loops"
)

func testReserve(t *testing.T, store loops.Store) {
	reserve := func(request string, id loops.ID) loops.ID {
		t.Helper()
		return must[loops.ID](t)(store.Reserve(t.Context(), request, id))
	}
	strange := "ask 1 > * . / \x00 ü" + string(make([]byte, 4000))
	same(t, "a new request", "one-aaaa", reserve("r1", "one-aaaa"))
	same(t, "the same request", "one-aaaa", reserve("r1", "two-aaaa"))
	same(t, "another request", "two-aaaa", reserve("r2", "two-aaaa"))
	same(t, "a strange request", "odd-aaaa", reserve(strange, "odd-aaaa"))
	same(t, "the strange request again", "odd-aaaa", reserve(strange, "two-aaaa"))
	got := make(chan loops.ID, 8)
	for n := range cap(got) {
		go func() {
			id, err := store.Reserve(t.Context(), "race", loopID(n))
			if err != nil {
				t.Errorf("Reserve: %v", err)
			}
			got <- id
		}()
	}
	first := <-got
	for range cap(got) - 1 {
		same(t, "the id that a raced request is bound to", first, <-got)
	}
}

func testBlobs(t *testing.T, store loops.Store) {
	s := create(t, store, queued("blob-aaaa"))
	put := func(id loops.ID, data string) string {
		t.Helper()
		return must[string](t)(store.PutBlob(t.Context(), id, []byte(data)))
	}
	refs := map[string]string{}
	for _, text := range []string{"one", "two", "", "three\x00\xff"} {
		refs[put(s.ID, text)] = text
		put(s.ID, text) // the same again is no error
	}
	same(t, "different references", 4, len(refs))
	for ref, want := range refs {
		same(t, "the blob", want, string(must[[]byte](t)(store.Blob(t.Context(), s.ID, ref))))
	}
	ref := put(s.ID, "one")
	same(t, "the reference of the same content", "one", refs[ref])
	_, err := store.Blob(t.Context(), "blob-bbbb", ref)
	wantError(t, "the blob of another loop", err, loops.ErrNotFound)
	for _, wrong := range []string{"", "nothing", "../" + ref, ref + "x", "*", ">"} {
		_, err := store.Blob(t.Context(), s.ID, wrong)
		wantError(t, fmt.Sprintf("Blob %q", wrong), err, loops.ErrNotFound)
	}
	// A blob may come before its loop.
	early := put("early-aaaa", "early")
	create(t, store, queued("early-aaaa"))
	same(t, "the early blob", "early", string(must[[]byte](t)(store.Blob(t.Context(), "early-aaaa", early))))
}

func testPins(t *testing.T, store loops.Store) {
	first := create(t, store, queued("pins-aaaa"))
	small := must[string](t)(store.PutBlob(t.Context(), first.ID, []byte("small")))
	large := must[string](t)(store.PutBlob(t.Context(), first.ID, noise(600<<10)))
	fork := func(id loops.ID, pins ...loops.ID) loops.State {
		t.Helper()
		s := queued(id)
		s.Origin.Forked = &loops.Forked{Loop: pins[0], Iteration: 3, Message: "again"}
		s.Origin.Base = &loops.Base{Output: loops.Text{Text: "head", Size: 600 << 10, Blob: large}, Memory: json.RawMessage(`{"ref":1}`), Feedback: "more"}
		s.Origin.Pins = pins
		return create(t, store, s)
	}
	second := fork("pins-bbbb", first.ID)
	mine := must[string](t)(store.PutBlob(t.Context(), second.ID, []byte("mine")))
	third := fork("pins-cccc", second.ID, first.ID)
	for _, id := range []loops.ID{first.ID, second.ID, third.ID} {
		same(t, "the small blob", "small", string(must[[]byte](t)(store.Blob(t.Context(), id, small))))
		same(t, "the size of the large blob", 600<<10, len(must[[]byte](t)(store.Blob(t.Context(), id, large))))
	}
	same(t, "what the second fork reads of the first", "mine", string(must[[]byte](t)(store.Blob(t.Context(), third.ID, mine))))
	_, err := store.Blob(t.Context(), first.ID, mine)
	wantError(t, "what the fork kept, asked of the original", err, loops.ErrNotFound)
	got := load(t, store, third.ID)
	same(t, "the origin", third.Origin, got.Origin)
	same(t, "where it comes from", 3, got.Origin.Forked.Iteration)
	for _, h := range must[[]loops.Head](t)(store.List(t.Context())) {
		if h.ID == third.ID {
			same(t, "what the head pins", got.Origin.Pins, h.Pins)
		}
	}
	orphan := queued("pins-dddd")
	orphan.Origin.Pins = []loops.ID{"none-aaaa"}
	_, err = store.Create(t.Context(), orphan)
	wantError(t, "a fork of a loop that is not there", err, loops.ErrNotFound)
	_, err = store.Load(t.Context(), orphan.ID)
	wantError(t, "the fork that was refused", err, loops.ErrNotFound)
}

// noise returns n bytes of text that compresses little.
func noise(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ \n"
	r := rand.New(rand.NewPCG(uint64(n), 1))
	data := make([]byte, n)
	for i := range data {
		data[i] = letters[r.IntN(len(letters))]
	}
	return data
}

func testLarge(t *testing.T, store loops.Store) {
	s := create(t, store, queued("large-aaaa"))
	output := bytes.Repeat(noise(1<<20), loops.MaxOutputSize>>20)
	ref := must[string](t)(store.PutBlob(t.Context(), s.ID, output))
	memory, err := json.Marshal(string(noise(3 << 20)))
	if err != nil {
		t.Fatal(err)
	}
	s = work(s, 100)
	s.Output = loops.Text{Text: "head … tail", Size: int64(len(output)), Blob: ref}
	s.Memory = memory
	s.New.Iteration.Output, s.New.Iteration.Memory = s.Output, memory
	s = commit(t, store, s)
	if got := load(t, store, s.ID); !bytes.Equal(got.Memory, memory) || got.Output != s.Output {
		t.Fatalf("the state came back with %d bytes of memory and the output %+v", len(got.Memory), got.Output)
	}
	s = commit(t, store, work(s, 100))
	s.Status = loops.Completed
	s = commit(t, store, s)
	h := history(t, store, s.ID)
	if it := h.Iterations[0]; !bytes.Equal(it.Memory, memory) || it.Output.Blob != ref {
		t.Fatalf("the iteration came back with %d bytes of memory and the output %+v", len(it.Memory), it.Output)
	}
	same(t, "the state", s, h.State)
	if got := must[[]byte](t)(store.Blob(t.Context(), s.ID, ref)); !bytes.Equal(got, output) {
		t.Fatalf("the output came back with %d bytes, want %d", len(got), len(output))
	}
}
