package kvstate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
	"example.com/loop-mcp/loops/loopstest"
)

func TestLiveLog(t *testing.T) {
	loopstest.TestLiveLog(t, func(t *testing.T) (here, there loops.LiveLog) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		return open(t, js, nil), open(t, js, nil)
	})
}

func sayText(s *kvstate.Store, id loops.ID, text string) {
	s.Publish(id, loops.LiveLine{Start: 1, Live: loops.Live{Text: text}})
}

// wire collects the messages of a loop as `nats sub` shows them.
type wire struct {
	data []string
	at   []time.Duration // since the wire was tapped
}

func tap(t *testing.T, nc *nats.Conn, id string) *wire {
	t.Helper()
	w, began := &wire{}, time.Now()
	sub := must[*nats.Subscription](t)(nc.Subscribe("loop.log."+id, func(m *nats.Msg) {
		w.data, w.at = append(w.data, string(m.Data)), append(w.at, time.Since(began))
	}))
	t.Cleanup(func() { _ = sub.Unsubscribe() }) // the connection may have ended
	return w
}

func TestLiveTextIsSentAtOnceAndThenAtMostEvery50Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, js := fresh(t, nil)
		w := tap(t, js.Conn(), "talk-aaaa")
		time.Sleep(time.Second)
		for n := range 20 {
			sayText(store, "talk-aaaa", fmt.Sprint(n, "; "))
			if n == 0 {
				time.Sleep(5 * time.Millisecond) // so that no piece comes just when a message goes
			}
			time.Sleep(10 * time.Millisecond)
		}
		store.Publish("talk-aaaa", loops.LiveLine{Start: 2, Live: loops.Live{Tool: "bash"}})
		time.Sleep(time.Second)
		synctest.Wait()
		var texts []string
		var gaps []time.Duration
		for i, data := range w.data {
			var l loops.LiveLine
			if err := json.Unmarshal([]byte(data), &l); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, l.Text+l.Tool)
			gaps = append(gaps, (w.at[i] - w.at[0]).Round(time.Millisecond))
		}
		want := []string{"0; ", "1; 2; 3; 4; ", "5; 6; 7; 8; 9; ", "10; 11; 12; 13; 14; ", "15; 16; 17; 18; 19; ", "bash"}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		for i, gap := range gaps[:5] {
			if gap != time.Duration(i)*50*time.Millisecond {
				t.Errorf("message %d came after %s", i, gap)
			}
		}
		if last := w.data[5]; !strings.HasPrefix(last, `{"at":"2000-01-01T`) || !strings.HasSuffix(last, `Z","start":2,"tool":"bash"}`) {
			t.Errorf("a tool's message is %s", last)
		}
	})
}

func TestLiveTextThatIsTooLongIsCutAndSaysSo(t *testing.T) {
	for name, text := range map[string]string{
		"plain": strings.Repeat("x", 100_000), "wide": strings.Repeat("世", 30_000),
		"control codes": strings.Repeat("\x1b", 100_000), "no text at all": strings.Repeat("\xff", 100_000), "quotes": strings.Repeat(`<"&>`, 30_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, js := fresh(t, nil)
				w := tap(t, js.Conn(), "talk-aaaa")
				sayText(store, "talk-aaaa", text)
				sayText(store, "talk-aaaa", "more")
				time.Sleep(time.Second)
				synctest.Wait()
				var told string
				for _, data := range w.data {
					var l loops.LiveLine
					if err := json.Unmarshal([]byte(data), &l); err != nil || len(data) > 8<<10 || !utf8.ValidString(data) {
						t.Errorf("a message of %d bytes: %v", len(data), err)
					}
					told += l.Text
				}
				if !strings.Contains(told, "bytes left out]") || len(told) < 1000 {
					t.Errorf("told %d bytes, which end with %q", len(told), told[max(0, len(told)-60):])
				}
			})
		})
	}
}

func TestFollowersLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, js := fresh(t, nil)
		before := js.Conn().NumSubscriptions()
		for range 20 {
			sayText(store, "talk-aaaa", "on and on ")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			n := 0
			for _, err := range store.Follow(ctx, "talk-aaaa") {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			for range store.Follow(t.Context(), "talk-aaaa") {
				break
			}
			if n == 0 {
				t.Error("nothing was replayed")
			}
		}
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), "LOOPLOG"))
		if names := st.ConsumerNames(t.Context()); len(slices.Collect(readAll(names.Name()))) > 0 {
			t.Error("consumers are left")
		}
		if n := js.Conn().NumSubscriptions(); n > before+1 { // the client's own, for answers
			t.Errorf("%d subscriptions are left, were %d", n, before)
		}
	})
}

