package cluster_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/cluster"
	"example.com/loop-mcp/kvstate/embed"
)

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// lasts reports whether a member knows that servers are away for long.
func lasts(m *cluster.Member) bool {
	away, ok := errors.AsType[interface {
		error
		Lasts() bool
	}](m.Trouble())
	return ok && away.Lasts()
}

// TestAWorkerSaysOnceThatItHasNoLease, and once that it has one again; not every
// 2.25 seconds.
func TestAWorkerSaysOnceThatItHasNoLease(t *testing.T) {
	inBubble(t, func(t *testing.T, h *embed.Host) {
		way, said := newCable(h), new(log)
		m := must[*cluster.Member](t)(cluster.ConnectWith(t.Context(), cluster.Options{URL: "nats://inside", Logger: slog.New(slog.NewTextHandler(said, nil))}, nats.SetCustomDialer(way), nats.SkipHostLookup()))
		defer m.Close()
		lease(t, m)
		for times := 1; times <= 2; times++ {
			time.Sleep(time.Minute)
			if m.Trouble() != nil {
				t.Errorf("all is well, and it says %v", m.Trouble())
			}
			way.cut()
			time.Sleep(9 * time.Second)
			if lasts(m) {
				t.Errorf("servers that choose who decides are taken for lost: %v", m.Trouble())
			}
			time.Sleep(10 * time.Minute)
			if !lasts(m) {
				t.Errorf("nobody knows that the servers are away: %v", m.Trouble())
			}
			way.heal()
			lease(t, m)
			ended, none, again := said.count("it ends its bodies"), said.count("gets no lease yet"), said.count("has a lease again")
			if ended != times || none > 3*times || again != times {
				t.Errorf("said %d times that it lost its lease, %d times that it gets none, %d times that it has one:\n%s", ended, none, again, &said.text)
			}
		}
	})
}

// TestServersThatDecideNothingAreKnownToBeAway, while the connection to them is whole.
func TestServersThatDecideNothingAreKnownToBeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := must[*server.Server](t)(server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true}))
		srv.Start()
		defer srv.WaitForShutdown()
		defer srv.Shutdown()
		if !srv.ReadyForConnections(10 * time.Second) {
			t.Fatal("the server does not start")
		}
		fake := must[*nats.Conn](t)(nats.Connect("", nats.InProcessServer(srv)))
		defer fake.Close()
		for subject, answer := range map[string]string{"$JS.API.INFO": `{}`, "$JS.API.STREAM.CREATE.>": `{"error":{"code":503,"err_code":10008,"description":"from the test"}}`} {
			_ = must[*nats.Subscription](t)(fake.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(answer)) }))
		}
		said := new(log)
		m := must[*cluster.Member](t)(cluster.ConnectWith(t.Context(), cluster.Options{URL: "nats://anything:4222", Logger: slog.New(slog.NewTextHandler(said, nil))}, nats.InProcessServer(srv)))
		defer m.Close()
		var waits sync.WaitGroup
		defer waits.Wait()
		waits.Go(func() { _, _, _ = m.Lease(t.Context()) })
		defer m.Close() // it waits for ever
		time.Sleep(9 * time.Second)
		if err := m.Trouble(); err != nil {
			t.Errorf("servers that choose who decides are taken for lost: %v", err)
		}
		time.Sleep(time.Minute)
		var api *jetstream.APIError
		if !lasts(m) || !errors.As(m.Trouble(), &api) || said.count("gets no lease yet") != 1 {
			t.Errorf("after a minute: %v\n%s", m.Trouble(), &said.text)
		}
	})
}
