package kvstate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

func TestBlobIsStoredOnceWhenAnswersAreLost(t *testing.T) {
	type fault = func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error)
	for name, faults := range map[string][]fault{
		"the request": {lostBefore, lostBefore}, "the answer": {lostAfter}, "no reason": {spurious},
	} {
		t.Run(name, func(t *testing.T) {
			js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
			store := open(t, js, nil)
			s := must[loops.State](t)(store.Create(t.Context(), newLoop("kept-aaaa")))
			must[string](t)(store.PutBlob(t.Context(), s.ID, []byte("first")))
			js.next = faults
			ref := must[string](t)(store.PutBlob(t.Context(), s.ID, []byte(text(9000))))
			must[string](t)(store.PutBlob(t.Context(), s.ID, []byte(text(9000))))
			if data := must[[]byte](t)(store.Blob(t.Context(), s.ID, ref)); string(data) != text(9000) {
				t.Errorf("the blob has %d bytes", len(data))
			}
			st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPKEPT"))
			if info := must[*jetstream.StreamInfo](t)(st.Info(t.Context())); info.State.LastSeq != 2 {
				t.Errorf("%d messages for two blobs", info.State.LastSeq)
			}
		})
	}
}

func TestDamagedBlobIsNotHandedOut(t *testing.T) {
	store, js := fresh(t, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("kept-aaaa")))
	for _, size := range []int{100, 9000} { // as it is, and compressed
		ref := must[string](t)(store.PutBlob(t.Context(), s.ID, []byte(text(size))))
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPKEPT"))
		m := must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPKEPT.kept-aaaa."+ref))
		forged := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{}}
		if packed := m.Header.Get("Loop-Packed"); packed != "" {
			forged.Header.Set("Loop-Packed", packed)
		}
		forged.Data[len(forged.Data)/2] ^= 8
		must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), forged))
		if _, err := store.Blob(t.Context(), s.ID, ref); !errors.Is(err, loops.ErrDamaged) {
			t.Errorf("a blob of %d bytes: %v", size, err)
		}
	}
}

// What was stored as an object, by whatever size, is still found.
func TestSmallObjectIsReadToo(t *testing.T) {
	store, js := fresh(t, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("kept-aaaa")))
	must[string](t)(store.PutBlob(t.Context(), s.ID, []byte(noiseOf(300_000)))) // makes the object store
	sum := sha256.Sum256([]byte("small"))
	objects := must[jetstream.ObjectStore](t)(js.ObjectStore(t.Context(), "LOOPBLOBS"))
	must[*jetstream.ObjectInfo](t)(objects.PutString(t.Context(), "kept-aaaa/"+hex.EncodeToString(sum[:]), "small"))
	if data := must[[]byte](t)(store.Blob(t.Context(), s.ID, hex.EncodeToString(sum[:]))); string(data) != "small" {
		t.Errorf("the blob is %q", data)
	}
}

// A store that wrote it would not be able to read the loop any more.
func TestMemoryThatIsNotJSONIsRefused(t *testing.T) {
	store, _ := fresh(t, nil)
	wrong := json.RawMessage(`{"half":` + strings.Repeat(" ", 1000))
	s := newLoop("memory-aaaa")
	s.Memory = wrong
	if _, err := store.Create(t.Context(), s); !errors.Is(err, loops.ErrInvalid) {
		t.Errorf("Create: %v", err)
	}
	s.Memory = json.RawMessage(`{"whole":"` + strings.Repeat(" ", 1000) + `"}`)
	s = must[loops.State](t)(store.Create(t.Context(), s))
	for name, change := range map[string]func(*loops.State){
		"in the state":     func(s *loops.State) { s.Memory = wrong },
		"in the iteration": func(s *loops.State) { s.New.Iteration.Memory = wrong },
		"in both":          func(s *loops.State) { s.Memory, s.New.Iteration.Memory = wrong, wrong },
	} {
		next := iterate(s, "on")
		change(&next)
		if _, err := store.Commit(context.Background(), next); !errors.Is(err, loops.ErrInvalid) {
			t.Errorf("Commit with it %s: %v", name, err)
		}
	}
	next := iterate(s, "on")
	next.New.Iteration.Memory = s.Memory
	s = must[loops.State](t)(store.Commit(t.Context(), next))
	if l := must[loops.Loop](t)(store.History(t.Context(), s.ID)); string(l.Memory) != string(s.Memory) || string(l.Iterations[0].Memory) != string(s.Memory) {
		t.Errorf("memory came back as %.40s and %.40s", l.Memory, l.Iterations[0].Memory)
	}
}
