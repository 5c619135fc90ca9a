package kvstate_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

const headHeader = "Loop-Head"

// newest returns a copy of the last message of a loop, to be forged.
func newest(t *testing.T, js jetstream.JetStream, id string) *nats.Msg {
	t.Helper()
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	m := must[*jetstream.RawStreamMsg](t)(st.GetLastMsgForSubject(t.Context(), "$KV.LOOPS."+id))
	return &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{headHeader: {m.Header.Get(headHeader)}}}
}

func TestDamage(t *testing.T) {
	flip := func(text string, at int) string {
		b := []byte(text)
		b[at] ^= 1
		return string(b)
	}
	tests := []struct {
		name  string
		forge func(t *testing.T, js jetstream.JetStream, m *nats.Msg)
		late  bool // not seen in the header alone
		base  bool // seen only when the whole history is read
	}{
		{"no header", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) { m.Header = nil }, false, false},
		{"an empty message", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) { m.Header, m.Data = nil, nil }, false, false},
		{"a flipped bit in the header", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) {
			m.Header.Set(headHeader, flip(m.Header.Get(headHeader), 40))
		}, false, false},
		{"half a header", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) {
			m.Header.Set(headHeader, m.Header.Get(headHeader)[:200])
		}, false, false},
		{"a flipped bit in the body", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) { m.Data[len(m.Data)/2] ^= 4 }, true, false},
		{"a cut body", func(_ *testing.T, _ jetstream.JetStream, m *nats.Msg) { m.Data = m.Data[:len(m.Data)/2] }, true, false},
		{"a record of another loop", func(t *testing.T, js jetstream.JetStream, m *nats.Msg) {
			other := newest(t, js, "well-aaaa")
			m.Header, m.Data = other.Header, other.Data
		}, false, false},
		{"the same record twice", func(*testing.T, jetstream.JetStream, *nats.Msg) {}, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				js := stream(t, host(t, t.TempDir(), embed.Process))
				store := open(t, js, nil)
				s := must[loops.State](t)(store.Create(t.Context(), newLoop("ill-aaaa")))
				well := must[loops.State](t)(store.Create(t.Context(), newLoop("well-aaaa")))
				for range 5 {
					s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, text(3000))))
				}
				forged := newest(t, js, string(s.ID))
				test.forge(t, js, forged)
				forged.Subject = "$KV.LOOPS." + string(s.ID)
				must[*jetstream.PubAck](t)(js.PublishMsg(t.Context(), forged))

				// A store that was there, and one that is opened on it.
				for _, store := range []*kvstate.Store{store, open(t, js, nil)} {
					if test.late {
						if _, err := store.Load(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) {
							t.Errorf("Load: %v", err)
						}
					}
					if _, err := store.History(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) || !strings.Contains(err.Error(), "revision") {
						t.Errorf("History: %v", err)
					}
					head := find(must[[]loops.Head](t)(store.List(t.Context())), s.ID)
					if head.Status != loops.Failed || !strings.Contains(head.Summary, "damaged") {
						t.Errorf("listed as %+v", head)
					}
					if id := ready(t, store); id != well.ID {
						t.Errorf("%s was handed out", id)
					}
					if _, err := store.Load(t.Context(), well.ID); err != nil {
						t.Errorf("the other loop: %v", err)
					}
					if _, err := store.Commit(t.Context(), iterate(s, "on")); err == nil {
						t.Error("a commit on the damaged loop succeeded")
					}
				}
			})
		})
	}
}

// TestMissingRecords loses records that newer ones build on.
func TestMissingRecords(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("ill-aaaa")))
	for range 5 {
		s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, text(3000))))
	}
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	if err := st.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.LOOPS.ill-aaaa"), jetstream.WithPurgeSequence(s.Rev-1)); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, js, nil)
	if _, err := fresh.Load(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) {
		t.Errorf("Load: %v", err)
	}
	if _, err := store.History(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) {
		t.Errorf("History: %v", err)
	}
	s.Status = loops.Completed // makes a snapshot, which must not hide the loss
	if _, err := store.Commit(t.Context(), s); !errors.Is(err, loops.ErrDamaged) {
		t.Errorf("Commit: %v", err)
	}
	for _, store := range []*kvstate.Store{store, fresh} {
		if head := find(must[[]loops.Head](t)(store.List(t.Context())), s.ID); head.Status != loops.Failed {
			t.Errorf("listed as %+v", head)
		}
	}
}

// TestMissingObject loses a part of a record that is in the object store.
func TestMissingObject(t *testing.T) {
	store, js := fresh(t, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("ill-aaaa")))
	s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(600_000))))
	objects := must[jetstream.ObjectStore](t)(js.ObjectStore(t.Context(), "LOOPBLOBS"))
	for _, o := range must[[]*jetstream.ObjectInfo](t)(objects.List(t.Context())) {
		if err := objects.Delete(t.Context(), o.Name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Load(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) {
		t.Errorf("Load: %v", err)
	}
}

// TestADamagedLargePartQuarantinesItsLoop: a chunk of a large part came back
// altered, or not at all. The loop was taken for one whose store is in trouble,
// and tried again for ever.
func TestADamagedLargePartQuarantinesItsLoop(t *testing.T) {
	for name, damage := range map[string]func(jetstream.Stream, *jetstream.RawStreamMsg){
		"altered": func(st jetstream.Stream, m *jetstream.RawStreamMsg) {
			m.Data[7] ^= 1
			must[bool](t)(true, st.DeleteMsg(t.Context(), m.Sequence))
		},
		"missing": func(st jetstream.Stream, m *jetstream.RawStreamMsg) {
			m.Data = nil
			must[bool](t)(true, st.DeleteMsg(t.Context(), m.Sequence))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, js := fresh(t, nil)
			s := must[loops.State](t)(store.Create(t.Context(), newLoop("ill-aaaa")))
			s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(900_000))))
			st := must[jetstream.Stream](t)(js.Stream(t.Context(), "OBJ_LOOPBLOBS"))
			last := must[*jetstream.RawStreamMsg](t)(st.GetMsg(t.Context(), 2)) // of the first object, after its first chunk
			if !strings.HasPrefix(last.Subject, "$O.LOOPBLOBS.C.") {
				t.Fatalf("message 2 is %s", last.Subject)
			}
			damage(st, last)
			if last.Data != nil {
				must[*jetstream.PubAck](t)(js.Publish(t.Context(), last.Subject, last.Data))
			}
			if _, err := store.History(t.Context(), s.ID); !errors.Is(err, loops.ErrDamaged) {
				t.Errorf("History: %v", err)
			}
		})
	}
}