func readAll[T any](c <-chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

func TestFollowEndsWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := must[*kvstate.Store](t)(kvstate.Open(t.Context(), stream(t, host(t, t.TempDir(), embed.Process)), nil))
		ended := make(chan error, 1)
		go func() {
			for _, err := range store.Follow(t.Context(), "talk-aaaa") {
				ended <- err
			}
		}()
		time.Sleep(time.Second)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, loops.ErrClosed) {
			t.Errorf("Follow: %v", err)
		}
		for _, err := range store.Follow(t.Context(), "talk-aaaa") {
			if !errors.Is(err, loops.ErrClosed) {
				t.Errorf("Follow of a closed store: %v", err)
			}
		}
		sayText(store, "talk-aaaa", "nobody is there")
		for _, err := range store.Follow(t.Context(), "*") {
			if !errors.Is(err, loops.ErrNotFound) {
				t.Errorf("Follow of all loops: %v", err)
			}
		}
	})
}

// TestLiveTextGoesOnAfterAServerRestart is not in a bubble for the reason that
// TestServerRestart has.
func TestLiveTextGoesOnAfterAServerRestart(t *testing.T) {
	h := host(t, t.TempDir(), embed.Process)
	js := stream(t, h)
	here, there := open(t, js, nil), open(t, js, nil)
	lines := make(chan loops.LiveLine, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for l, err := range there.Follow(ctx, "talk-aaaa") {
			if err != nil {
				t.Error(err)
				return
			}
			lines <- l
		}
	}()
	defer func() { cancel(); <-ended }()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	hears := func(what string, lines <-chan loops.LiveLine) {
		t.Helper()
		for {
			sayText(here, "talk-aaaa", what)
			select {
			case l := <-lines:
				if strings.Contains(l.Text, what) {
					return
				}
			case <-ticker.C:
			}
		}
	}
	hears("before ", lines)
	if err := h.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	hears("after ", lines)
	// Who comes now finds what was said since.
	for l, err := range there.Follow(t.Context(), "talk-aaaa") {
		if err != nil || strings.Contains(l.Text, "before ") {
			t.Fatalf("a new reader hears %q, %v", l.Text, err)
		}
		if strings.Contains(l.Text, "after ") {
			break
		}
	}
}

func TestFloodOfLiveTextIsCutAndCounted(t *testing.T) {
	store, _ := fresh(t, nil)
	for range 50_000 { // more than the client would hold back
		sayText(store, "talk-aaaa", strings.Repeat("x", 1000))
	}
	for l, err := range store.Follow(t.Context(), "talk-aaaa") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(l.Text, "bytes left out") {
			break
		}
	}
}

func TestLiveTextWithoutAServerHoldsUpNobody(t *testing.T) {
	h := must[*embed.Host](t)(embed.Start(t.Context(), embed.Options{Dir: t.TempDir(), Durability: embed.Process}))
	store := must[*kvstate.Store](t)(kvstate.Open(t.Context(), stream(t, h), nil))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		sayText(store, "talk-aaaa", "is anybody there? ")
	}
	for _, err := range store.Follow(t.Context(), "talk-aaaa") {
		if !errors.Is(err, loops.ErrClosed) && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("Follow: %v", err)
		}
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// TestWhatIsSaidJustBeforeAReaderComesIsHeard: the server gives it neither to the
// reader's subscription nor, for a moment, to who asks what is kept.
func TestWhatIsSaidJustBeforeAReaderComesIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, js := fresh(t, nil)
		for n := range 300 {
			id := loops.ID(fmt.Sprintf("talk-%04d", n))
			sayText(store, id, "first ")
			time.Sleep(10 * time.Millisecond)
			line := fmt.Sprintf(`{"at":%q,"start":1,"text":"just before"}`, time.Now().Format(time.RFC3339Nano))
			if err := js.Conn().Publish("loop.log."+string(id), []byte(line)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			var told string
			for l, err := range store.Follow(ctx, id) {
				if err != nil {
					t.Fatal(err)
				}
				told += l.Text
			}
			cancel()
			if told != "first just before" {
				t.Errorf("the reader of %s heard %q", id, told)
			}
		}
	})
}
