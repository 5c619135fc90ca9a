package kvstate

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestALoopThatLeftRecordsIsGoneAfterItsRetention: the server removes the last
// record of the loop on time, without a marker and without those before it, which
// say that the loop wants a worker. Nobody had the store open since it settled, but
// one that only looks.
func TestALoopThatLeftRecordsIsGoneAfterItsRetention(t *testing.T) {
	for name, early := range map[string]time.Duration{"while the server runs": 10 * time.Second, "before the server starts": -time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, opts := t.TempDir(), Options{Retention: longEnough, Mark: filepath.Join(t.TempDir(), "marks")}
				h, js := hosted(t, dir)
				m := &messy{t: t, opts: opts}
				m.open(js)
				m.leftovers.press()
				s := m.settle(m.loop("left-aaaa", 3, 100))
				if err := errors.Join(m.Close(), h.Close()); err != nil {
					t.Fatal(err)
				}

				time.Sleep(longEnough - early)
				_, js = hosted(t, dir)
				opts.ReadOnly, opts.Runner = true, "looks"
				looks, err := Open(t.Context(), js, &opts)
				if err != nil {
					t.Fatal(err)
				}
				defer looks.Close()
				m.Store = looks
				if heads, err := m.List(t.Context()); early > 0 && (err != nil || len(heads) != 1) {
					t.Errorf("before its time %v are listed: %v", heads, err)
				}
				time.Sleep(max(early, 0) + goneGrace + time.Second)
				if n := m.records(s.ID); n != 4 {
					t.Errorf("%d records are left, want the 4 before the last one", n)
				}
				m.gone(s.ID)
				m.open(js)
				m.gone(s.ID)
				if n := m.records(s.ID); n != 0 {
					t.Errorf("%d records are left after the store was opened", n)
				}
			})
		})
	}
}

func hosted(t testing.TB, dir string) (*embed.Host, jetstream.JetStream) {
	t.Helper()
	h, err := embed.Start(t.Context(), embed.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	js, err := jetstream.New(h.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return h, js
}

// gone checks that nobody is told of a loop.
func (m *messy) gone(id loops.ID) {
	m.t.Helper()
	if heads, err := m.List(m.t.Context()); err != nil || len(heads) != 0 {
		m.t.Errorf("listed are %v: %v", heads, err)
	}
	if _, err := m.Load(m.t.Context(), id); !errors.Is(err, loops.ErrNotFound) {
		m.t.Errorf("Load: %v", err)
	}
	if _, err := m.History(m.t.Context(), id); !errors.Is(err, loops.ErrNotFound) {
		m.t.Errorf("History: %v", err)
	}
}

// TestTheServerRaisesAShortTimeToLive to that of its markers, without a word: so a
// retention is at least as long.
func TestTheServerRaisesAShortTimeToLive(t *testing.T) {
	m := newMessy(t, &Options{Retention: time.Second})
	if _, err := m.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject("other"), Header: nats.Header{"Nats-TTL": {"2"}}}); err != nil {
		t.Fatal(err)
	}
	stored, err := m.leader(t.Context(), streamLoops, getRequest{LastFor: subject("other")})
	if ttl := stored.header.Get("Nats-TTL"); err != nil || ttl != "60" || m.Store.opts.Retention != time.Minute {
		t.Errorf("the time to live of 2 s is %s s, the retention of a second %s: %v", ttl, m.Store.opts.Retention, err)
	}
}
