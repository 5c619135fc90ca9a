package kvstate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// faulty lets a test decide what a publish to the loops' bucket meets.
type faulty struct {
	jetstream.JetStream
	mu   sync.Mutex
	next []func(publish func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error)
}

func (f *faulty) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	publish := func() (*jetstream.PubAck, error) { return f.JetStream.PublishMsg(ctx, m, opts...) }
	f.mu.Lock()
	var fault func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error)
	if len(f.next) > 0 {
		fault, f.next = f.next[0], f.next[1:]
	}
	f.mu.Unlock()
	if fault == nil {
		return publish()
	}
	return fault(publish)
}

// The faults.
var errLost = errors.New("the answer was lost")

func lostBefore(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) { return nil, errLost }

func lostAfter(publish func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
	if _, err := publish(); err != nil {
		return nil, err
	}
	return nil, errLost
}

func spurious(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
	return nil, &jetstream.APIError{Code: 400, ErrorCode: 10164, Description: "wrong last sequence"}
}

func TestUnknownOutcome(t *testing.T) {
	type fault = func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error)
	tests := []struct {
		name    string
		faults  []fault
		other   bool // another store commits as soon as the first fault is over
		settles bool // and its commit is a snapshot that replaces the record
		want    error
		records uint64
	}{
		{"the request is lost", []fault{lostBefore}, false, false, nil, 2},
		{"the request is lost again and again", []fault{lostBefore, lostBefore, spurious, lostBefore}, false, false, nil, 2},
		{"the answer is lost", []fault{lostAfter}, false, false, nil, 2},
		{"the answer is lost and another has written since", []fault{lostAfter}, true, false, nil, 3},
		{"the answer is lost and another has replaced the record", []fault{lostAfter}, true, true, nil, 1},
		{"the request is lost and another was faster", []fault{lostBefore}, true, false, loops.ErrConflict, 2},
		{"the request is lost and another has replaced all", []fault{lostBefore}, true, true, loops.ErrConflict, 1},
		{"the server refuses for no reason", []fault{spurious}, false, false, nil, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
				store, other := open(t, js, nil), open(t, js.JetStream, nil)
				s := must[loops.State](t)(store.Create(t.Context(), newLoop("fault-aaaa")))
				js.next = test.faults
				if test.other {
					first := js.next[0]
					js.next[0] = func(publish func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error) {
						ack, err := first(publish)
						theirs := must[loops.State](t)(other.Load(t.Context(), s.ID))
						theirs.Why = "the other's"
						if test.settles {
							theirs.Status = loops.Completed
						}
						must[loops.State](t)(other.Commit(t.Context(), theirs))
						return ack, err
					}
				}
				got, err := store.Commit(t.Context(), iterate(s, "mine"))
				if !errors.Is(err, test.want) {
					t.Fatalf("got error %v, want %v", err, test.want)
				}
				if n := records(t, js, s.ID); n != test.records {
					t.Errorf("%d records, want %d", n, test.records)
				}
				now := must[loops.State](t)(store.Load(t.Context(), s.ID))
				if landed := now.Iteration == 1; landed != (test.want == nil) {
					t.Errorf("stored is iteration %d", now.Iteration)
				}
				if test.want == nil && !test.other && got.Rev != now.Rev {
					t.Errorf("Commit returned revision %d, stored is %d", got.Rev, now.Rev)
				}
				if _, err := store.Commit(t.Context(), got); test.want == nil && test.other && !errors.Is(err, loops.ErrConflict) {
					t.Errorf("the next commit: got error %v, want %v", err, loops.ErrConflict)
				}
			})
		})
	}
}

func TestCreateAndReserveWithLostAnswers(t *testing.T) {
	for _, fault := range []func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error){lostBefore, lostAfter, spurious} {
		js := &faulty{JetStream: stream(t, host(t, t.TempDir(), embed.Process))}
		store := open(t, js, nil)
		js.next = append(js.next, fault)
		s := must[loops.State](t)(store.Create(t.Context(), newLoop("fault-aaaa")))
		if _, err := store.Create(t.Context(), newLoop("fault-aaaa")); !errors.Is(err, loops.ErrExists) {
			t.Errorf("a second Create: %v", err)
		}
		js.next = append(js.next, fault)
		if id, err := store.Reserve(t.Context(), "r", s.ID); id != s.ID || err != nil {
			t.Errorf("Reserve: %q, %v", id, err)
		}
	}
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := host(t, t.TempDir(), embed.Process)
		js := &faulty{JetStream: stream(t, h)}
		store := open(t, js, nil)
		s := must[loops.State](t)(store.Create(t.Context(), newLoop("fault-aaaa")))
		for range 1000 {
			js.next = append(js.next, lostBefore)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := store.Commit(ctx, iterate(s, "mine"))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errLost) || time.Since(began) > 4*time.Second {
			t.Errorf("with a deadline: %v after %s", err, time.Since(began))
		}
		began = time.Now()
		_, err = store.Commit(context.WithoutCancel(t.Context()), iterate(s, "mine"))
		if !errors.Is(err, errLost) || time.Since(began) > time.Minute {
			t.Errorf("without a deadline: %v after %s", err, time.Since(began))
		}
		js.next = nil
		must[loops.State](t)(store.Commit(t.Context(), iterate(s, "mine")))
	})
}

