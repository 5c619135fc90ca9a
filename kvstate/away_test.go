package kvstate_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate"
	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// undecided returns a server that says, while away is set, that nobody decides.
func undecided(t *testing.T) (nc *nats.Conn, js jetstream.JetStream, away *atomic.Bool) {
	t.Helper()
	nc, away = host(t, t.TempDir(), embed.Process).Conn(), new(atomic.Bool)
	_ = must[*nats.Subscription](t)(nc.Subscribe("without.API.>", func(m *nats.Msg) {
		if away.Load() {
			_ = m.Respond([]byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`)) // asked again
			return
		}
		_ = nc.PublishMsg(&nats.Msg{Subject: "$JS.API." + strings.TrimPrefix(m.Subject, "without.API."), Reply: m.Reply, Header: m.Header, Data: m.Data})
	}))
	return nc, must[jetstream.JetStream](t)(jetstream.NewWithAPIPrefix(nc, "without.API")), away
}

// TestAProcessEndsWhileItsServersAreAway: what reads the heads does not hold it.
func TestAProcessEndsWhileItsServersAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, js, away := undecided(t)
		store := open(t, js, nil)
		time.Sleep(time.Second)
		away.Store(true)
		all := must[jetstream.Stream](t)(must[jetstream.JetStream](t)(jetstream.New(nc)).Stream(t.Context(), "KV_LOOPS"))
		for name := range all.ConsumerNames(t.Context()).Name() { // as with the server that had it
			if err := all.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		closed := make(chan error, 1)
		go func() { closed <- store.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("it does not end")
			away.Store(false)
		}
	})
}

// TestACallOnServersWithoutAMajorityIsNotHeldFor30Seconds: it outlives a choice of
// who decides, and says then what is away.
func TestACallOnServersWithoutAMajorityIsNotHeldFor30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, js, away := undecided(t)
		store := open(t, js, nil)
		count := func() error {
			return store.Update(t.Context(), "count", func([]byte) ([]byte, error) { return []byte("1"), nil })
		}
		if err := count(); err != nil {
			t.Fatal(err)
		}
		for _, choice := range []time.Duration{9 * time.Second, time.Hour} {
			away.Store(true)
			end := time.AfterFunc(choice, func() { away.Store(false) })
			began := time.Now()
			err, took := count(), time.Since(began)
			end.Stop()
			switch {
			case choice < 10*time.Second && err != nil:
				t.Errorf("a choice of %s: %v", choice, err)
			case choice > 10*time.Second && (!errors.Is(err, loops.ErrUnanswered) || took > 16*time.Second || strings.Count(err.Error(), "a majority of the NATS servers is away: start") != 1):
				t.Errorf("after %s: %v", took, err)
			}
		}
	})
}

// known is a trouble that lasts.
type known struct{ error }

func (known) Lasts() bool { return true }

// TestWhatIsKnownToLastIsSaidOnceAndSoon, without what the client says of a
// connection that is not there.
func TestWhatIsKnownToLastIsSaidOnceAndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc := must[*nats.Conn](t)(nats.Connect("nats://none", nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1),
			nats.SetCustomDialer(nowhere{}), nats.SkipHostLookup()))
		defer nc.Close()
		began := time.Now()
		_, err := kvstate.Open(t.Context(), must[jetstream.JetStream](t)(jetstream.New(nc)), &kvstate.Options{Trouble: func() error { return known{errors.New("process 7 is stopped")} }})
		if took := time.Since(began); err == nil || !strings.HasSuffix(err.Error(), ": process 7 is stopped") || took > 5*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestAFullServerElsewhereIsWhyLoopsStandStill: by what it refuses, and by a try
// where nothing is written otherwise.
func TestAFullServerElsewhereIsWhyLoopsStandStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := stream(t, host(t, t.TempDir(), embed.Process))
		var full atomic.Bool
		tries := 0
		store := open(t, js, &kvstate.Options{Try: func(context.Context) error {
			if tries++; full.Load() {
				return &jetstream.APIError{Code: 503, ErrorCode: 10023, Description: "insufficient resources"}
			}
			return nats.ErrTimeout // says nothing about room
		}})
		well := func(when string) {
			t.Helper()
			if err := store.Trouble(); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		says := func(when, what string) {
			t.Helper()
			if err := store.Trouble(); !errors.Is(err, loops.ErrUnwritable) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", when, err)
			}
		}
		well("with room")
		full.Store(true)
		time.Sleep(2 * time.Second)
		says("when a try is refused", "limit of its storage")
		full.Store(false)
		time.Sleep(4 * time.Second)
		well("with room again")
		for range 100 {
			well("a moment later")
		}
		if tries != 3 {
			t.Errorf("the server was tried %d times", tries)
		}

		s := must[loops.State](t)(store.Create(t.Context(), newLoop("full-aaaa")))
		st := must[jetstream.Stream](t)(js.Stream(t.Context(), "KV_LOOPS"))
		config := st.CachedInfo().Config
		config.MaxBytes = 20 << 10
		must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
		if _, err := store.Commit(t.Context(), iterate(s, noiseOf(30_000))); err == nil {
			t.Fatal("there is room")
		}
		must[loops.State](t)(store.Create(t.Context(), newLoop("small-aaaa")))
		says("when a commit was refused and a small one taken", "--max-bytes")
		config.MaxBytes = -1
		must[jetstream.Stream](t)(js.UpdateStream(t.Context(), config))
		must[loops.State](t)(store.Commit(t.Context(), iterate(s, noiseOf(30_000))))
		well("when it was taken")
	})
}

// nowhere leads to no server.
type nowhere struct{}

func (nowhere) Dial(string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
