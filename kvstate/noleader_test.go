package kvstate_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/loop-mcp/kvstate/embed"
	"example.com/loop-mcp/loops"
)

// TestServersThatChooseALeaderLoseNoCommit: they answer that they are temporarily
// unavailable, and a commit whose acknowledgement was lost is looked for again.
func TestServersThatChooseALeaderLoseNoCommit(t *testing.T) {
	nc := host(t, t.TempDir(), embed.Process).Conn()
	var refuse, refused atomic.Int32
	_, err := nc.Subscribe("choosing.API.>", func(m *nats.Msg) {
		request := strings.TrimPrefix(m.Subject, "choosing.API.")
		if strings.HasPrefix(request, "STREAM.MSG.GET.") && refuse.Add(-1) >= 0 {
			refused.Add(1)
			_ = m.Respond([]byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`)) // the request is repeated
			return
		}
		_ = nc.PublishMsg(&nats.Msg{Subject: "$JS.API." + request, Reply: m.Reply, Header: m.Header, Data: m.Data})
	})
	if err != nil {
		t.Fatal(err)
	}
	js := &faulty{JetStream: must[jetstream.JetStream](t)(jetstream.NewWithAPIPrefix(nc, "choosing.API"))}
	store := open(t, js, nil)
	s := must[loops.State](t)(store.Create(t.Context(), newLoop("choice-aaaa")))
	for _, fault := range []func(func() (*jetstream.PubAck, error)) (*jetstream.PubAck, error){lostBefore, lostAfter} {
		refuse.Store(3)
		js.next = append(js.next, fault)
		s = must[loops.State](t)(store.Commit(t.Context(), iterate(s, "mine")))
	}
	if refused.Load() != 6 {
		t.Errorf("%d requests were refused", refused.Load())
	}
	if l := must[loops.Loop](t)(store.History(t.Context(), s.ID)); len(l.Iterations) != 2 {
		t.Errorf("%d iterations", len(l.Iterations))
	}
}
