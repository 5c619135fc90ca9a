package kvstate

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// Whereabouts is where a server runs now and then, for clients to dial.
type Whereabouts struct{ atomic.Pointer[embed.Host] }

func (w *Whereabouts) InProcessConn() (net.Conn, error) {
	if h := w.Load(); h != nil {
		return h.InProcessConn()
	}
	return nil, errors.New("no server runs")
}

// TestARushGoesOnWithTheNextServer, whose other clients were faster: what they wrote is
// seen, no commit is lost or made twice, and the rush goes on solo.
func TestARushGoesOnWithTheNextServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, _ := hosted(t, dir)
		var at Whereabouts
		at.Store(first)
		nc, err := nats.Connect("", nats.InProcessServer(&at), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
			nats.CustomReconnectDelay(func(int) time.Duration { return 10 * time.Millisecond }))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		s := &soloist{messy: &messy{t: t, opts: Options{Mark: filepath.Join(dir, "marks")}}}
		s.open(js)
		defer s.Close() // before its connection
		s.begin(s.loop("busy-aaaa", 0, 0), true)
		s.wants("in a rush", true)

		at.Store(nil)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second, js2 := hosted(t, dir)
		other, err := Open(t.Context(), js2, &Options{Runner: "other"})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		s.others++
		theirs, err := other.Create(t.Context(), loops.State{ID: "theirs-aaaa", Status: loops.Paused, UpdatedAt: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		at.Store(second)
		for nc.Status() != nats.CONNECTED {
			time.Sleep(time.Millisecond)
		}
		listed := func(what string, want loops.State) {
			t.Helper()
			heads, err := s.List(t.Context())
			if err != nil || !slices.ContainsFunc(heads, func(h loops.Head) bool { return h.ID == want.ID && h.Rev == want.Rev }) {
				t.Errorf("%s listed are %v, %v; want %s at revision %d", what, heads, err, want.ID, want.Rev)
			}
		}
		listed("with the next server", theirs)
		time.Sleep(2 * calm)
		s.wants("with the next server", true)
		busy := s.pause()
		listed("after the rush", busy)
		if got, err := other.Load(t.Context(), busy.ID); err != nil || got.Rev != busy.Rev {
			t.Errorf("the other process has %s at revision %d, %v; want %d", busy.ID, got.Rev, err, busy.Rev)
		}
		if v, err := s.Verify(t.Context()); err != nil || v.Damaged() > 0 {
			t.Errorf("Verify: %+v, %v", v, err)
		}
	})
}