func TestFullStore(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
	st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
	config := st.CachedInfo().Config
	config.MaxBytes = 20 << 10
	must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
	_, err := store.Commit(t.Context(), iterate(s, noiseOf(30_000)))
	if !errors.Is(err, loops.ErrUnwritable) || !strings.Contains(err.Error(), "--max-bytes") {
		t.Fatalf("a commit into a full store: %v", err)
	}
	if now := must[loops.State](t)(store.Load(t.Context(), s.ID)); now.Rev != s.Rev {
		t.Errorf("stored is revision %d, want %d", now.Rev, s.Rev)
	}
	settled := s // a rollup of its own subject makes room
	settled.Status = loops.Completed
	s = must[loops.State](t)(store.Commit(t.Context(), settled))
	config.MaxBytes = -1
	must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
	must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(30_000))))
}

// TestEveryStreamThatIsFullSaysSo: whichever stream has reached its limit, what
// would go there is refused with what to do, the rest goes on, and there is room
// again when the limit is raised.
func TestEveryStreamThatIsFullSaysSo(t *testing.T) {
	js := stream(t, host(t, t.TempDir(), embed.Process))
	store := open(t, js, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
	n := 0
	for name, write := range map[string]func() error{
		"KV_LOOPS": func() error {
			_, err := store.Create(t.Context(), newLoop(loops.ID(fmt.Sprint("more-", n))))
			return err
		},
		"KV_LOOPREQ": func() error { _, err := store.Reserve(t.Context(), fmt.Sprint("request ", n), s.ID); return err },
		"KV_LOOPDATA": func() error {
			return store.Update(t.Context(), fmt.Sprint("day-", n), func([]byte) ([]byte, error) { return []byte("1"), nil })
		},
		"KV_LOOPKEPT":   func() error { _, err := store.PutBlob(t.Context(), s.ID, []byte(noiseOf(1000+n))); return err },
		"OBJ_LOOPBLOBS": func() error { _, err := store.PutBlob(t.Context(), s.ID, []byte(noiseOf(600_000+n))); return err },
	} {
		if err := write(); err != nil { // else there is no stream yet
			t.Fatal(err)
		}
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), name))
		config := st.CachedInfo().Config
		config.MaxBytes = int64(st.CachedInfo().State.Bytes) + 1
		must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
		n++
		if err := write(); !errors.Is(err, loops.ErrUnwritable) || !strings.Contains(err.Error(), "--max-bytes") {
			t.Errorf("%s: %v", name, err)
		}
		if name != "KV_LOOPS" {
			s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "on")))
		}
		config.MaxBytes = -1
		must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
		if err := write(); err != nil {
			t.Errorf("%s with room again: %v", name, err)
		}
	}
	if v := must[kvstate.Verification](t)(store.Verify(t.Context())); v.Damaged() != 0 {
		t.Errorf("verify: %+v", v)
	}
}

// TestServerRestart restarts the server below stores that are in use. The
// client takes timers from a pool when it reconnects, so it is not in a bubble.
func TestServerRestart(t *testing.T) {
	h := host(t, t.TempDir(), embed.Process)
	js := stream(t, h)
	one, two := open(t, js, nil), open(t, js, &kvstate.Options{Runner: "two"})
	seen := make(chan loops.Head, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		for head, err := range two.Watch(ctx, "", 0) {
			if err != nil {
				t.Error(err)
				return
			}
			seen <- head
		}
	})
	s := must[loops.State](t)(one.Create(t.Context(), newLoop("restart-aaaa")))
	for n := range 150 {
		if n%50 == 20 {
			background.Go(func() {
				if err := h.Restart(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		s = must[loops.State](t)(one.Commit(t.Context(), iterate(s, text(300))))
	}
	heads := must[[]loops.Head](t)(two.List(t.Context()))
	if len(heads) != 1 || heads[0].Rev != s.Rev {
		t.Fatalf("the other store lists %+v, want revision %d", heads, s.Rev)
	}
	for head := range seen {
		if head.Rev == s.Rev {
			break
		}
	}
	if l := must[loops.Loop](t)(two.History(t.Context(), s.ID)); len(l.Iterations) != 150 {
		t.Errorf("%d iterations", len(l.Iterations))
	}
	cancel()
	background.Wait()
}
